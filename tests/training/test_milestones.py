"""Tests of when things are due, in which order, and what becomes of what cannot be written."""

from __future__ import annotations

import errno
import io
import json
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from dqn_breakout.runs.directory import RunDirectory
from dqn_breakout.runs.record import Lock, locked
from dqn_breakout.training.console import ConsoleHook
from dqn_breakout.training.hooks import Hook, MetricsFileHook, TensorBoardHook
from dqn_breakout.training.loop import Iteration
from dqn_breakout.training.milestones import NOTHING, Milestones, Owed, Period, Schedule, Writing
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


class Shown:
    """A hook; see `Happenings`."""

    writes = "rows"

    def __init__(self, happenings: Happenings):
        self._happenings = happenings

    def on_iteration(self, iteration: Iteration) -> None:
        pass

    def on_row(self, row: Row) -> None:
        self._happenings.note("row")
        self._happenings.rows.append(row)

    def close(self) -> None:
        self._happenings.note("close")


class Happenings:
    """Every other part that `Milestones` calls; notes the calls, and fails as it is told to."""

    writes = "an evaluation"

    def __init__(
        self,
        goes_on: bool = False,
        hooks: Sequence[Hook] | None = None,
        lock: Lock | None = None,
    ):
        self.seen: list[str] = []
        self.full: set[str] = set()
        self.counters: list[dict[str, Any]] = []
        self.rows: list[Row] = []
        self.stop = StopSignals()
        self.stop_in_evaluation = False
        self.gone_in_evaluation = False
        self.env_steps = 0
        parts: dict[str, Any] = dict.fromkeys(("meter", "checkpointer", "evaluation", "lock"), self)
        if lock is not None:
            parts["lock"] = lock
        self.milestones = Milestones(
            Schedule(1000, 100, 200, 500),
            0,
            write_summary=lambda row: self.note("summary"),
            hooks=[Shown(self)] if hooks is None else hooks,
            stop=self.stop,
            writing=Writing(goes_on),
            **parts,
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

    def evaluate(self, env_steps: int, check_directory: Callable[[], None]) -> None:
        if self.stop_in_evaluation:
            self.stop.received = signal.SIGTERM
        if self.gone_in_evaluation:
            self.full.add("directory")
            check_directory()
        self.note("evaluation")

    def check(self) -> None:
        if "directory" in self.full:
            raise FileNotFoundError(errno.ENOENT, "gone", "run")


def test_a_checkpoint_comes_before_what_it_says_is_to_follow() -> None:
    happenings = Happenings()
    followed = {}
    for env_steps in range(50, 1001, 50):
        assert happenings.turn(env_steps)
        followed[env_steps] = list(happenings.seen)
    assert followed == {
        **{env_steps: [] for env_steps in range(50, 1000, 100)},
        **{env_steps: ["row"] for env_steps in (100, 300, 700, 900)},
        **{env_steps: ["checkpoint", "summary", "row"] for env_steps in (200, 400, 600, 800)},
        **{env_steps: ["checkpoint", "summary", "row", "evaluation"] for env_steps in (500, 1000)},
    }
    saved = {each["env_steps"]: each for each in happenings.counters}
    assert [number for number, each in saved.items() if each["evaluation_due"]] == [500, 1000]
    assert all(each["train_steps"] == 25 for each in saved.values())
    assert Row.from_dict(saved[200]["row"]) == Row(env_steps=200, **NUMBERS)
    with_pause = [row.env_steps for row in happenings.rows if row.checkpoint_seconds is not None]
    assert with_pause == [200, 400, 500, 600, 800, 1000]


def test_a_stop_is_followed_by_a_checkpoint_and_nothing_else() -> None:
    happenings = Happenings()
    assert happenings.turn(60)
    happenings.stop.received = signal.SIGTERM
    assert not happenings.turn(80)
    assert happenings.seen == ["checkpoint", "summary", "row"]
    # Where an evaluation is due, the checkpoint says so, and the next process plays it.
    assert not happenings.turn(520)
    assert happenings.seen == ["checkpoint", "summary", "row"]
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


def test_what_is_owed_is_made_up_for() -> None:
    happenings = Happenings()
    assert happenings.milestones.make_up(NOTHING)
    assert happenings.seen == []
    assert happenings.milestones.make_up(Owed(happenings.row(), True))
    assert happenings.seen == ["row", "evaluation"]
    # An evaluation cut short is still due: no turn may follow.
    happenings.stop.received = signal.SIGINT
    assert not happenings.milestones.make_up(Owed(None, True))


@pytest.mark.parametrize("what", ["checkpoint", "summary", "row", "evaluation"])
def test_what_cannot_be_written_ends_training(what: str) -> None:
    happenings = Happenings()
    happenings.full = {what}
    with pytest.raises(OSError, match="No space left"):
        happenings.turn(500)


def test_told_to_go_on_it_does_so_and_says_so_once(capsys: Any) -> None:
    happenings = Happenings(goes_on=True)
    happenings.full = {"checkpoint", "summary", "row", "evaluation"}
    for env_steps in (200, 400, 500, 600):
        assert happenings.turn(env_steps)
    said = capsys.readouterr().err.splitlines()
    assert [line.split(" (")[0] for line in said] == [
        "Could not write a checkpoint",
        "Could not write summary.json",
        "Could not write rows",
        "Could not write an evaluation",
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
    assert "Could not write rows (" in capsys.readouterr().err


def test_without_the_last_checkpoint_work_would_be_lost() -> None:
    happenings = Happenings(goes_on=True)
    happenings.full = {"checkpoint"}
    with pytest.raises(OSError, match="No space left"):
        happenings.turn(1000)
    happenings.stop.received = signal.SIGTERM
    with pytest.raises(OSError, match="No space left"):
        happenings.turn(60)


def test_a_stop_in_an_evaluation_whose_checkpoint_is_missing_gives_it_another_try() -> None:
    happenings = Happenings(goes_on=True)
    happenings.full = {"checkpoint"}
    happenings.stop_in_evaluation = True
    assert happenings.turn(500)
    with pytest.raises(OSError, match="No space left"):
        happenings.turn(520)
    happenings.full = set()
    assert not happenings.turn(540)
    assert happenings.counters[-1]["env_steps"] == 540


@pytest.mark.parametrize("env_steps", [100, 200, 500])
def test_a_directory_that_is_gone_ends_training(env_steps: int) -> None:
    happenings = Happenings()
    happenings.full = {"directory"}
    with pytest.raises(FileNotFoundError, match="gone"):
        happenings.turn(env_steps)
    assert happenings.seen == []


def test_training_that_goes_on_writes_nothing_where_another_run_may_be_now(
    capsys: pytest.CaptureFixture[str],
) -> None:
    happenings = Happenings(goes_on=True)
    happenings.full = {"directory"}
    for env_steps in (100, 200, 500):
        assert happenings.turn(env_steps)
        assert happenings.seen == []
    said = "".join(capsys.readouterr())
    for what in ("a checkpoint", "rows", "an evaluation"):
        assert said.count(f"Could not write {what} (gone: run); going on without") == 1
    happenings.full.clear()
    assert happenings.turn(600)
    assert happenings.seen == ["checkpoint", "summary", "row"]
    happenings.full = {"directory"}
    with pytest.raises(FileNotFoundError, match="gone"):
        happenings.turn(1000)
    assert happenings.seen == []


def test_a_directory_that_goes_while_games_are_played_gets_no_scores() -> None:
    happenings = Happenings()
    happenings.gone_in_evaluation = True
    with pytest.raises(FileNotFoundError, match="gone"):
        happenings.turn(500)
    assert happenings.seen == ["checkpoint", "summary", "row"]


# --- A run directory that is removed or replaced, with the hooks that write there ----------------


def removed(run: RunDirectory) -> None:
    shutil.rmtree(run.path)


def replaced(run: RunDirectory) -> None:
    """Another run's lock and rows are there now."""
    run.path.rename(run.path.with_name("moved"))
    run.create()
    run.lock.touch()
    run.metrics_jsonl.write_text("of another run\n")


def files(run: RunDirectory) -> dict[str, bytes]:
    return {
        str(path.relative_to(run.path)): path.read_bytes() if path.is_file() else b"a folder"
        for path in run.path.rglob("*")
    }


@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize("take", [removed, replaced])
@pytest.mark.parametrize("owed", [False, True])
def test_rows_make_no_directory_anew_and_go_into_no_other(
    tmp_path: Path, take: Callable[[RunDirectory], None], goes_on: bool, owed: bool
) -> None:
    run = RunDirectory(tmp_path / "run")
    console = io.StringIO()
    hooks: list[Hook] = [
        ConsoleHook(1000, 0, console),
        TensorBoardHook(run),
        MetricsFileHook(run, 0),
    ]
    with locked(run) as lock:
        happenings = Happenings(goes_on, hooks, lock)

        def show(env_steps: int) -> None:
            # The row of a turn, or one that the process before could not show any more.
            happenings.env_steps = env_steps
            if owed:
                assert happenings.milestones.make_up(Owed(happenings.row(), False))
            else:
                assert happenings.turn(env_steps)

        take(run)
        before = files(run)
        if goes_on:
            show(100)
            show(300)
            # A person who watches sees that it goes on.
            assert [line.split()[0] for line in console.getvalue().splitlines()] == ["100", "300"]
        else:
            with pytest.raises(FileNotFoundError, match="moved or removed"):
                show(100)
        for hook in hooks:
            hook.close()
        assert files(run) == before
        assert run.path.exists() == (take is replaced)


def test_rows_go_on_in_a_directory_that_is_back(tmp_path: Path) -> None:
    run, moved = RunDirectory(tmp_path / "run"), RunDirectory(tmp_path / "moved")
    hooks: list[Hook] = [TensorBoardHook(run), MetricsFileHook(run, 0)]
    with locked(run) as lock:
        happenings = Happenings(True, hooks, lock)
        assert happenings.turn(100)
        run.path.rename(moved.path)
        assert happenings.turn(300)
        moved.path.rename(run.path)
        assert happenings.turn(700)
        for hook in hooks:
            hook.close()
    rows = [json.loads(line)["env_steps"] for line in run.metrics_jsonl.read_text().splitlines()]
    assert rows == [100, 700]
    assert len(list(run.train_events.iterdir())) == 1
