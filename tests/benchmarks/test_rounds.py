from __future__ import annotations

import os
import time
from typing import Any

import psutil
import pytest

from benchmarks import rounds
from dqn_breakout.errors import UserError


def entry(contestant: str, speed: float) -> dict[str, Any]:
    return {"contestant": contestant, "env_steps_per_second": speed}


def test_a_ratio_is_taken_within_a_round_before_the_median() -> None:
    # The machine ran at a third of its speed in round 2: medians of speeds would say 250 / 80.
    ours, theirs = (300.0, 100.0, 250.0), (80.0, 40.0, 100.0)
    measured = [entry(rounds.OURS, speed) for speed in ours]
    measured += [entry("sb3", speed) for speed in theirs]
    assert rounds.ratio(measured, rounds.OURS, "sb3") == 2.5
    with pytest.raises(ValueError, match="shorter"):
        rounds.ratio(measured[:-1], rounds.OURS, "sb3")


def test_medians_are_by_contestant() -> None:
    measured = [entry("a", 1.0), entry("b", 10.0), entry("a", 3.0), entry("a", 9.0)]
    assert rounds.medians(measured, "env_steps_per_second") == {"a": 3.0, "b": 10.0}


class Machine:
    """A contestant, which works 0.8 of a processor whenever it is asked, and its clock."""

    now = worked = 0.0

    def cpu_seconds(self) -> float:
        return self.worked

    def round(self) -> dict[str, Any]:
        self.worked += 0.8 * 3
        self.now += 3
        return {"env_steps_per_second": 100.0}


def test_rounds_are_interleaved_and_tell_of_other_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine: Any = Machine()
    monkeypatch.setattr(psutil, "cpu_percent", lambda: 50.0)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(time, "monotonic", lambda: machine.now)
    taken = list(rounds.take({"a": machine, "b": machine}, 2, Machine.round))
    places = [(each["round"], each["place"], each["contestant"]) for each in taken]
    assert places == [(1, 1, "a"), (1, 2, "b"), (2, 1, "b"), (2, 2, "a")]
    # One processor of two was busy, and 0.8 of that was the contestant.
    assert [each["others_processor_share"] for each in taken] == pytest.approx([0.1] * 4)
    assert capsys.readouterr().err.count("not idle: 10%") == 4


@pytest.mark.parametrize(
    ("env_steps", "updates", "per_iteration", "kept"),
    [
        *[(400, 100, 4, True), (400, 99, 4, True), (400, 98, 4, False), (400, 102, 4, False)],
        # An iteration more or less.
        *[(6400, 1616, 64, True), (6400, 1617, 64, False), (6400, 1584, 64, True)],
        *[(6400, 1583, 64, False), (0, 0, 4, False), (4, 0, 4, False)],
        (3 * 3200, 3 * 784, 64, False),  # What one round allows does not add up.
        (24 * 2161, 24 * 540, 4, True),  # A step too many in each round is no other ratio.
    ],
)
def test_the_update_ratio_is_kept(
    env_steps: int, updates: int, per_iteration: int, kept: bool
) -> None:
    if kept:
        rounds.check_update_ratio("sb3", env_steps, updates, 4, per_iteration)
        return
    with pytest.raises(UserError, match=f"sb3 took {updates:,} updates in {env_steps:,} "):
        rounds.check_update_ratio("sb3", env_steps, updates, 4, per_iteration)
