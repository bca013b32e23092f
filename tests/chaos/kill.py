"""Kills training at random moments, again and again, and compares how it ends: to the last bit.

50 chains of one to four kills, on both paths; and a kill before file operations of each kind.
"""

from __future__ import annotations

import functools
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from tests.chaos import file_operations
from tests.chaos.campaign import Case, Trial
from tests.chaos.file_operations import Operation
from tests.chaos.run_outcome import rows_so_far, saved_steps
from tests.chaos.tiny_run import PATHS, operations
from tests.chaos.train_process import KILL, TrainProcess

_CHAINS = 50
_MOST_KILLS = 4
# About as many seconds does a tiny run take, once TensorFlow is imported.
_SECONDS = 7.0
# So often is a chain begun anew that was done before it was killed at all.
_MOST_MISSES = 20


def chains(work_dir: Path) -> list[Case]:
    """Chains of kills at moments that their seeds choose."""
    return [
        Case(f"seed {seed}", ("fast", "book")[seed % 2], functools.partial(chain, seed))
        for seed in range(1, _CHAINS + 1)
    ]


def before_operations(work_dir: Path) -> list[Case]:
    """A kill before the first and second operation of each kind on each file, half on each path."""
    cases = []
    for place, path in enumerate(PATHS):
        known = file_operations.of_each_kind(operations(path, work_dir), file_operations.KINDS)
        cases += [
            Case(f"before {operation}", path, functools.partial(before, operation))
            for operation in known[place :: len(PATHS)]
        ]
    return cases


def chain(seed: int, trial: Trial) -> None:
    """A run killed one to four times, then left alone.

    The chain ends with a process that was done before its moment came; if none was killed until
    then, it begins anew, with the next moments of the same seed.
    """
    chance = random.Random(seed)
    wanted = chance.randint(1, _MOST_KILLS)
    killed: list[str] = []
    for _ in range(wanted + _MOST_MISSES):
        how = chance.choice((_at_a_time, _in_a_checkpoint, _at_a_row, _before_an_operation))
        life, moment = how(trial, chance)
        ended = life.wait()
        if ended.code == -KILL:
            killed.append(moment)
        elif not trial.must_end(ended):
            return
        if not killed:
            shutil.rmtree(trial.run.path)
        elif ended.code == 0 or len(killed) == wanted:
            break
    if trial.must(bool(killed), "always done before its moment came"):
        _went_on(trial, killed)


def before(operation: Operation, trial: Trial) -> None:
    """A run killed before a file operation, then left alone."""
    if trial.must_end(_start_and_kill_before(operation, trial).wait(), -KILL):
        _went_on(trial, [f"before {operation}"])


def _went_on(trial: Trial, killed: list[str]) -> None:
    trial.told |= {"kills": len(killed), "killed": "; ".join(killed)}
    ended = trial.must_go_on()
    trial.must("Damaged checkpoint" not in ended.err, f"a checkpoint was damaged: {ended.err}")


# --- When a process dies --------------------------------------------------------------------------

Moment = tuple[TrainProcess, str]


def _at_a_time(trial: Trial, chance: random.Random) -> Moment:
    """At any time at all, the start included."""
    seconds = chance.uniform(0.0, _SECONDS)
    due = time.monotonic() + seconds
    return _killed(trial, lambda: time.monotonic() >= due), f"after {seconds:.2f} s"


def _in_a_checkpoint(trial: Trial, chance: random.Random) -> Moment:
    """As soon as a temporary name appears in the checkpoints, or a moment later."""
    before = set(saved_steps(trial.run))
    written = chance.randint(0, 2)
    seconds = chance.choice((0.0, chance.uniform(0.0, 0.02)))

    def half_written() -> bool:
        new = set(saved_steps(trial.run)) - before
        return len(new) >= written and any(trial.run.checkpoints.glob(".*.tmp"))

    life = _killed(trial, half_written, seconds)
    return life, f"{seconds * 1000:.1f} ms into checkpoint {written + 1}"


def _at_a_row(trial: Trial, chance: random.Random) -> Moment:
    """Some time after some row was logged: between checkpoints, mostly."""
    more = chance.randint(1, 8)
    seconds = chance.uniform(0.0, 0.1)
    rows = rows_so_far(trial.run)
    life = _killed(trial, lambda: rows_so_far(trial.run) >= rows + more, seconds)
    return life, f"{seconds * 1000:.0f} ms after row {more}"


def _before_an_operation(trial: Trial, chance: random.Random) -> Moment:
    operation = chance.choice(operations(trial.path, trial.work_dir))
    return _start_and_kill_before(operation, trial), f"before {operation}"


def _start_and_kill_before(operation: Operation, trial: Trial) -> TrainProcess:
    kill = functools.partial(file_operations.signal_before, KILL, trial.run.path, operation)
    return trial.start(prepare=kill)


def _killed(trial: Trial, due: Callable[[], bool], seconds: float = 0.0) -> TrainProcess:
    """A process that is killed so many seconds after something was due."""
    life = trial.start()
    life.wait_until(due)
    time.sleep(seconds)
    life.signal(KILL)
    return life
