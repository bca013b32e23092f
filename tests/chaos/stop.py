"""Stops training with signals at random moments: 10 seconds, and no step lost.

python -m tests.chaos.stop                              all; half are started as a user starts them
python -m tests.chaos.stop --seed 4                     that one again
python -m tests.chaos.stop --seed 2 --through terminal  that one of the terminals again

SIGTERM and SIGINT, 20 runs. On top of them, runs that write to a pipe whose reader dies just before
the signal, as that of `train.py 2>&1 | tee log` does with Ctrl-C, and to a terminal that is closed:
SIGHUP. A run that was done before its moment came is begun anew, so that each is really stopped.
"""

from __future__ import annotations

import functools
import random
import re
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any, Literal

from dqn_breakout.runs import checkpoint_files
from dqn_breakout.runs.directory import RunDirectory
from tests.chaos import campaign, run_outcome
from tests.chaos.campaign import Result
from tests.chaos.run_outcome import rows_so_far
from tests.chaos.tiny_run import PATHS, compare, flags, reference
from tests.chaos.train_process import TrainProcess, warm_up

Through = Literal["pipe", "terminal"]
# What the run writes through, if anything, and the seed.
Case = tuple[Through | None, int]

GRACE_SECONDS = 10.0
# So many runs there are beside those that write to a file.
_ON_TOP: dict[Through, int] = {"pipe": 4, "terminal": 2}
# So often is a run begun anew that was done before its moment came.
_MOST_MISSES = 20
_STOPPED = re.compile(r"Stopped by (SIG\w+) at ([\d,]+) environment steps; everything is saved\.")


def stop(case: Case, work_dir: Path, fork: bool) -> Result:
    """One run, stopped at moments that the seed chooses until one met it alive, then left alone."""
    through, seed = case
    name = f"--seed {seed}" + (f" --through {through}" if through is not None else "")
    chance = random.Random(f"stop/{through}/{seed}")
    for _ in range(_MOST_MISSES):
        result = _stop_once(case, name, chance, work_dir, fork)
        if result is not None:
            return result
    return Result(name, [f"done {_MOST_MISSES} times before its moment came"])


def _stop_once(
    case: Case, name: str, chance: random.Random, work_dir: Path, fork: bool
) -> Result | None:
    """As `stop`, at one moment; None if the run was done by then."""
    through, seed = case
    path = ("fast", "book")[seed % 2]
    number = (signal.SIGTERM, signal.SIGINT)[seed // 2 % 2]
    plain = seed // 4 % 2 == 0 and not fork
    if through == "terminal":
        number = signal.SIGHUP
    run = RunDirectory(work_dir / f"stop-{through}-{seed}")
    shutil.rmtree(run.path, ignore_errors=True)
    output = run.path.with_suffix(".out")
    life = TrainProcess(flags(path, run), output, plain=plain, through=through)
    # One in five at any time, the start included; the others once training goes on.
    if seed % 5 == 0:
        when = chance.uniform(0.0, 14.0 if plain else 8.0)
        due = time.monotonic() + when
        life.wait_until(lambda: time.monotonic() >= due)
        told_when = f"{when:.2f} s after the start"
    else:
        row = chance.randint(1, 10)
        delay = chance.uniform(0.0, 0.08)
        life.wait_until(lambda: rows_so_far(run) >= row)
        time.sleep(delay)
        told_when = f"{delay * 1000:.0f} ms after row {row}"
    sent = time.monotonic()
    training = rows_so_far(run) > 0
    if through is not None:
        life.close_reader()
    if through != "terminal":  # The system sends the signal.
        life.signal(number)
    ended = life.wait()
    seconds = time.monotonic() - sent
    if ended.code == 0 or "\nDone: " in ended.err:
        return None
    told: dict[str, Any] = {
        "path": path,
        "started": "from scratch" if plain else "as a fork",
        "signal": number.name,
        **({"through": f"a {through} that was closed"} if through is not None else {}),
        "when": told_when,
        "exit code": ended.code,
        "seconds": round(seconds, 2),
        "stops": 1,
    }
    faults = []
    if seconds > GRACE_SECONDS:
        faults.append(f"it took {seconds:.1f} s to exit")
    said = _STOPPED.search(ended.err)
    if said is not None and (said[1], ended.code) != (number.name, 128 + number):
        faults.append(f"exit code {ended.code} after {said[0]!r}")
    # Whether it could be said or not: what was done is in a checkpoint and in a row.
    saved = [int(each.name) for each in checkpoint_files.checkpoints(run.checkpoints)]
    stopped_at = None
    if ended.code == 128 + number and (saved or training):
        stopped_at = int(said[2].replace(",", "")) if said is not None else max(saved, default=0)
        told["saved at"] = stopped_at
        if saved[:1] != [stopped_at]:
            faults.append(f"the newest checkpoint is not of step {stopped_at}")
        if run_outcome.rows(run)[-1]["env_steps"] != stopped_at:
            faults.append(f"the last row is not of step {stopped_at}")
        if said is None and through is None:
            faults.append(f"exit code {ended.code} without a word: {ended.err[-500:]}")
    elif training:
        faults.append(f"exit code {ended.code} in training: {ended.err[-500:]}")
    elif ended.code not in (128 + number, -number):
        faults.append(f"exit code {ended.code} before training: {ended.err[-500:]}")
    if "Traceback" in ended.err:
        faults.append(f"a stack trace: {ended.err[-500:]}")
    again = TrainProcess(flags(path, run), run.path.with_suffix(".again")).wait()
    if again.code != 0:
        faults.append(f"started again: exit code {again.code}: {again.err[-500:]}")
    else:
        budget = run_outcome.setting(run, "train.total_env_steps")
        going_on = f", of which {stopped_at:,} are done\n" if stopped_at is not None else ""
        if stopped_at != budget and going_on not in again.err:
            faults.append(f"it did not go on from step {stopped_at}")
        faults += compare(run, path, work_dir, stopped_at=stopped_at)
    if not faults:
        shutil.rmtree(run.path)
    return Result(name, faults, told)


def main() -> int:
    """Runs the campaign that the flags ask for."""
    parser = campaign.arguments(str(__doc__).splitlines()[0])
    parser.add_argument("--runs", type=int, default=20, help="how many, seeds from 1")
    parser.add_argument("--seed", type=int, nargs="+", help="only these seeds")
    parser.add_argument("--through", choices=_ON_TOP, help="with these seeds, through one of those")
    parser.add_argument("--fork", action="store_true", help="start none from scratch")
    options = parser.parse_args()
    work_dir = campaign.working_directory(options)
    warm_up()
    for path in PATHS:
        reference(path, work_dir)
    cases: list[Case] = [(None, seed) for seed in range(1, options.runs + 1)]
    cases += [(through, seed) for through, most in _ON_TOP.items() for seed in range(1, most + 1)]
    if options.seed:
        cases = [(options.through, seed) for seed in options.seed]
    each = functools.partial(stop, work_dir=work_dir, fork=options.fork)
    return campaign.run_all(
        "stop", cases, each, options, work_dir, counted="stops", longest="seconds"
    )


if __name__ == "__main__":
    sys.exit(main())
