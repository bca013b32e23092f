from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from dqn_breakout.errors import UserError
from dqn_breakout.evaluation.request import EvaluationRequest
from tests.evaluation.conftest import CONFIG, WriteRun

RANDOM = EvaluationRequest(
    checkpoint_dir=None,
    random=True,
    gin_file=(),
    gin_bindings=(),
    protocol="nature",
    games=30,
    seed=0,
    num_environments=10,
    output=None,
    video=None,
    watch=False,
)


@pytest.fixture
def run(write_run: WriteRun) -> str:
    return str(write_run())


def asking(**changes: Any) -> EvaluationRequest:
    return dataclasses.replace(RANDOM, **changes)


def test_what_can_be_done_is_let_through(run: str, tmp_path: Path):
    RANDOM.check()
    asking(gin_file=["pong.gin"], gin_bindings=["create_environment.frame_skip = 3"]).check()
    asking(checkpoint_dir=run).check()
    asking(
        checkpoint_dir=run,
        random=False,
        games=0,
        video=str(tmp_path / "game.GIF"),
        protocol="training",
    ).check()
    asking(output=str(tmp_path / "scores.json")).check()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"random": False}, "Who shall play"),
        ({"protocol": "nature2"}, "did you mean 'nature'"),
        ({"games": 0}, "--games must be a whole number of 1 or more, but is 0"),
        ({"games": -3}, "--games must be"),
        ({"num_environments": 0}, "--num_environments must be"),
        ({"video": "game.mp4"}, "no action values"),
        ({"watch": True}, "no action values"),
        ({"checkpoint_dir": "nowhere", "random": False}, "There is no directory"),
        ({"output": "no/such/folder/scores.json"}, "There is no directory no/such/folder"),
        ({"gin_file": ["pon"]}, "did you mean pong.gin?"),
        ({"output": "."}, "is a directory"),
    ],
)
def test_what_cannot_be_done_is_refused(changes: dict[str, Any], words: str):
    with pytest.raises(UserError) as caught:
        asking(**changes).check()
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gin_file": ["pong.gin"]}, "leave --gin_file and --gin_bindings out"),
        ({"gin_bindings": ["create_environment.game = 'Pong'"]}, "leave --gin_file"),
        ({"video": "game.avi"}, "must end in .mp4 or .gif"),
        ({"video": "no/such/folder/game.mp4"}, "There is no directory no/such/folder"),
        ({"games": 0}, "--games must be"),
        ({"games": -1, "video": "game.mp4"}, "--games must be"),
        ({"games": 0, "video": "game.mp4", "output": "scores.json"}, "nothing is scored"),
    ],
)
def test_what_a_run_cannot_do_is_refused(run: str, changes: dict[str, Any], words: str):
    with pytest.raises(UserError) as caught:
        asking(checkpoint_dir=run, random=False, **changes).check()
    assert words in caught.value.message


def test_a_run_must_have_a_checkpoint_unless_chance_plays(tmp_path: Path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.gin").write_text(CONFIG)
    asking(checkpoint_dir=str(tmp_path)).check()
    with pytest.raises(UserError, match="There is no checkpoint in"):
        asking(checkpoint_dir=str(tmp_path), random=False).check()


def test_a_window_needs_a_display(run: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    request = asking(checkpoint_dir=run, random=False, watch=True)
    with pytest.raises(UserError, match=r"no display.*--video=game\.mp4"):
        request.check()
    monkeypatch.setenv("DISPLAY", ":0")
    request.check()
