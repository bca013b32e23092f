"""Tests of when things are due, in which order, and what becomes of what cannot be written."""

from __future__ import annotations

import errno
import io
import itertools
import json
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dqn_breakout.learning.learning import Turn
from dqn_breakout.runs.directory import RunDirectory
from dqn_breakout.runs.record import Lock, locked
from dqn_breakout.training.console import ConsoleHook
from dqn_breakout.training.hooks import MetricsFileHook, TensorBoardHook
from dqn_breakout.training.milestones import Milestones, Schedule, period_ended
from dqn_breakout.training.progress import Hook, Row
from dqn_breakout.training.signals import StopSignals
from tests.training.rows import row

TURNS = list(range(0, 1000, 64))


@pytest.mark.parametrize(
    ("period", "turns", "due"),
    [
        (250, TURNS, [256, 512, 768]),  # First at or after 250, 500 and 750.
        (100, [99, 100, 101, 199, 200], [100, 200]),
        (10, [5, 35, 39, 40], [35, 40]),  # Periods passed in one turn are due once.
    ],
)
def test_a_period_ends_once_each_time_it_has_passed(period, turns, due):
    pairs = itertools.pairwise([0, *turns])
    assert [now for before, now in pairs if period_ended(period, before, now)] == due


# --- What a turn is followed by ------------------------------------------------------------------


class Shown(Hook):
    """A hook; see `Happenings`."""

    writes = "rows"

    def __init__(self, happenings: Happenings):
        self._happenings = happenings

    def on_row(self, row: Row) -> None:
        self._happenings.note("row")
        self._happenings.rows.append(row)


class Happenings:
    """Every other part that `Milestones` calls; notes the calls, and fails as it is told to."""

    writes = "an evaluation"

    def __init__(
        self,
        path: Path,
        goes_on: bool = False,
        hooks: Sequence[Hook] | None = None,
        lock: Lock | None = None,
        restored: dict[str, Any] | None = None,
    ):
        self.run = RunDirectory(path)
        self.seen: list[str] = []
        self.full: set[str] = set()
        self.counters: list[dict[str, Any]] = []
        self.rows: list[Row] = []
        self.stop = StopSignals()
        self.restored_counters = restored or {}
        self.env_steps = self.restored_counters.get("env_steps", 0)
        self.overall_env_steps_per_second = 100.0
        me: Any = self
        self.milestones = Milestones(
            schedule=Schedule(
                total_env_steps=1000,
                log_period_env_steps=100,
                checkpoint_period_env_steps=200,
                keep_checkpoints=1,
                evaluation_period_env_steps=500,
                evaluation_games=1,
                evaluation_protocol="training",
                evaluation_video_seconds=0,
                go_on_without_checkpoints=goes_on,
            ),
            meter=me,
            checkpointer=me,
            evaluation=me,
            lock=lock or me,
            weights_sha256=self.weights_sha256,
            hooks=[Shown(self)] if hooks is None else hooks,
            stop=self.stop,
        )

    def turn(self, env_steps: int) -> bool:
        self.env_steps = env_steps
        self.seen.clear()
        return self.milestones.after(Turn(env_steps, 0, {}))

    def note(self, what: str) -> None:
        self.seen.append(what)
        if what in self.full:
            raise OSError(errno.ENOSPC, "No space left on device", f"/run/{what}")

    def add(self, turn: Turn) -> None:
        pass

    def row(self) -> Row:
        return row(self.env_steps)

    def write_ahead(self) -> None:
        pass

    def save(self, counters: dict[str, Any]) -> None:
        self.note("checkpoint")
        self.counters.append(counters)

    def weights_sha256(self) -> str:
        self.note("summary")
        return "abc"

    def evaluate(self, env_steps: int) -> None:
        if "stop in the evaluation" in self.full:
            self.stop.received = signal.SIGTERM
        if "directory in the evaluation" in self.full:
            self.full.add("directory")
        self.check()
        self.note("evaluation")

    def check(self) -> None:
        if "directory" in self.full:
            raise FileNotFoundError(errno.ENOENT, "gone", "run")


