"""Stops training with SIGTERM and SIGINT at random moments: 10 seconds, and no step lost.

python -m tests.chaos.stop              20 runs, half of them started as a user starts them
python -m tests.chaos.stop --seed 4     that one again
"""

from __future__ import annotations

import functools
import random
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dqn_breakout import checkpoint_files
from dqn_breakout.run_directory import RunDirectory
from tests.chaos import campaign, run_outcome
from tests.chaos.campaign import Result
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
    run = RunDirectory(work_dir / f"stop-{seed}")
    shutil.rmtree(run.path, ignore_errors=True)
    life = TrainProcess(flags(path, run), work_dir / f"stop-{seed}.out", plain=plain)
    # One in four at any time, the start included; the others once training goes on.
    if seed % 4 == 0:
        when = chance.uniform(0.0, 14.0 if plain else 8.0)
        due = time.monotonic() + when
        _wait(life, lambda: time.monotonic() >= due)
        told_when = f"{when:.2f} s after the start"
    else:
        row = chance.randint(1, 10)
        delay = chance.uniform(0.0, 0.08)
        _wait(life, lambda: _lines(run) >= row)
        time.sleep(delay)
        told_when = f"{delay * 1000:.0f} ms after row {row}"
    sent = time.monotonic()
    training = _lines(run) > 0
    life.signal(number)
    ended = life.wait()
    seconds = time.monotonic() - sent
    told: dict[str, Any] = {
        "path": path,
        "started": "from scratch" if plain else "as a fork",
        "signal": number.name,
        "when": told_when,
        "exit code": ended.code,
        "seconds": round(seconds, 2),
    }
    faults = []
    if seconds > GRACE_SECONDS:
        faults.append(f"it took {seconds:.1f} s to exit")
    said = _STOPPED.search(ended.err)
    if said is not None:
        saved = checkpoint_files.checkpoints(run.checkpoints)
        steps = int(said[2].replace(",", ""))
        told["saved at"] = steps
        if (said[1], ended.code) != (number.name, 128 + number):
            faults.append(f"exit code {ended.code} after {said[0]!r}")
        if not saved or int(saved[0].name) != steps:
            faults.append(f"the newest checkpoint is not of step {steps}")
        if run_outcome.rows(run)[-1]["env_steps"] != steps:
            faults.append(f"the last row is not of step {steps}")
    elif training and ended.code != 0:
        faults.append(f"exit code {ended.code} without a word: {ended.err[-500:]}")
    elif ended.code not in (0, 128 + number, -number):
        faults.append(f"exit code {ended.code} before training: {ended.err[-500:]}")
    if "Traceback" in ended.err:
        faults.append(f"a stack trace: {ended.err[-500:]}")
    again = TrainProcess(flags(path, run), work_dir / f"stop-{seed}-again.out").wait()
    if again.code != 0:
        faults.append(f"started again: exit code {again.code}: {again.err[-500:]}")
    else:
        if said is not None and f", of which {said[2]} are done\n" not in again.err:
            faults.append(f"it did not go on from step {said[2]}")
        faults += compare(run, path, work_dir, stopped=True)
    if not faults:
        shutil.rmtree(run.path)
    return Result(f"--seed {seed}", faults, told)


def _wait(life: TrainProcess, due: Callable[[], bool]) -> None:
    while life.running() and not due():
        time.sleep(0.001)


def _lines(run: RunDirectory) -> int:
    try:
        return run.metrics_jsonl.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


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
