"""The short form of `make chaos`: one run to which everything happens; see docs/reliability.md."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dqn_breakout.runs import checkpoint_files
from dqn_breakout.runs.directory import RunDirectory
from dqn_breakout.training import signals
from tests.chaos import damage, directory_gone, file_operations
from tests.chaos.campaign import Case, Trial, try_one
from tests.chaos.file_operations import Operation
from tests.chaos.run_outcome import differences, rows, saved_steps, snapshot
from tests.chaos.tiny_run import flags, reference
from tests.chaos.train_process import HANG_UP, KILL, Ended, TrainProcess

pytestmark = pytest.mark.slow

PATH = "fast"
# In its own process each: the n-th operation of its kind on such a file.
IN_THE_SECOND_CHECKPOINT = Operation("write", "checkpoints/.0.tmp/.network.npz.tmp", 2, False)
FIRST_ROW = Operation("write", "metrics.jsonl", 1, False)
# With that in place, and neither its row nor its evaluation.
AFTER_THE_THIRD_CHECKPOINT = Operation("fsync", "checkpoints", 3, False)


@dataclasses.dataclass(frozen=True)
class Life:
    """One process of the run: how it ended, and the newest checkpoint that it left."""

    ended: Ended
    saved_at: int


def hang_up_in_an_evaluation() -> None:
    """This process will get SIGHUP in the middle of its first evaluation."""
    signal.signal(HANG_UP, signal.SIG_DFL)
    check, steps = signals.StopSignals.check, itertools.count(1)

    def after_a_step(stop: signals.StopSignals) -> None:
        if next(steps) == 3:
            signal.raise_signal(HANG_UP)
        check(stop)

    signals.StopSignals.check = after_a_step  # type: ignore[assignment, method-assign]


@pytest.fixture(scope="module")
def trial(work_dir: Path) -> Trial:
    return Trial("everything", PATH, work_dir)


@pytest.fixture(scope="module")
def lives(trial: Trial, work_dir: Path) -> dict[str, Life]:
    """The processes of one run, each ended in another way, by what ended it."""
    run = trial.run.path
    stop = functools.partial(functools.partial, file_operations.signal_before)
    ends: dict[str, Callable[[], object] | None] = {
        "full disk": functools.partial(file_operations.fill_disk_at, run, IN_THE_SECOND_CHECKPOINT),
        "SIGTERM": stop(signal.SIGTERM, run, FIRST_ROW),
        "SIGINT": stop(signal.SIGINT, run, FIRST_ROW),
        "SIGHUP": hang_up_in_an_evaluation,
        "SIGKILL": stop(KILL, run, AFTER_THE_THIRD_CHECKPOINT),
        "budget": None,
    }
    lives = {}
    # Beside it, the run that is left alone.
    with ThreadPoolExecutor(1) as beside:
        alone = beside.submit(reference, PATH, work_dir)
        for name, prepare in ends.items():
            ended = trial.start(prepare=prepare).wait()
            lives[name] = Life(ended, saved_steps(trial.run)[0])
            if name == "SIGINT":
                newest = checkpoint_files.checkpoints(trial.run.checkpoints)[0]
                damage.apply("a bit flipped", newest / "network.npz")
    alone.result()
    return lives


def test_whatever_happens_to_a_run_it_ends_as_if_left_alone(lives, trial, work_dir):
    assert differences(trial.run, reference(PATH, work_dir)) == []


@pytest.mark.parametrize(
    ("name", "code", "saved_at"),
    [
        ("full disk", 2, 80),
        ("SIGTERM", 143, 112),
        ("SIGINT", 130, 144),
        ("SIGHUP", 129, 160),
        ("SIGKILL", -9, 304),
        ("budget", 0, 400),
    ],
)
def test_the_exit_code_tells_how_a_run_ended(lives, name, code, saved_at):
    assert (lives[name].ended.code, lives[name].saved_at) == (code, saved_at)
    assert "Traceback" not in lives[name].ended.err
    assert lives[name].ended.out == ""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_is_answered_at_once_and_saves(lives, name):
    err = lives[name].ended.err
    notice = "\nStopping after this turn; all will be saved. Ctrl-C once more leaves at once.\n"
    assert err.count(notice) == 1
    assert err.endswith(
        f"Stopped by {name} at {lives[name].saved_at} environment steps; everything is saved. "
        "The same command goes on from here.\n"
    )


def test_a_full_disk_is_one_sentence_and_leaves_the_checkpoint_before(lives, trial):
    assert lives["full disk"].ended.last.startswith(
        "A file could not be read or written at 112 environment steps (No space left on device: "
        f"{trial.run.checkpoints}/000000000112). Checkpoints written before are sound; "
        "make room and start the same command again."
    )


def test_an_evaluation_that_a_signal_cuts_short_comes_when_the_run_goes_on(lives):
    said = "The evaluation at 160 steps was cut short; it comes when the run goes on.\n"
    assert said in lives["SIGHUP"].ended.err
    assert "Evaluation at 160 steps: " in lives["SIGKILL"].ended.err
    assert "Evaluation at 304 steps: " in lives["budget"].ended.err


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(lives, trial):
    path = trial.run.checkpoints / "000000000144" / "network.npz"
    assert lives["SIGHUP"].ended.err.startswith(
        f"Damaged checkpoint left out: {path} was changed: its checksum does not match.\n"
    )


def test_every_start_is_recorded_and_goes_on_from_the_last_sound_checkpoint(lives, trial):
    starts = json.loads(trial.run.run_json.read_text())["starts"]
    began_at = [0, 80, 112, 112, 160, 304]
    assert [start["env_steps"] for start in starts] == began_at
    for life, steps in zip(lives.values(), began_at, strict=True):
        assert (f", of which {steps} are done\n" in life.ended.err) == (steps > 0)


def test_no_number_is_logged_twice(lives, trial):
    steps = [row["env_steps"] for row in rows(trial.run)]
    assert steps == sorted(set(steps))


def test_the_replay_buffer_on_disk_does_not_grow_with_the_run(lives, trial):
    kept = checkpoint_files.checkpoints(trial.run.checkpoints)
    needed = {name for path in kept for name in checkpoint_files.open_checkpoint(path).segments}
    assert {path.name for path in trial.run.replay.glob("[!.]*")} == needed
    assert not any(name.startswith("rows-000000000000") for name in needed)


def test_a_finished_run_started_again_does_nothing(work_dir):
    run: RunDirectory = reference(PATH, work_dir)
    before = snapshot(run.path)
    # A smaller budget is spent all the more; how closely it is watched may differ.
    smaller = [
        "--gin_bindings=train.total_env_steps = 100",
        "--gin_bindings=train.keep_checkpoints = 1",
    ]
    ended = TrainProcess(flags(PATH, run.path, *smaller), work_dir / "again").wait()
    assert ended.code == 0
    assert ended.err.startswith("Done: 400 environment steps.")
    assert snapshot(run.path) == before


def test_a_run_whose_directory_is_removed_ends_and_makes_no_other(work_dir):
    removed = Case("removed", PATH, functools.partial(directory_gone.removed, False))
    assert try_one(removed, work_dir).faults == []
