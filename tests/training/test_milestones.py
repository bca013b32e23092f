"""Tests of when things are due, in which order, and what becomes of what cannot be written."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from dqn_breakout.run_directory import RunDirectory
from dqn_breakout.training.loop import Iteration
from dqn_breakout.training.milestones import NOTHING, Milestones, Owed, Period, Writing
from dqn_breakout.training.progress import Row
from dqn_breakout.training.signals import StopSignals


def due_at(period: Period, env_steps: list[int]) -> list[int]:
    return [now for now in env_steps if period.due(now)]


def test_a_period_is_due_once_each_time_it_has_passed():
    turns = list(range(0, 1000, 64))
    # First at or after 250, 500 and 750.
    assert due_at(Period(250, 0), turns) == [256, 512, 768]


def test_a_turn_of_exactly_a_period_is_due():
    assert due_at(Period(100, 0), [99, 100, 101, 199, 200]) == [100, 200]


def test_periods_passed_in_one_turn_are_due_once():
    assert due_at(Period(10, 0), [5, 35, 39, 40]) == [35, 40]


@pytest.mark.parametrize("stopped_at", [256, 320, 512, 576])
def test_a_resumed_run_keeps_the_rhythm(stopped_at):
    turns = list(range(0, 1000, 64))
    before = due_at(Period(250, 0), [now for now in turns if now <= stopped_at])
    after = due_at(Period(250, stopped_at), [now for now in turns if now > stopped_at])
    assert before + after == [256, 512, 768]


# --- What a turn is followed by ------------------------------------------------------------------

NUMBERS: dict[str, Any] = {
    "train_steps": 25,
    "episodes": 3,
    "average_return": 1.5,
    "average_length": 60.0,
    "loss": 0.25,
    "mean_q": 0.75,
    "gradient_norm": 2.0,
    "epsilon": 0.5,
    "env_steps_per_second": 100.0,
    "replay_transitions": 100,
    "wall_seconds": 4.0,
}


class Happenings:
    """Every part that `Milestones` calls; notes what was called, and fails as it is told to."""

    writes = "what the test writes"

    def __init__(self, tmp_path: Path, goes_on: bool = False):
        self.run = RunDirectory(tmp_path / "run")
        self.run.create()
        self.seen: list[str] = []
        self.full: set[str] = set()
        self.counters: list[dict[str, Any]] = []
        self.rows: list[Row] = []
        self.stop = StopSignals()
        self.env_steps = 0
        self.milestones = Milestones(
            self.run,
            self,  # type: ignore[arg-type]
            self,  # type: ignore[arg-type]
            [self],
            self,  # type: ignore[arg-type]
            self.stop,
            Writing(goes_on),
            lambda row: {"env_steps": row.env_steps},
            seed=7,
            env_steps=0,
            total_env_steps=1000,
            log_period_env_steps=100,
            checkpoint_period_env_steps=200,
            evaluation_period_env_steps=500,
        )

    def turn(self, env_steps: int) -> bool:
        self.env_steps = env_steps
        self.seen.clear()
        return self.milestones.after(Iteration(env_steps, 0, None))

    def note(self, what: str) -> None:
        self.seen.append(what)
        if what in self.full:
            raise OSError(errno.ENOSPC, "No space left on device", f"/run/{what}")

    def add(self, iteration: Iteration) -> None:
        pass

    def row(self) -> Row:
        return Row(env_steps=self.env_steps, **NUMBERS)

    def write_ahead(self) -> None:
        pass

    def save(self, counters: dict[str, Any]) -> None:
        self.note("checkpoint")
        self.counters.append(counters)

    def on_iteration(self, iteration: Iteration) -> None:
        pass

    def on_row(self, row: Row) -> None:
        self.note("row")
        self.rows.append(row)

    def evaluate(self, env_steps: int) -> None:
        self.note("evaluation")

    def close(self) -> None:
        self.note("close")


def test_a_checkpoint_comes_before_what_it_says_is_to_follow(tmp_path: Path) -> None:
    happenings = Happenings(tmp_path)
    followed = {}
    for env_steps in range(50, 1001, 50):
        assert happenings.turn(env_steps)
        followed[env_steps] = list(happenings.seen)
    assert followed == {
        **{env_steps: [] for env_steps in range(50, 1000, 100)},
        **{env_steps: ["row"] for env_steps in (100, 300, 700, 900)},
        **{env_steps: ["checkpoint", "row"] for env_steps in (200, 400, 600, 800)},
        **{env_steps: ["checkpoint", "row", "evaluation"] for env_steps in (500, 1000)},
    }
    saved = {each["env_steps"]: each for each in happenings.counters}
    assert [number for number, each in saved.items() if each["evaluation_due"]] == [500, 1000]
    assert all(each["seed"] == 7 and each["train_steps"] == 25 for each in saved.values())
    assert Row.from_dict(saved[200]["row"]) == Row(env_steps=200, **NUMBERS)
    with_pause = [row.env_steps for row in happenings.rows if row.checkpoint_seconds is not None]
    assert with_pause == [200, 400, 500, 600, 800, 1000]
    assert happenings.run.summary_json.read_text().split() == ["{", '"env_steps":', "1000", "}"]


def test_a_stop_is_followed_by_a_checkpoint_and_nothing_else(tmp_path: Path) -> None:
    happenings = Happenings(tmp_path)
    assert happenings.turn(60)
    happenings.stop.received = 15  # type: ignore[assignment]
    assert not happenings.turn(80)
    assert happenings.seen == ["checkpoint", "row"]
    # Where an evaluation is due, the checkpoint says so, and the next process plays it.
    assert not happenings.turn(520)
    assert happenings.seen == ["checkpoint", "row"]
    assert happenings.counters[-1]["evaluation_due"]


def test_what_a_checkpoint_says_is_to_follow_is_owed_until_it_is_there(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    row = Row(env_steps=500, **NUMBERS)
    counters = {"env_steps": 500, "row": row.as_dict(), "evaluation_due": True}
    assert Owed.at(run, {}, -1) == NOTHING
    assert Owed.at(run, counters, 400) == Owed(row, True)
    assert Owed.at(run, counters, 500) == Owed(None, True)
    run.evaluations.mkdir()
    run.evaluation_json(500).touch()
    assert Owed.at(run, counters, 500) == NOTHING
    assert Owed.at(run, {**counters, "evaluation_due": "yes", "row": []}, 400) == NOTHING


def test_what_is_owed_is_made_up_for(tmp_path: Path) -> None:
    happenings = Happenings(tmp_path)
    assert happenings.milestones.make_up(NOTHING)
    assert happenings.seen == []
    assert happenings.milestones.make_up(Owed(happenings.row(), True))
    assert happenings.seen == ["row", "evaluation"]
    # An evaluation cut short is still due: no turn may follow.
    happenings.stop.received = 2  # type: ignore[assignment]
    assert not happenings.milestones.make_up(Owed(None, True))


@pytest.mark.parametrize("what", ["checkpoint", "row", "evaluation"])
def test_what_cannot_be_written_ends_training(tmp_path: Path, what: str) -> None:
    happenings = Happenings(tmp_path)
    happenings.full = {what}
    with pytest.raises(OSError, match="No space left"):
        happenings.turn(500)


def test_told_to_go_on_it_does_so_and_says_so_once(tmp_path: Path, capsys: Any) -> None:
    happenings = Happenings(tmp_path, goes_on=True)
    happenings.full = {"checkpoint", "row", "evaluation"}
    for env_steps in (200, 400, 500, 600):
        assert happenings.turn(env_steps)
    said = capsys.readouterr().err.splitlines()
    assert [line.split(" (")[0] for line in said] == [
        "Could not write a checkpoint",
        "Could not write what the test writes",
    ]
    assert all("No space left on device: /run/" in line for line in said)
    assert happenings.rows == []
    happenings.full = set()
    assert happenings.turn(700)
    assert happenings.turn(800)
    # Work since a checkpoint that could not be written took none of its time.
    assert [row.checkpoint_seconds is None for row in happenings.rows] == [True, False]
    happenings.full = {"row"}
    assert happenings.turn(900)
    assert "what the test writes" in capsys.readouterr().err


def test_without_the_last_checkpoint_work_would_be_lost(tmp_path: Path) -> None:
    happenings = Happenings(tmp_path, goes_on=True)
    happenings.full = {"checkpoint"}
    with pytest.raises(OSError, match="No space left"):
        happenings.turn(1000)
    happenings.stop.received = 15  # type: ignore[assignment]
    with pytest.raises(OSError, match="No space left"):
        happenings.turn(60)
