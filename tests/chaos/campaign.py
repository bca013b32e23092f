"""What the tests of `make chaos` share: cases side by side, a line for each, a file of results."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

Case = TypeVar("Case")

# The exit code of a campaign that this machine does not let run: it neither held nor failed.
LEFT_OUT = 77


@dataclasses.dataclass(frozen=True)
class Result:
    """What came of one case.

    Attributes:
        name: The case, so that it can be repeated.
        faults: What did not hold, a phrase each; empty where all held.
        told: Numbers and notes for the report.
    """

    name: str
    faults: list[str]
    told: dict[str, Any] = dataclasses.field(default_factory=dict)


def arguments(description: str) -> argparse.ArgumentParser:
    """A parser with the options that every campaign has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="cases at a time")
    parser.add_argument("--work_dir", type=Path, help="keep the run directories here")
    parser.add_argument("--output", type=Path, help="write the results here, as JSON")
    return parser


def working_directory(options: argparse.Namespace) -> Path:
    """Where run directories go; a temporary folder where the user names none."""
    if options.work_dir is not None:
        options.work_dir.mkdir(parents=True, exist_ok=True)
        return Path(options.work_dir)
    return Path(tempfile.mkdtemp(prefix="chaos-"))


def _tried(try_one: Callable[[Case], Result], case: Case) -> Result:
    try:
        return try_one(case)
    except Exception:  # noqa: BLE001  (whatever it is, it is told)
        return Result(str(case), [traceback.format_exc()])


def run_all(
    name: str,
    cases: Sequence[Case],
    try_one: Callable[[Case], Result],
    options: argparse.Namespace,
    work_dir: Path,
    *,
    counted: str | None = None,
    longest: str | None = None,
) -> int:
    """Tries every case, says what came of it, and writes the results.

    Processes are forked for the cases before there is any thread; `try_one` may fork in its turn.
    What it raises is a fault of its case, and the others are tried all the same. `counted` is the
    name of a number in what the cases tell; the sum of it is said at the end. `longest` is that of
    a duration; the longest is said.

    Returns:
        The exit code: 0 where all held, 1 where something did not.
    """
    started = time.monotonic()
    results = []
    jobs = max(1, min(options.jobs, len(cases)))
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        for result in pool.map(functools.partial(_tried, try_one), cases):
            results.append(result)
            told = ", ".join(f"{key} {value}" for key, value in result.told.items())
            print(f"{'FAILED' if result.faults else 'held  '} {result.name}: {told}", flush=True)
            for fault in result.faults:
                print(f"       {fault}", flush=True)
    failed = sum(bool(result.faults) for result in results)
    seconds = time.monotonic() - started
    totals = {}
    told = ""
    if counted is not None:
        totals[counted] = sum(result.told.get(counted, 0) for result in results)
        told += f", {totals[counted]} {counted} in all"
    if longest is not None:
        most = max((result.told.get(longest, 0.0) for result in results), default=0.0)
        totals[f"longest {longest}"] = most
        told += f", {most:.2f} {longest} at the longest"
    held = f"{len(results) - failed} of {len(results)} held"
    print(f"{name}: {held}{told}, in {seconds:.0f} s", flush=True)
    _write(
        options,
        {
            "name": name,
            "seconds": round(seconds, 1),
            **totals,
            "cases": [dataclasses.asdict(result) for result in results],
        },
    )
    if failed:
        print(f"What they left is in {work_dir}", file=sys.stderr)
    elif options.work_dir is None:
        shutil.rmtree(work_dir)
    return 1 if failed else 0


def left_out(name: str, why: str, options: argparse.Namespace) -> int:
    """Says, and writes as the result, why nothing was tried; returns the exit code for that."""
    print(f"{name} left out: {why}", flush=True)
    _write(options, {"name": name, "left_out": why})
    return LEFT_OUT


def _write(options: argparse.Namespace, content: dict[str, Any]) -> None:
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(content, indent=2) + "\n")
