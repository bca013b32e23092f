"""Takes the run directory away while a run trains in it: no new one is made, no other written to.

python -m tests.chaos.directory_gone

The run ends; or, told so by `train.go_on_without_checkpoints`, trains on to the end of its budget,
and ends with an error only if the directory is not back for the last checkpoint.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dqn_breakout.runs import checkpoint_files
from dqn_breakout.runs.directory import RunDirectory
from tests.chaos import campaign
from tests.chaos.campaign import Result
from tests.chaos.disk_full import GO_ON, ended_as_left_alone, said_again
from tests.chaos.run_outcome import rows, rows_so_far, setting, snapshot
from tests.chaos.tiny_run import PATHS, compare, flags, reference
from tests.chaos.train_process import Ended, TrainProcess, warm_up

# With them there is a checkpoint.
_ROWS = 4
_MISSED = "; going on without, as"
_AT = re.compile(r" at ([\d,]+) environment steps ")


def removed(run: RunDirectory, path: str, work_dir: Path) -> tuple[list[str], Any]:
    """It is removed, with all that is in it."""
    faults, told = _taken_away(run, path, lambda: shutil.rmtree(run.path))
    if run.path.exists():
        faults.append(f"there is {sorted(map(str, run.path.rglob('*')))} again")
    return faults, told


def moved_and_back(run: RunDirectory, path: str, work_dir: Path) -> tuple[list[str], Any]:
    """It is moved; back in its place, the same command goes on to the same end."""
    moved = RunDirectory(run.path.with_name("moved"))
    faults, told = _taken_away(run, path, lambda: run.path.rename(moved.path))
    if run.path.exists():
        return [*faults, f"there is {sorted(map(str, run.path.rglob('*')))} again"], told
    moved.path.rename(run.path)
    again = TrainProcess(flags(path, run), run.path.with_name("again.out")).wait()
    if again.code != 0:
        return [*faults, f"back again: exit code {again.code}: {again.err[-500:]}"], told
    return [*faults, *compare(run, path, work_dir)], told


def another_in_its_place(run: RunDirectory, path: str, work_dir: Path) -> tuple[list[str], Any]:
    """It is moved, and another run is begun under its name, which ends as if left alone."""
    moved = RunDirectory(run.path.with_name("moved"))
    faults = []

    def replace() -> None:
        run.path.rename(moved.path)
        other = TrainProcess(flags(path, run), run.path.with_name("other.out")).wait()
        if other.code != 0:
            faults.append(f"the other: exit code {other.code}: {other.err[-500:]}")

    found, told = _taken_away(run, path, replace, "--seed=8")
    return [*faults, *found, *compare(run, path, work_dir)], told


def removed_told_to_go_on(run: RunDirectory, path: str, work_dir: Path) -> tuple[list[str], Any]:
    """It is removed; the run spends its budget and makes no new one."""
    life = _stopped(run, path, GO_ON)
    budget = setting(run, "train.total_env_steps")
    shutil.rmtree(run.path)
    life.signal(signal.SIGCONT)
    faults, told = _spent(life.wait(), run, budget)
    if run.path.exists():
        faults.append(f"there is {sorted(map(str, run.path.rglob('*')))} again")
    return faults, told


def moved_and_back_told_to_go_on(
    run: RunDirectory, path: str, work_dir: Path
) -> tuple[list[str], Any]:
    """It is moved, and back once the run has missed it: that ends as if left alone."""
    moved = RunDirectory(run.path.with_name("moved"))
    life = _stopped(run, path, GO_ON)
    before = rows_so_far(run)
    run.path.rename(moved.path)
    life.signal(signal.SIGCONT)
    life.wait_until(lambda: _MISSED in life.err())
    faults = [f"there was {run.path} again"] if run.path.exists() else []
    moved.path.rename(run.path)
    ended = life.wait()
    told = {"rows before": before, "rows in all": rows_so_far(run)}
    if ended.code != 0:
        return [*faults, f"exit code {ended.code}: {ended.err[-500:]}"], told
    if _MISSED not in ended.err:
        faults.append("it was not missed")
    return [*faults, *ended_as_left_alone(run, path, work_dir)], told


def another_in_its_place_told_to_go_on(
    run: RunDirectory, path: str, work_dir: Path
) -> tuple[list[str], Any]:
    """It is moved, and another run is begun under its name, in which the first writes nothing."""
    moved = RunDirectory(run.path.with_name("moved"))
    life = _stopped(run, path, "--seed=8", GO_ON)
    budget = setting(run, "train.total_env_steps")
    run.path.rename(moved.path)
    other = TrainProcess(flags(path, run), run.path.with_name("other.out")).wait()
    found = [] if other.code == 0 else [f"the other: exit code {other.code}: {other.err[-500:]}"]
    before = snapshot(run.path)
    life.signal(signal.SIGCONT)
    faults, told = _spent(life.wait(), run, budget)
    after = snapshot(run.path)
    found += [
        f"{name} is not as the other left it"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
    return [*found, *faults, *compare(run, path, work_dir)], told


def _stopped(run: RunDirectory, path: str, *more: str) -> TrainProcess:
    """A run that trains and has a checkpoint.

    It stands still, or what it writes would keep the directory from being removed.
    """
    life = TrainProcess(flags(path, run, *more), run.path.with_name("gone.out"))
    life.wait_until(lambda: rows_so_far(run) >= _ROWS)
    life.signal(signal.SIGSTOP)
    os.waitid(os.P_PID, life.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    return life


def _spent(ended: Ended, run: RunDirectory, budget: int) -> tuple[list[str], dict[str, Any]]:
    """What is wrong with how a run ended that was to go on, and whose directory stayed away."""
    said = ended.err.strip().splitlines()[-1:]
    faults = said_again(ended.err)
    if ended.code != 2 or f" at {budget:,} environment steps " not in " ".join(said):
        faults.append(f"exit code {ended.code}: {ended.err[-500:]}")
    elif str(run.path) not in said[0]:
        faults.append(f"it is not named: {said[0]}")
    if "Traceback" in ended.err:
        faults.append(f"a stack trace: {ended.err[-500:]}")
    return faults, {"it": " ".join(said)}


def _taken_away(
    run: RunDirectory, path: str, take: Callable[[], object], *more: str
) -> tuple[list[str], dict[str, Any]]:
    """A run whose directory is taken while it trains, and what is wrong with how it ends."""
    life = _stopped(run, path, *more)
    before = int(rows(run)[-1]["env_steps"])
    period = setting(run, "train.checkpoint_period_env_steps")
    saved = checkpoint_files.checkpoints(run.checkpoints)
    take()
    life.signal(signal.SIGCONT)
    ended = life.wait()
    said = ended.err.strip().splitlines()[-1:]
    at = _AT.search(" ".join(said))
    told = {"after": before, "it": " ".join(said)}
    faults = [] if saved else ["there was no checkpoint to lose"]
    if ended.code != 2 or at is None or str(run.path) not in said[0]:
        faults.append(f"exit code {ended.code}: {ended.err[-500:]}")
    elif int(at[1].replace(",", "")) > before + 2 * period:
        faults.append(f"the next checkpoint was due before step {at[1]}")
    if "Traceback" in ended.err:
        faults.append(f"a stack trace: {ended.err[-500:]}")
    return faults, told


CASES: dict[str, Callable[[RunDirectory, str, Path], tuple[list[str], Any]]] = {
    "removed": removed,
    "moved and back": moved_and_back,
    "another in its place": another_in_its_place,
    "removed, told to go on": removed_told_to_go_on,
    "moved and back, told to go on": moved_and_back_told_to_go_on,
    "another in its place, told to go on": another_in_its_place_told_to_go_on,
}


def try_case(case: tuple[str, str], work_dir: Path) -> Result:
    """One case on one path."""
    name, path = case
    folder = work_dir / f"gone-{path}-{list(CASES).index(name)}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    faults, told = CASES[name](RunDirectory(folder / "run"), path, work_dir)
    return Result(f"{name}, {path}", faults, told)


def main() -> int:
    """Tries each case on both paths."""
    options = campaign.arguments(str(__doc__).splitlines()[0]).parse_args()
    work_dir = campaign.working_directory(options)
    warm_up()
    for path in PATHS:
        reference(path, work_dir)
    cases = [(name, path) for path in PATHS for name in CASES]
    each = functools.partial(try_case, work_dir=work_dir)
    return campaign.run_all("directory gone", cases, each, options, work_dir)


if __name__ == "__main__":
    sys.exit(main())
