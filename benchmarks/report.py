"""What all benchmarks share: their options, and how they write and show results.

A benchmark makes a `parser`, a function that measures and one that shows; `run` does the rest.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from rich import box
from rich.console import Console
from rich.table import Table

from dqn_breakout import machine
from dqn_breakout.errors import UserError


def parser(name: str, doc: str | None, **defaults: Any) -> argparse.ArgumentParser:
    """A parser with the options that benchmarks have.

    Args:
        name: The benchmark's.
        doc: The docstring of its module.
        defaults: Of --rounds and --seconds, which there are only then; and constants, which cannot
            be chosen but belong to a result's settings.
    """
    made = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=(doc or "").partition("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("--gin_file", action="append", help="as of train.py (breakout.gin)")
    made.add_argument("--gin_bindings", action="append", default=[], help="as of train.py")
    made.add_argument("--output", type=_json_file, help="a JSON file for all numbers")
    if "rounds" in defaults:
        made.add_argument("--rounds", type=positive_int, help="of each contestant")
    if "seconds" in defaults:
        made.add_argument("--seconds", type=_positive_seconds, help="timed, of a round")
    made.set_defaults(**defaults)
    return made


def positive_int(text: str) -> int:
    """Reads a whole number of 1 or more, for `add_argument(type=...)`."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _positive_seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 86400:
        raise ValueError
    return seconds


def _json_file(text: str) -> Path:
    path = Path(text)
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(
            f"needs a file in a directory that is there and writable, but is {text}"
        )
    return path


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """All that was chosen and all constants, for a result and for contestants."""
    return {name: value for name, value in vars(options).items() if name != "output"}


def run(
    made: argparse.ArgumentParser,
    measure: Callable[[argparse.Namespace], dict[str, Any]],
    show: Callable[[dict[str, Any]], None],
) -> NoReturn:
    """Runs a benchmark on the process's arguments and ends the process.

    The result holds what it came from (date, revision, machine, versions, settings) and what was
    measured. Exit codes: 0; 2 for wrong arguments and for a `UserError`, shown as its sentence; 130
    after Ctrl-C. SIGTERM does what Ctrl-C does, so that no child stays.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options = made.parse_args()
    options.gin_file = options.gin_file or ["breakout.gin"]
    result = {
        "benchmark": made.prog.rpartition(".")[2],
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "git_revision": machine.git_revision(),
        "machine": machine.description(),
        "versions": machine.versions(),
    }
    try:
        measured = measure(options)
    except UserError as error:
        print(error.message, file=sys.stderr)
        sys.exit(error.EXIT_CODE)
    except KeyboardInterrupt:
        print("Stopped; nothing was written.", file=sys.stderr)
        sys.exit(130)
    result |= {"settings": settings(options), **measured}
    show(result)
    if options.output:
        options.output.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n")
        print(f"Written: {options.output}")
    sys.exit(0)


def table(rows: Sequence[dict[str, Any]]) -> None:
    """Prints rows under their keys: the first column to the left, numbers to the right."""
    shown = Table(box=box.SIMPLE, pad_edge=False)
    for place, name in enumerate(rows[0]):
        shown.add_column(name, justify="right" if place else "left")
    for row in rows:
        shown.add_row(*map(_cell, row.values()))
    Console(width=150).print(shown)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if 100 <= abs(value) < 1e6 else f"{value:.3g}"
    return "" if value is None else str(value)


def tell(sentence: str) -> None:
    """Says how far a benchmark is, on standard error."""
    print(sentence, file=sys.stderr, flush=True)
