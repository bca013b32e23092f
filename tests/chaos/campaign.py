"""What every test of `make chaos` shares: a run to which something is done, many side by side."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dqn_breakout.runs.directory import RunDirectory
from tests.chaos import run_outcome
from tests.chaos.run_outcome import Logs
from tests.chaos.tiny_run import flags, reference
from tests.chaos.train_process import Ended, TrainProcess


class LeftOut(Exception):
    """This machine does not let a test run: it neither holds nor fails."""


class Trial:
    """One run to which something is done, and what is wrong with how it takes that.

    Attributes:
        path: Which of the two ways in which the project trains.
        work_dir: Where the runs lie that were left alone.
        folder: What belongs to this trial alone.
        run: Its run.
        faults: What did not hold, a phrase each; empty where all held.
        told: Numbers and notes for the report.
    """

    def __init__(self, name: str, path: str, work_dir: Path):
        """Makes an empty folder for it."""
        self.path, self.work_dir = path, work_dir
        self.folder = work_dir / re.sub(r"[^A-Za-z0-9]+", "-", f"{name} {path}")
        self.run = RunDirectory(self.folder / "run")
        self.faults: list[str] = []
        self.told: dict[str, Any] = {}
        self._starts = 0
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)

    def start(self, *more: str, **how: Any) -> TrainProcess:
        """`train.py` on the run, with more flags; `how` is for `TrainProcess`."""
        self._starts += 1
        output = self.folder / f"start-{self._starts}"
        return TrainProcess(flags(self.path, self.run.path, *more), output, **how)

    def must(self, holds: bool, fault: str) -> bool:
        """Notes a fault where something does not hold; returns whether it does."""
        if not holds:
            self.faults.append(fault)
        return holds

    def must_end(self, ended: Ended, code: int = 0, said: str = "") -> bool:
        """Notes a fault where a process did not end so, its last line saying that."""
        if "Traceback" in ended.err:
            self.faults.append(f"a stack trace: {ended.err[-400:]}")
        return self.must(
            ended.code == code and said in ended.last,
            f"exit code {ended.code} instead of {code}: {ended.err[-500:]}",
        )

    def must_be_as_left_alone(self, stopped_at: int | None = None, logs: Logs = "same") -> None:
        """Notes as a fault what differs from the run that was left alone."""
        expected = reference(self.path, self.work_dir)
        self.faults += run_outcome.differences(self.run, expected, stopped_at=stopped_at, logs=logs)

    def must_go_on(
        self, *more: str, stopped_at: int | None = None, logs: Logs = "same", **how: Any
    ) -> Ended:
        """Gives the same command again, which must end as the run that was left alone."""
        ended = self.start(*more, **how).wait()
        if self.must_end(ended):
            self.must_be_as_left_alone(stopped_at, logs)
        return ended


@dataclasses.dataclass(frozen=True)
class Case:
    """One thing to do to a run.

    Attributes:
        name: With which it is repeated.
        path: On which of the two paths.
        do: Does it, and notes what is wrong with how the run takes it.
    """

    name: str
    path: str
    do: Callable[[Trial], None]


@dataclasses.dataclass(frozen=True)
class Result:
    """What came of one case: its faults, and numbers and notes for the report."""

    name: str
    path: str
    faults: list[str]
    told: dict[str, Any]


def try_one(case: Case, work_dir: Path) -> Result:
    """Tries a case; whatever it raises is a fault. What a run leaves that held is removed."""
    trial = Trial(case.name, case.path, work_dir)
    try:
        case.do(trial)
    except Exception:  # noqa: BLE001  (the others are tried all the same)
        trial.faults.append(traceback.format_exc())
    if not trial.faults:
        shutil.rmtree(trial.folder)
    return Result(case.name, case.path, trial.faults, trial.told)


def try_all(
    cases: Sequence[Case],
    work_dir: Path,
    jobs: int,
    report: Callable[[Result], None] = lambda result: None,
) -> list[Result]:
    """Tries every case, some at a time; the runs that are left alone come first."""
    for path in {case.path for case in cases}:
        reference(path, work_dir)
    with ThreadPoolExecutor(jobs) as pool:
        results = []
        for result in pool.map(lambda case: try_one(case, work_dir), cases):
            report(result)
            results.append(result)
        return results


def run_test(name: str, cases: Sequence[Case], work_dir: Path, jobs: int, output: Path) -> bool:
    """Tries the cases of a test, says what came of each, and writes that.

    What the cases tell in numbers is summed up, and the largest told.

    Returns:
        Whether all held.
    """
    began = time.monotonic()

    def report(result: Result) -> None:
        told = ", ".join(
            f"{key} {value}" for key, value in result.told.items() if not isinstance(value, list)
        )
        held = "FAILED" if result.faults else "held  "
        print(f"{held} {result.name}, {result.path}: {told}", flush=True)
        for fault in result.faults:
            print(f"       {fault}", flush=True)

    results = try_all(cases, work_dir, jobs, report)
    numbers: dict[str, list[float]] = {}
    for result in results:
        for key, value in result.told.items():
            if isinstance(value, (int, float)):
                numbers.setdefault(key, []).append(value)
    totals = {key: {"sum": sum(each), "most": max(each)} for key, each in numbers.items()}
    failed = sum(bool(result.faults) for result in results)
    seconds = time.monotonic() - began
    print(f"{name}: {len(results) - failed} of {len(results)} held, in {seconds:.0f} s; {totals}")
    content = {
        "name": name,
        "seconds": round(seconds, 1),
        "totals": totals,
        "cases": [dataclasses.asdict(result) for result in results],
    }
    output.write_text(json.dumps(content, indent=2) + "\n")
    if failed:
        print(f"What they left is in {work_dir}", file=sys.stderr)
    return not failed
