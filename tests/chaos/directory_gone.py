"""Takes the run directory away while a run trains in it: the run ends, and makes no new one.

python -m tests.chaos.directory_gone
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

from dqn_breakout import checkpoint_files
from dqn_breakout.run_directory import RunDirectory
from tests.chaos import campaign
from tests.chaos.campaign import Result
from tests.chaos.run_outcome import rows, rows_so_far, setting
from tests.chaos.tiny_run import PATHS, compare, flags, reference
from tests.chaos.train_process import TrainProcess, warm_up

# With them there is a checkpoint.
_ROWS = 4
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


def _taken_away(
    run: RunDirectory, path: str, take: Callable[[], object], *more: str
) -> tuple[list[str], dict[str, Any]]:
    """A run whose directory is taken while it trains, and what is wrong with how it ends."""
    life = TrainProcess(flags(path, run, *more), run.path.with_name("gone.out"))
    life.wait_until(lambda: rows_so_far(run) >= _ROWS)
    # It stands still meanwhile, or what it writes would keep the directory from being removed.
    life.signal(signal.SIGSTOP)
    os.waitid(os.P_PID, life.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
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
