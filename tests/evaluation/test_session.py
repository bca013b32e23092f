"""What is scored is told and written, whatever fails beside it."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dqn_breakout import (
    experiment,  # noqa: F401  (registers what a config may name)
    machine,
)
from dqn_breakout.evaluation import evaluate, session
from dqn_breakout.evaluation.request import EvaluationRequest
from tests.evaluation.conftest import CONFIG, WriteRun


@pytest.fixture
def request_of(write_run: WriteRun, tmp_path: Path) -> EvaluationRequest:
    """Asks for a game's score, in a file too, and for a video."""
    values: dict[str, Any] = dict.fromkeys(EvaluationRequest.names())
    run = write_run(config=CONFIG.replace("27000", "20"))
    asked = {"checkpoint_dir": run, "games": 1, "seed": 0, "num_environments": 1}
    paths = {"output": tmp_path / "scores.json", "video": tmp_path / "game.mp4"}
    return EvaluationRequest(**{**values, **asked, **paths})


def fail(*arguments: Any, **named: Any) -> None:
    raise ValueError("nobody foresaw it")


def test_scores_are_told_and_written_before_a_video_can_fail(
    request_of: EvaluationRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(session, "record_game", fail)
    with pytest.raises(ValueError, match="nobody foresaw it"):
        session.play(request_of)
    assert "Breakout: 1 full game by a trained network" in capsys.readouterr().out
    assert request_of.output is not None
    assert len(json.loads(request_of.output.read_text())["returns"]) == 1


class NobodyReads:
    """Standard output at its end."""

    def write(self, text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        """Nothing was written."""


def test_scores_that_nobody_reads_are_written_all_the_same(
    request_of: EvaluationRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", NobodyReads())
    with pytest.raises(BrokenPipeError):
        session.play(dataclasses.replace(request_of, video=None))
    assert request_of.output is not None
    assert request_of.output.is_file()


@pytest.mark.parametrize("asked", ["versions", "git_revision"])
def test_what_scores_came_from_is_known_before_they_are_played(
    request_of: EvaluationRequest, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    played: list[Callable[..., Any]] = []
    monkeypatch.setattr(machine, asked, fail)
    monkeypatch.setattr(evaluate, "play_games", played.append)
    with pytest.raises(ValueError, match="nobody foresaw it"):
        session.play(request_of)
    assert played == []
