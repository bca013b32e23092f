"""Stops training with signals at random moments: 10 seconds, and no step lost.

SIGTERM and SIGINT, 20 runs, half of them started as a user starts them. On top of them, runs that
write to a pipe whose reader dies just before the signal, as that of `train.py 2>&1 | tee log` does
with Ctrl-C, and to a terminal that is closed: SIGHUP. A run that was done before its moment came is
begun anew, so that each is really stopped.
"""

from __future__ import annotations

import functools
import random
import re
import shutil
import signal
import time
from pathlib import Path
from typing import Literal

from tests.chaos.campaign import Case, Trial
from tests.chaos.run_outcome import rows, rows_so_far, saved_steps, setting
from tests.chaos.train_process import HANG_UP, Ended

GRACE_SECONDS = 10.0
Through = Literal["pipe", "terminal"] | None
# What the runs write through, if anything, and how many of them there are.
_RUNS: dict[Through, int] = {None: 20, "pipe": 4, "terminal": 2}
# So often is a run begun anew that was done before its moment came.
_MOST_MISSES = 20
_STOPPED = re.compile(r"Stopped by (SIG\w+) at ([\d,]+) environment steps; everything is saved\.")


def cases(work_dir: Path) -> list[Case]:
    """All of them."""
    return [
        Case(
            f"seed {seed}" + (f" through {through}" if through else ""),
            ("fast", "book")[seed % 2],
            functools.partial(stop, seed, through, from_scratch=seed // 4 % 2 == 0),
        )
        for through, count in _RUNS.items()
        for seed in range(1, count + 1)
    ]


def stop(seed: int, through: Through, trial: Trial, *, from_scratch: bool) -> None:
    """A run stopped at moments that the seed chooses until one met it alive, then left alone."""
    number = (signal.SIGTERM, signal.SIGINT)[seed // 2 % 2]
    if through == "terminal":
        number = HANG_UP
    trial.told |= {"signal": number.name, "stops": 1}
    chance = random.Random(f"stop/{through}/{seed}")
    for _ in range(_MOST_MISSES):
        shutil.rmtree(trial.run.path, ignore_errors=True)
        ended, training = _signalled(seed, through, number, chance, trial, from_scratch)
        if ended.code != 0 and "\nDone: " not in ended.err:
            stopped_at = _must_be_saved(ended, number, training, through, trial)
            return _must_go_on(stopped_at, trial)
    trial.must(False, "always done before its moment came")
    return None


def _signalled(
    seed: int,
    through: Through,
    number: signal.Signals,
    chance: random.Random,
    trial: Trial,
    from_scratch: bool,
) -> tuple[Ended, bool]:
    """How a run ended after a signal, and whether it was training when that came."""
    life = trial.start(from_scratch=from_scratch, through=through)
    # One in five at any time, the start included; the others once training goes on.
    if seed % 5 == 0:
        seconds = chance.uniform(0.0, 14.0 if from_scratch or through else 8.0)
        due = time.monotonic() + seconds
        life.wait_until(lambda: time.monotonic() >= due)
        trial.told["when"] = f"{seconds:.2f} s after the start"
    else:
        row = chance.randint(1, 10)
        seconds = chance.uniform(0.0, 0.08)
        life.wait_until(lambda: rows_so_far(trial.run) >= row)
        time.sleep(seconds)
        trial.told["when"] = f"{seconds * 1000:.0f} ms after row {row}"
    training = rows_so_far(trial.run) > 0
    sent = time.monotonic()
    if through is not None:
        life.close_reader()
    if through != "terminal":  # The system sends the signal.
        life.signal(number)
    ended = life.wait()
    trial.told["seconds"] = round(time.monotonic() - sent, 2)
    return ended, training


def _must_be_saved(
    ended: Ended, number: signal.Signals, training: bool, through: Through, trial: Trial
) -> int | None:
    """Notes what is wrong with how a run stopped; at which step it did, if it had begun."""
    seconds = trial.told["seconds"]
    trial.must(seconds <= GRACE_SECONDS, f"it took {seconds:.1f} s to exit")
    saved = saved_steps(trial.run)
    if not training and ended.code == -number:
        return None
    if not trial.must_end(ended, 128 + number) or not (saved or training):
        return None
    # Whether it could be said or not: what was done is in a checkpoint and in a row.
    said = _STOPPED.search(ended.err)
    stopped_at = int(said[2].replace(",", "")) if said is not None else max(saved, default=0)
    trial.told["saved at"] = stopped_at
    trial.must(saved[:1] == [stopped_at], f"the newest checkpoint is not of step {stopped_at}")
    last = rows(trial.run)[-1]["env_steps"]
    trial.must(last == stopped_at, f"the last row is of step {last}, not {stopped_at}")
    if said is None:
        trial.must(through is not None, f"without a word: {ended.err[-500:]}")
    else:
        trial.must(said[1] == number.name, f"after {number.name}: {said[0]}")
    return stopped_at


def _must_go_on(stopped_at: int | None, trial: Trial) -> None:
    ended = trial.must_go_on(stopped_at=stopped_at)
    if stopped_at not in (None, setting(trial.run, "train.total_env_steps")):
        going_on = f", of which {stopped_at:,} are done\n"
        trial.must(going_on in ended.err, f"it did not go on from step {stopped_at}")
