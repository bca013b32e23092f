"""Takes the run directory away while a run trains in it: no new one is made, no other written to.

The run ends; or, told so by `train.go_on_without_checkpoints`, trains on to the end of its budget,
and ends with an error only if the directory is not back for the last checkpoint.
"""

from __future__ import annotations

import functools
import re
import shutil
from pathlib import Path

import psutil

from tests.chaos.campaign import Case, Trial
from tests.chaos.disk_full import GO_ON, must_say_once
from tests.chaos.run_outcome import rows, rows_so_far, saved_steps, setting, snapshot
from tests.chaos.tiny_run import PATHS
from tests.chaos.train_process import HALT, RESUME, Ended, TrainProcess

# With them there is a checkpoint.
_ROWS = 4
_MISSED = "; going on without, as"
_AT = re.compile(r" at ([\d,]+) environment steps ")


def cases(work_dir: Path) -> list[Case]:
    """Each on both paths, and told to go on or not."""
    every = {
        "removed": removed,
        "moved and back": moved_and_back,
        "another in its place": another_in_its_place,
    }
    return [
        Case(name + (", going on" if go_on else ""), path, functools.partial(do, go_on))
        for path in PATHS
        for name, do in every.items()
        for go_on in (False, True)
    ]


def removed(go_on: bool, trial: Trial) -> None:
    """It is removed, with all that is in it."""
    life = _stopped(go_on, trial)
    before, budget = _where_it_is(trial)
    shutil.rmtree(trial.run.path)
    _must_miss_it(_continued(life), go_on, before, budget, trial)
    _must_be_gone(trial)


def moved_and_back(go_on: bool, trial: Trial) -> None:
    """It is moved, and back: at the next start, or once the run has missed it.

    Either way it ends as one that was left alone.
    """
    life = _stopped(go_on, trial)
    before, budget = _where_it_is(trial)
    moved = _move(trial)
    if not go_on:
        _must_miss_it(_continued(life), go_on, before, budget, trial)
        _must_be_gone(trial)
        moved.rename(trial.run.path)
        trial.must_go_on()
        return
    life.signal(RESUME)
    missed = life.wait_until(lambda: _MISSED in life.err())
    _must_be_gone(trial)
    moved.rename(trial.run.path)
    if trial.must(missed, "it was not missed") and trial.must_end(life.wait()):
        trial.must_be_as_left_alone(logs="may lack")


def another_in_its_place(go_on: bool, trial: Trial) -> None:
    """It is moved, and another run is begun under its name, in which the first writes nothing."""
    life = _stopped(go_on, trial, "--seed=8")
    before, budget = _where_it_is(trial)
    _move(trial)
    trial.must_end(trial.start().wait())
    others = snapshot(trial.run.path)
    _must_miss_it(_continued(life), go_on, before, budget, trial)
    trial.must(snapshot(trial.run.path) == others, "the other's files are not as it left them")
    trial.must_be_as_left_alone()


def _stopped(go_on: bool, trial: Trial, *more: str) -> TrainProcess:
    """A run that trains and has a checkpoint.

    It stands still, or what it writes would keep the directory from being removed.
    """
    life = trial.start(*more, *((GO_ON,) if go_on else ()))
    life.wait_until(lambda: rows_so_far(trial.run) >= _ROWS)
    life.signal(HALT)
    life.wait_until(lambda: psutil.Process(life.pid).status() == psutil.STATUS_STOPPED)
    trial.must(bool(saved_steps(trial.run)), "there was no checkpoint to lose")
    return life


def _where_it_is(trial: Trial) -> tuple[int, int]:
    """The last row's step, and the budget."""
    return int(rows(trial.run)[-1]["env_steps"]), setting(trial.run, "train.total_env_steps")


def _move(trial: Trial) -> Path:
    return trial.run.path.rename(trial.folder / "moved")


def _continued(life: TrainProcess) -> Ended:
    life.signal(RESUME)
    return life.wait()


def _must_miss_it(ended: Ended, go_on: bool, before: int, budget: int, trial: Trial) -> None:
    """One error that names the directory, by the checkpoint after next, or at the budget's end."""
    trial.must_end(ended, 2, str(trial.run.path))
    at = _AT.search(ended.last)
    step = int(at[1].replace(",", "")) if at is not None else None
    trial.told |= {"after": before, "ended at": step}
    if go_on:
        must_say_once(ended, trial)
        trial.must(step == budget, f"it ended at {step}, not at its budget")
    else:
        # The tiny run's period is 50 steps, rounded up to a turn.
        trial.must(step is not None and step <= before + 100, f"it ended at {step} only")


def _must_be_gone(trial: Trial) -> None:
    path = trial.run.path
    trial.must(not path.exists(), f"there is {sorted(map(str, path.rglob('*')))} again")
