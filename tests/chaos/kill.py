"""Kills training at random moments, again and again, and compares how it ends: to the last bit.

python -m tests.chaos.kill                  50 chains of kills, on both paths
python -m tests.chaos.kill --seed 17        that one again
python -m tests.chaos.kill --operations     killed once before file operations of each kind
python -m tests.chaos.kill --every          killed once before every file operation
"""

from __future__ import annotations

import functools
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dqn_breakout.runs import checkpoint_files
from dqn_breakout.runs.directory import RunDirectory
from tests.chaos import campaign, file_operations
from tests.chaos.campaign import Result
from tests.chaos.run_outcome import rows_so_far
from tests.chaos.tiny_run import (
    PATHS,
    compare,
    flags,
    operations,
    reference,
    weights,
)
from tests.chaos.train_process import TrainProcess, warm_up

_MOST_KILLS = 4
# About as many seconds does a tiny run take, once TensorFlow is imported.
_SECONDS = 7.0
# So often is a chain begun anew that was done before it was killed at all.
_MOST_MISSES = 20


# --- When a process dies --------------------------------------------------------------------------


def at_a_time(life: TrainProcess, run: RunDirectory, chance: random.Random) -> str:
    """At any time at all, the start included."""
    seconds = chance.uniform(0.0, _SECONDS)
    due = time.monotonic() + seconds
    _kill_when(life, lambda: time.monotonic() >= due)
    return f"after {seconds:.2f} s"


def in_a_checkpoint(life: TrainProcess, run: RunDirectory, chance: random.Random) -> str:
    """As soon as a temporary name appears in the checkpoints, or a moment later."""
    before = {path.name for path in checkpoint_files.checkpoints(run.checkpoints)}
    written = chance.randint(0, 2)
    moment = chance.choice((0.0, chance.uniform(0.0, 0.02)))

    def half_written() -> bool:
        try:
            names = {path.name for path in run.checkpoints.iterdir()}
        except FileNotFoundError:
            return False
        new = {name for name in names if name.isdigit()} - before
        return len(new) >= written and any(name.endswith(".tmp") for name in names)

    _kill_when(life, half_written, moment)
    return f"{moment * 1000:.1f} ms into checkpoint {written + 1}"


def at_a_row(life: TrainProcess, run: RunDirectory, chance: random.Random) -> str:
    """Some time after some row was logged: between checkpoints, mostly."""
    more = chance.randint(1, 8)
    moment = chance.uniform(0.0, 0.1)
    rows = rows_so_far(run)
    _kill_when(life, lambda: rows_so_far(run) >= rows + more, moment)
    return f"{moment * 1000:.0f} ms after row {more}"


def _kill_when(life: TrainProcess, due: Callable[[], bool], moment: float = 0.0) -> None:
    life.wait_until(due)
    time.sleep(moment)
    life.signal(signal.SIGKILL)


# --- Chains ---------------------------------------------------------------------------------------


def chain(seed: int, work_dir: Path, plain: bool) -> Result:
    """One run, killed one to four times at moments that `seed` chooses, then left alone.

    The chain ends with a process that was done before its moment came; if none was killed until
    then, it begins anew, with the next moments of the same seed.
    """
    chance = random.Random(seed)
    path = ("fast", "book")[seed % 2]
    run = RunDirectory(work_dir / f"kill-{seed}")
    shutil.rmtree(run.path, ignore_errors=True)
    wanted = chance.randint(1, _MOST_KILLS)
    kills: list[str] = []
    for place in range(wanted + _MOST_MISSES):
        output = work_dir / f"kill-{seed}-{place}.out"
        how = chance.choice((at_a_time, in_a_checkpoint, at_a_row, None))
        if how is None and not plain:
            operation = chance.randint(1, len(operations(path, work_dir)))
            die = file_operations.killed_at(run.path, operation)
            life = TrainProcess(flags(path, run), output, prepare=die)
            when = f"before operation {operation}"
        else:
            life = TrainProcess(flags(path, run), output, plain=plain)
            when = (how or at_a_time)(life, run, chance)
        ended = life.wait()
        if ended.code == -signal.SIGKILL:
            kills.append(when)
        elif ended.code != 0:
            return Result(f"--seed {seed}", [f"exit code {ended.code}: {ended.err[-500:]}"])
        if not kills:
            shutil.rmtree(run.path)
        elif ended.code == 0 or len(kills) == wanted:
            return _went_on(f"--seed {seed}", path, run, work_dir, kills, plain)
    return Result(f"--seed {seed}", [f"done {place + 1} times before its moment came"])