SAVED = ["checkpoint", "summary", "row"]


def test_a_checkpoint_comes_before_what_it_says_is_to_follow(tmp_path):
    happenings = Happenings(tmp_path)
    followed = {}
    for env_steps in range(50, 1001, 50):
        assert happenings.turn(env_steps)
        followed[env_steps] = list(happenings.seen)
    expected = {
        **{env_steps: [] for env_steps in range(50, 1000, 100)},
        **{env_steps: ["row"] for env_steps in (100, 300, 700, 900)},
        **dict.fromkeys((200, 400, 600, 800), SAVED),
        **{env_steps: [*SAVED, "evaluation"] for env_steps in (500, 1000)},
    }
    assert followed == expected
    saved = {each["env_steps"]: each for each in happenings.counters}
    assert [number for number, each in saved.items() if each["evaluation_due"]] == [500, 1000]
    assert all(each["train_steps"] == env_steps // 4 for env_steps, each in saved.items())
    assert saved[200]["row"] == row(200)
    for shown in happenings.rows:
        assert (shown["checkpoint_seconds"] is not None) == (shown["env_steps"] in saved)
    assert json.loads(RunDirectory(tmp_path).summary_json.read_text()) == {
        "env_steps": 1000,
        "train_steps": 250,
        "episodes": 1_234,
        "env_steps_per_second": 100.0,
        "average_return": 12.3456,
        "average_length_env_steps": 60.0,
        "epsilon": 0.5,
        "weights_sha256": "abc",
    }


def test_a_stop_is_followed_by_a_checkpoint_and_nothing_else(tmp_path):
    happenings = Happenings(tmp_path)
    assert happenings.turn(60)
    happenings.stop.received = signal.SIGTERM
    assert not happenings.turn(80)
    assert happenings.seen == SAVED
    # Where an evaluation is due, the checkpoint says so, and the next process plays it.
    assert not happenings.turn(520)
    assert happenings.seen == SAVED
    assert happenings.counters[-1]["evaluation_due"]


@pytest.mark.parametrize("env_steps", [500, 1000])
def test_an_evaluation_that_a_checkpoint_says_is_to_follow_is_made_up_for(tmp_path, env_steps):
    restored = {"env_steps": env_steps, "evaluation_due": True}
    happenings = Happenings(tmp_path, restored=restored)
    assert not happenings.milestones.nothing_left()
    happenings.seen.clear()
    assert happenings.milestones.make_up()
    assert happenings.seen == ["evaluation"]
    # One that is cut short is still due: no turn may follow.
    happenings.stop.received = signal.SIGINT
    assert not happenings.milestones.make_up()
    happenings.run.evaluations.mkdir()
    happenings.run.evaluation_json(env_steps).touch()
    happenings = Happenings(tmp_path, restored=restored)
    assert happenings.milestones.nothing_left() == (env_steps == 1000)
    happenings.seen.clear()
    assert happenings.milestones.make_up()
    assert happenings.seen == []


def test_of_a_finished_run_only_the_summary_is_written_where_it_is_of_another_moment(tmp_path):
    summary = RunDirectory(tmp_path).summary_json
    restored = {"env_steps": 1000, "evaluation_due": False}
    for there in ("", "{}", '{"env_steps": 800, "weights_sha256": "abc"}'):
        summary.write_text(there)
        assert Happenings(tmp_path, restored=restored).milestones.nothing_left()
        assert json.loads(summary.read_text())["env_steps"] == 1000
    right = summary.stat().st_mtime_ns
    assert Happenings(tmp_path, restored=restored).milestones.nothing_left()
    assert summary.stat().st_mtime_ns == right


@pytest.mark.parametrize(
    ("full", "env_steps", "before"),
    [
        ("checkpoint", 500, []),
        ("summary", 500, ["checkpoint"]),
        ("row", 500, ["checkpoint", "summary"]),
        ("evaluation", 500, SAVED),
        ("directory", 100, []),
        ("directory", 200, []),
        ("directory", 500, []),
        ("directory in the evaluation", 500, SAVED),
    ],
)
def test_what_cannot_be_written_ends_training(tmp_path, full, env_steps, before):
    happenings = Happenings(tmp_path)
    happenings.full = {full}
    with pytest.raises(OSError, match=r"No space left|gone"):
        happenings.turn(env_steps)
    assert [what for what in happenings.seen if what != full] == before


EVERYTHING = {"checkpoint", "summary", "row", "evaluation"}


@pytest.mark.parametrize(
    ("full", "cause"),
    [
        (EVERYTHING, "No space left on device: /run/"),
        # Another run may be there now: nothing is so much as tried.
        ({"directory"}, "gone: run"),
    ],
)
def test_told_to_go_on_it_does_so_and_says_so_once(tmp_path, capsys, full, cause):
    happenings = Happenings(tmp_path, goes_on=True)
    happenings.full = full
    for env_steps in (200, 400, 500, 600):
        assert happenings.turn(env_steps)
        assert full == EVERYTHING or happenings.seen == []
    said = [line.split(" (") for line in capsys.readouterr().err.splitlines() if " write " in line]
    assert [what for what, _ in said if what != "Could not write the replay buffer's rows"] == [
        "Could not write a checkpoint",
        "Could not write summary.json",
        "Could not write rows",
        "Could not write an evaluation",
    ]
    assert all(why.startswith(cause) for _, why in said)
    assert happenings.rows == []
    happenings.full = set()
    assert happenings.turn(700)
    assert happenings.turn(800)
    # Work since a checkpoint that could not be written took none of its time.
    assert [row["checkpoint_seconds"] is None for row in happenings.rows] == [True, False]
    happenings.full = full
    assert happenings.turn(900)
    assert "Could not write rows (" in capsys.readouterr().err
    # Without the last checkpoint work would be lost.
    with pytest.raises(OSError, match=r"No space left|gone"):
        happenings.turn(1000)
    happenings.stop.received = signal.SIGTERM
    with pytest.raises(OSError, match=r"No space left|gone"):
        happenings.turn(60)


def test_a_stop_in_an_evaluation_whose_checkpoint_is_missing_gives_it_another_try(tmp_path):
    happenings = Happenings(tmp_path, goes_on=True)
    happenings.full = {"checkpoint", "stop in the evaluation"}
    assert happenings.turn(500)
    with pytest.raises(OSError, match="No space left"):
        happenings.turn(520)
    happenings.full = set()
    assert not happenings.turn(540)
    assert happenings.counters[-1]["env_steps"] == 540


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
def test_rows_make_no_directory_anew_and_go_into_no_other(tmp_path, take, goes_on):
    run, console = RunDirectory(tmp_path / "run"), io.StringIO()
    writers = [ConsoleHook(1000, 0, 0, console), TensorBoardHook(run), MetricsFileHook(run, {})]
    with locked(run) as lock:
        happenings = Happenings(run.path, goes_on, writers, lock)
        take(run)
        before = files(run)
        if goes_on:
            assert happenings.turn(100)
            assert happenings.turn(300)
            # A person who watches sees that it goes on.
            shown = [line.split()[0] for line in console.getvalue().splitlines()]
            assert shown == ["100", "300"]
        else:
            with pytest.raises(FileNotFoundError, match="moved or removed"):
                happenings.turn(100)
        for hook in writers:
            hook.close()
        assert files(run) == before
        assert run.path.exists() == (take is replaced)


def test_rows_go_on_in_a_directory_that_is_back(tmp_path):
    run, moved = RunDirectory(tmp_path / "run"), RunDirectory(tmp_path / "moved")
    hooks = [TensorBoardHook(run), MetricsFileHook(run, {})]
    with locked(run) as lock:
        happenings = Happenings(run.path, True, hooks, lock)
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
