"""docs/python.md: what stands there runs, by itself, in a fresh interpreter."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Of the page's SavedModel, as a program does that has nothing but TensorFlow.
PRESSED = """
import tensorflow as tf

act = tf.saved_model.load("breakout_policy").signatures["action"]
inputs = act.structured_input_signature[1].items()
zeros = {name: tf.zeros([2, *spec.shape[1:]], spec.dtype) for name, spec in inputs}
print(act(**zeros)["action"].shape)
"""


def printed(code: str, folder: Path, path: str) -> list[str]:
    """The lines that a program prints that is run in a folder."""
    # The package has set it here; a fresh interpreter has not.
    variables = {name: text for name, text in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**variables, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


@pytest.mark.slow
def test_the_code_of_the_page_runs_and_what_it_saves_needs_tensorflow_alone(tmp_path: Path) -> None:
    (tmp_path / "pretrained").symlink_to(ROOT / "pretrained")
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"(?ms)^```python\n(.*?)^```$", page)
    assert len(blocks) == page.count("```") / 2 == 4
    loaded, values, game, pressed = printed("".join(blocks), tmp_path, str(ROOT))
    assert loaded == "Breakout after 1000055 environment steps"
    assert re.fullmatch(r"\{'NOOP': [\d.]+, 'FIRE': .*, 'RIGHT': .*, 'LEFT': .*\}", values)
    assert float(game.split()[3]) > 10  # Random actions make 1.3.
    assert re.fullmatch(r"presses \[[0-3]\]", pressed)
    assert printed(PRESSED, tmp_path, "") == ["(2,)"]
