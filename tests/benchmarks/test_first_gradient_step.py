"""The command to the first gradient step, with a `train.py` that needs no library."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from benchmarks import first_gradient_step, processes
from benchmarks.report import MeasurementError

TRAINS = """
    import os
    import pathlib
    import sys
    import time

    if os.environ["OMP_NUM_THREADS"] != "1":
        sys.exit("all cores are in use")
    if sys.argv[-1] != "--gin_bindings=train.log_period_env_steps = 20080":
        sys.exit("the first row is not that of the first train steps")
    run = next(each for each in sys.argv if each.startswith("--run_dir=")).partition("=")[2]
    pathlib.Path(run, "metrics.jsonl").write_text('{"train_steps": 16}\\n')
    time.sleep(60)
"""


pytestmark = pytest.mark.usefixtures("clean_gin")


def put_train_py(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    (folder / "train.py").write_text(textwrap.dedent(code))
    monkeypatch.setattr(processes, "ROOT", folder)


def test_it_runs_on_the_threads_that_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_train_py(tmp_path, monkeypatch, TRAINS)
    assert first_gradient_step.seconds(["breakout.gin"], [], 1) > 0


def test_too_little_memory_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_train_py(tmp_path, monkeypatch, "import sys\nsys.exit('Lower it, or --ignore_memory.')")
    with pytest.raises(first_gradient_step.TooLittleMemory, match="Lower it"):
        first_gradient_step.seconds(["breakout.gin"], [], None)
    put_train_py(tmp_path, monkeypatch, "import sys\nsys.exit('No such gin file.')")
    with pytest.raises(MeasurementError, match="No such gin file") as error:
        first_gradient_step.seconds(["breakout.gin"], [], None)
    assert not isinstance(error.value, first_gradient_step.TooLittleMemory)


def test_the_first_gradient_step_is_read_from_whole_lines(tmp_path: Path) -> None:
    rows = tmp_path / "metrics.jsonl"
    assert not first_gradient_step.trains(rows)
    rows.write_text('{"train_steps": 0}\n{"train_steps": 16')
    assert not first_gradient_step.trains(rows)
    rows.write_text('{"train_steps": 0}\n{"train_steps": 16}\n')
    assert first_gradient_step.trains(rows)
