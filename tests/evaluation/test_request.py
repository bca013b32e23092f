from __future__ import annotations

import dataclasses
import os
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
# Stands for a run that is there.
RUN: dict[str, Any] = {"checkpoint_dir": "RUN", "random": False}


def check(write_run: WriteRun, changes: dict[str, Any]) -> None:
    if changes.get("checkpoint_dir") == "RUN":
        changes = {**changes, "checkpoint_dir": str(write_run())}
    dataclasses.replace(RANDOM, **changes).check()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"gin_file": ["pong.gin"], "gin_bindings": ["create_environment.frame_skip = 3"]},
        {"checkpoint_dir": "RUN"},
        {**RUN, "games": 0, "video": "game.GIF", "protocol": "training"},
        {"output": "scores.json"},
        {"output": os.devnull},
        {"output": "~/scores.json"},
        {**RUN, "games": 0, "video": "a:b.mp4"},
    ],
)
def test_what_can_be_done_is_let_through(write_run: WriteRun, changes: dict[str, Any]):
    check(write_run, changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"random": False}, "Give --checkpoint_dir, or --random"),
        ({"protocol": "nature2"}, "did you mean 'nature'"),
        ({"games": 0}, "--games must be a whole number of 1 or more, but is 0"),
        ({"games": -3}, "--games must be"),
        ({"num_environments": 0}, "--num_environments must be"),
        ({"video": "game.mp4"}, "no action values"),
        ({"watch": True}, "no action values"),
        ({"checkpoint_dir": "nowhere", "random": False}, "There is no directory"),
        ({"gin_file": ["pongg.gin"]}, "did you mean pong.gin?"),
        ({"output": "no/such/folder/scores.json"}, "no/such/folder/scores.json cannot be written"),
        ({"output": "."}, f"--output={Path.cwd()} cannot be written"),
        ({"output": ""}, "A path is empty"),
        ({"output": "gs://bucket/scores.json"}, "'gs://bucket/scores.json' is an address"),
        ({**RUN, "checkpoint_dir": ""}, "A path is empty"),
        ({**RUN, "checkpoint_dir": "gs://bucket/run"}, "is an address"),
        ({**RUN, "video": os.devnull}, "--video=/dev/null cannot be written"),
        ({**RUN, "video": ""}, "A path is empty"),
        ({**RUN, "gin_file": ["pong.gin"]}, "leave --gin_file and --gin_bindings out"),
        ({**RUN, "gin_bindings": ["create_environment.game = 'Pong'"]}, "leave --gin_file"),
        ({**RUN, "video": "game.avi"}, "must end in .mp4 or .gif"),
        ({**RUN, "video": "no/folder/game.mp4"}, "no/folder/game.mp4 cannot be written"),
        ({**RUN, "games": 0}, "--games must be"),
        ({**RUN, "games": -1, "video": "game.mp4"}, "--games must be"),
        ({**RUN, "games": 0, "video": "g.mp4", "output": "scores.json"}, "nothing is scored"),
    ],
)
def test_what_cannot_be_done_is_refused(write_run: WriteRun, changes: dict[str, Any], words: str):
    with pytest.raises(UserError) as caught:
        check(write_run, changes)
    assert words in caught.value.message


def test_a_run_must_have_a_checkpoint_unless_chance_plays(tmp_path: Path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.gin").write_text(CONFIG)
    dataclasses.replace(RANDOM, checkpoint_dir=tmp_path).check()
    with pytest.raises(UserError, match="There is no checkpoint in"):
        dataclasses.replace(RANDOM, checkpoint_dir=tmp_path, random=False).check()


def test_a_window_needs_a_display(write_run: WriteRun, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=r"no display.*--video=game\.mp4"):
        check(write_run, {**RUN, "watch": True})
    monkeypatch.setenv("DISPLAY", ":0")
    check(write_run, {**RUN, "watch": True})