def before_operation(case: tuple[str, int], work_dir: Path) -> Result:
    """One run, killed before a file operation of its path, then left alone."""
    path, number = case
    operation = operations(path, work_dir)[number - 1]
    name = f"--path {path} --operation {number}"
    run = RunDirectory(work_dir / f"operation-{path}-{number}")
    shutil.rmtree(run.path, ignore_errors=True)
    ended = TrainProcess(
        flags(path, run),
        work_dir / f"{run.path.name}.out",
        prepare=file_operations.killed_at(run.path, operation),
    ).wait()
    if ended.code != -signal.SIGKILL:
        return Result(name, [f"exit code {ended.code}: {ended.err[-500:]}"])
    killed = f"before {operation.kind} {operation.name}"
    return _went_on(name, path, run, work_dir, [killed], False)


def _went_on(
    name: str, path: str, run: RunDirectory, work_dir: Path, kills: list[str], plain: bool
) -> Result:
    """The last start of a chain, and how its end compares with that of the run left alone."""
    faults = []
    ended = TrainProcess(flags(path, run), work_dir / f"{run.path.name}.out", plain=plain).wait()
    told: dict[str, Any] = {"path": path, "kills": len(kills), "killed": "; ".join(kills)}
    if ended.code != 0:
        return Result(name, [f"exit code {ended.code}: {ended.err[-500:]}"], told)
    if "Damaged checkpoint" in ended.err:
        faults.append(next(line for line in ended.err.splitlines() if "Damaged" in line))
    faults += compare(run, path, work_dir)
    told["weights"] = weights(run)[:12]
    if not faults:
        shutil.rmtree(run.path)
    return Result(name, faults, told)


def main() -> int:
    """Runs the campaign that the flags ask for."""
    parser = campaign.arguments(str(__doc__).splitlines()[0])
    parser.add_argument("--runs", type=int, default=50, help="how many chains, seeds from 1")
    parser.add_argument("--seed", type=int, nargs="+", help="only the chains of these seeds")
    parser.add_argument("--operations", action="store_true", help="before those of each kind")
    parser.add_argument("--every", action="store_true", help="before each file operation")
    parser.add_argument("--operation", type=int, nargs="+", help="only before these")
    parser.add_argument("--path", choices=PATHS, help="operations of this path only")
    parser.add_argument("--plain", action="store_true", help="start each process from scratch")
    options = parser.parse_args()
    work_dir = campaign.working_directory(options)
    warm_up()
    for path in PATHS:
        reference(path, work_dir)
    if options.operations or options.every or options.operation:
        cases = []
        for place, path in enumerate(PATHS):
            known = operations(path, work_dir)
            numbers = list(range(1, len(known) + 1))
            if not options.every:
                numbers = file_operations.of_each_kind(known, file_operations.KINDS)
            # Half of them on each path, unless one path is asked for.
            if options.path in (None, path):
                numbers = numbers if options.path else numbers[place :: len(PATHS)]
                cases += [(path, number) for number in options.operation or numbers]
        one = functools.partial(before_operation, work_dir=work_dir)
        name = "kill before operations"
        return campaign.run_all(name, cases, one, options, work_dir, counted="kills")
    seeds = options.seed or list(range(1, options.runs + 1))
    each = functools.partial(chain, work_dir=work_dir, plain=options.plain)
    return campaign.run_all("kill", seeds, each, options, work_dir, counted="kills")


if __name__ == "__main__":
    sys.exit(main())
