"""`python eval.py` as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.evaluation.conftest import CONFIG, WriteRun

EVAL = Path(__file__).resolve().parents[2] / "eval.py"


def run_eval(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    return subprocess.run(
        [sys.executable, str(EVAL), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=cwd,
        env=environment,
        check=False,
    )


def refused(*arguments: str, cwd: Path | None = None) -> str:
    """The one message of a call that must be refused."""
    done = run_eval(*arguments, cwd=cwd)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (message,) = done.stderr.strip().splitlines()
    return message


def test_help_explains_without_tensorflow():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(EVAL), "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "machado: sticky actions 0.25" in " ".join(done.stdout.split())
    assert "absl" in done.stderr
    assert "tensorflow" not in done.stderr
    assert "tf_agents" not in done.stderr


# What a request refuses stands in test_request.py.
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["runs/breakout"], "What is 'runs/breakout'?"),
        (["--checkpoint_dir=nowhere"], "There is no directory"),
        (["--gmaes=3"], "Did you mean: games?"),
    ],
)
def test_slips_are_told_in_one_sentence(arguments: list[str], words: str, tmp_path: Path):
    assert words in refused(*arguments, cwd=tmp_path)


def test_a_checkpoint_of_another_game(write_run: WriteRun):
    run = write_run(config=CONFIG.replace("Breakout", "Pong").replace("python", "vector"))
    assert "for Pong and its 6 actions" in refused(f"--checkpoint_dir={run}")


def test_a_network_is_scored_recorded_and_written_down(write_run: WriteRun, tmp_path: Path):
    run = write_run(config=CONFIG.replace("27000", "60"))
    scores, game = tmp_path / "scores.json", tmp_path / "game.gif"
    done = run_eval(
        f"--checkpoint_dir={run}",
        "--protocol=training",
        "--games=3",
        "--num_environments=2",
        "--seed=5",
        f"--output={scores}",
        f"--video={game}",
        # Nothing but the checkpoint directory is needed, wherever one stands.
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(scores.read_text())
    assert (result["checkpoint"], result["env_steps"]) == ("000000001200", 1200)
    assert (result["train_steps"], result["seed"]) == (300, 5)
    assert result["games"] == len(result["returns"]) == len(result["lengths_env_steps"]) == 3
    assert result["mean"] == pytest.approx(sum(result["returns"]) / 3)
    assert max(result["lengths_env_steps"]) <= 60
    assert result["protocol"]["name"] == "training"
    assert result["protocol"]["epsilon"] == 0.01
    assert len(result["weights_sha256"]) == 64
    assert "Breakout: 3 full games by a trained network, protocol training, seed 5" in done.stdout
    assert f"{result['mean']:.2f}" in done.stdout
    assert f"Wrote {scores}." in done.stderr
    with Image.open(game) as picture:
        assert picture.format == "GIF"


def test_a_random_player_by_a_gin_file(tmp_path: Path):
    scores = tmp_path / "scores.json"
    done = run_eval(
        "--random",
        "--gin_file=pong.gin",
        "--gin_bindings=create_environment.max_episode_steps=50",
        "--protocol=training",
        "--games=2",
        f"--output={scores}",
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(scores.read_text())
    assert (result["game"], result["player"]) == ("Pong", "random")
    assert result["lengths_env_steps"] == [50, 50]
    assert result["games_cut_off"] == 2
    assert "2 full games by a random player" in done.stdout
