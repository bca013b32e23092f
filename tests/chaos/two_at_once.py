"""Two processes on one run directory, and the lock of one that was killed.

python -m tests.chaos.two_at_once
"""

from __future__ import annotations

import functools
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dqn_breakout.runs.directory import RunDirectory
from tests.chaos import campaign
from tests.chaos.campaign import Result
from tests.chaos.tiny_run import PATHS, compare, flags, reference
from tests.chaos.train_process import Ended, TrainProcess, warm_up


def second_is_refused(run: RunDirectory, path: str, work_dir: Path) -> tuple[list[str], Any]:
    """The second comes while the first trains; the first is not disturbed."""
    first = TrainProcess(flags(path, run), work_dir / "first.out")
    first.wait_until(run.metrics_jsonl.exists)
    second = TrainProcess(flags(path, run), work_dir / "second.out").wait()
    ended = first.wait()
    faults = _refusals([second], first.pid)
    if ended.code != 0:
        faults.append(f"the first: exit code {ended.code}: {ended.err[-500:]}")
    return faults, {"refused with": second.code}


def both_at_the_same_moment(run: RunDirectory, path: str, work_dir: Path) -> tuple[list[str], Any]:
    """Both are started at once: one trains, the other is refused."""
    both = [TrainProcess(flags(path, run), work_dir / f"both-{name}.out") for name in "ab"]
    ended = [each.wait() for each in both]
    trained = [each for each in ended if each.code == 0]
    faults = _refusals([each for each in ended if each.code != 0], None)
    if len(trained) != 1:
        faults.append(f"exit codes {[each.code for each in ended]}")
    return faults, {"exit codes": sorted(each.code for each in ended)}


def stale_lock(run: RunDirectory, path: str, work_dir: Path) -> tuple[list[str], Any]:
    """The first was killed; its lock is there with its number in it, and the second goes on."""
    first = TrainProcess(flags(path, run), work_dir / "killed.out")
    first.wait_until(run.metrics_jsonl.exists)
    first.signal(signal.SIGKILL)
    first.wait()
    note = (run.path / ".lock").read_text()
    faults = [] if f"process {first.pid} " in note else [f"the lock says {note!r}"]
    second = TrainProcess(flags(path, run), work_dir / "recovered.out").wait()
    if second.code != 0:
        faults.append(f"the second: exit code {second.code}: {second.err[-500:]}")
    return faults, {"the lock's note": note}


CASES: dict[str, Callable[[RunDirectory, str, Path], tuple[list[str], Any]]] = {
    "the second is refused": second_is_refused,
    "both at the same moment": both_at_the_same_moment,
    "a stale lock": stale_lock,
}


def try_case(case: tuple[str, str], work_dir: Path) -> Result:
    """One case on one path; whoever held the directory ends as if it had been alone."""
    name, path = case
    folder = work_dir / f"two-{path}-{list(CASES).index(name)}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    run = RunDirectory(folder / "run")
    faults, told = CASES[name](run, path, folder)
    if not faults:
        faults = compare(run, path, work_dir)
    return Result(f"{name}, {path}", faults, told)


def _refusals(ended: list[Ended], holder: int | None) -> list[str]:
    """What is wrong with how processes were refused."""
    faults = []
    for each in ended:
        lines = each.err.strip().splitlines()
        said = f"is in use by process {holder} on " if holder else "is in use by "
        if each.code != 2 or len(lines) != 1 or said not in lines[0]:
            faults.append(f"refused with exit code {each.code}: {each.err[-500:]}")
    return faults


def main() -> int:
    """Tries each case on both paths."""
    options = campaign.arguments(str(__doc__).splitlines()[0]).parse_args()
    work_dir = campaign.working_directory(options)
    warm_up()
    for path in PATHS:
        reference(path, work_dir)
    cases = [(name, path) for path in PATHS for name in CASES]
    each = functools.partial(try_case, work_dir=work_dir)
    return campaign.run_all("two at once", cases, each, options, work_dir)


if __name__ == "__main__":
    sys.exit(main())
