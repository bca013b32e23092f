"""Stops training with signals at random moments: 10 seconds, and no step lost.

python -m tests.chaos.stop              20 runs, half of them started as a user starts them
python -m tests.chaos.stop --seed 4     that one again

SIGTERM and SIGINT. Some runs write to a pipe whose reader dies just before the signal, as that of
`train.py 2>&1 | tee log` does with Ctrl-C; others to a terminal that is closed: SIGHUP.
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

from dqn_breakout import checkpoint_files
from dqn_breakout.run_directory import RunDirectory
from tests.chaos import campaign, run_outcome
from tests.chaos.campaign import Result
from tests.chaos.run_outcome import rows_so_far
from tests.chaos.tiny_run import PATHS, compare, flags, reference
from tests.chaos.train_process import TrainProcess, warm_up

GRACE_SECONDS = 10.0
_STOPPED = re.compile(r"Stopped by (SIG\w+) at ([\d,]+) environment steps; everything is saved\.")


def stop(seed: int, work_dir: Path, fork: bool) -> Result:
    """One run, stopped at a moment that `seed` chooses, then left alone."""
    plain = seed // 4 % 2 == 0 and not fork
    chance = random.Random(f"stop/{seed}")
    path = ("fast", "book")[seed % 2]
    number = (signal.SIGTERM, signal.SIGINT)[seed // 2 % 2]
    through: Literal["pipe", "terminal"] | None = "pipe" if seed % 5 == 0 else None
    if seed % 10 == 7:
        through, number = "terminal", signal.SIGHUP
    run = RunDirectory(work_dir / f"stop-{seed}")
    shutil.rmtree(run.path, ignore_errors=True)
    life = TrainProcess(
        flags(path, run), work_dir / f"stop-{seed}.out", plain=plain, through=through
    )
    # One in four at any time, the start included; the others once training goes on.
    if seed % 4 == 0:
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
    told: dict[str, Any] = {
        "path": path,
        "started": "from scratch" if plain else "as a fork",
        "signal": number.name,
        **({"through": f"a {through} that was closed"} if through is not None else {}),
        "when": told_when,
        "exit code": ended.code,
        "seconds": round(seconds, 2),
    }
    faults = []
    if seconds > GRACE_SECONDS:
        faults.append(f"it took {seconds:.1f} s to exit")
    said = _STOPPED.search(ended.err)
    if said is not None and (said[1], ended.code) != (number.name, 128 + number):
        faults.append(f"exit code {ended.code} after {said[0]!r}")
    stopped = ended.code == 128 + number and training
    if stopped:
        # Whether it could be said or not: what was done is in a checkpoint and in a row.
        saved = [int(each.name) for each in checkpoint_files.checkpoints(run.checkpoints)]
        steps = int(said[2].replace(",", "")) if said is not None else saved[0]
        told["saved at"] = steps
        if saved[:1] != [steps]:
            faults.append(f"the newest checkpoint is not of step {steps}")
        if run_outcome.rows(run)[-1]["env_steps"] != steps:
            faults.append(f"the last row is not of step {steps}")
        if said is None and through is None:
            faults.append(f"exit code {ended.code} without a word: {ended.err[-500:]}")
    elif training and ended.code != 0:
        faults.append(f"exit code {ended.code} in training: {ended.err[-500:]}")
    elif ended.code not in (0, 128 + number, -number):
        faults.append(f"exit code {ended.code} before training: {ended.err[-500:]}")
    if "Traceback" in ended.err:
        faults.append(f"a stack trace: {ended.err[-500:]}")
    again = TrainProcess(flags(path, run), work_dir / f"stop-{seed}-again.out").wait()
    if again.code != 0:
        faults.append(f"started again: exit code {again.code}: {again.err[-500:]}")
    else:
        budget = run_outcome.setting(run, "train.total_env_steps")
        if stopped and steps < budget and f", of which {steps:,} are done\n" not in again.err:
            faults.append(f"it did not go on from step {steps}")
        faults += compare(run, path, work_dir, stopped=True)
    if not faults:
        shutil.rmtree(run.path)
    return Result(f"--seed {seed}", faults, told)


def main() -> int:
    """Runs the campaign that the flags ask for."""
    parser = campaign.arguments(str(__doc__).splitlines()[0])
    parser.add_argument("--runs", type=int, default=20, help="how many, seeds from 1")
    parser.add_argument("--seed", type=int, nargs="+", help="only these seeds")
    parser.add_argument("--fork", action="store_true", help="start none from scratch")
    options = parser.parse_args()
    work_dir = campaign.working_directory(options)
    warm_up()
    for path in PATHS:
        reference(path, work_dir)
    seeds = options.seed or list(range(1, options.runs + 1))
    each = functools.partial(stop, work_dir=work_dir, fork=options.fork)
    return campaign.run_all("stop", seeds, each, options, work_dir)


if __name__ == "__main__":
    sys.exit(main())
