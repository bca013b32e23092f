"""What all benchmarks share: how they take arguments, and how they write and show their results.

A benchmark is a function `main(arguments) -> int` that `run` is given. It parses its arguments with
an `ArgumentParser` from here, checks its `--output` before it measures, and at the end writes
`header(...)` and its numbers with `write` and prints a `table`.
"""

from __future__ import annotations

import argparse
import datetime
import math
import signal
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from dqn_breakout import errors, machine
from dqn_breakout.errors import UserError
from dqn_breakout.runs.files import write_json


class MeasurementError(UserError):
    """A measurement that cannot be had or must not be believed; shown as its sentence."""

    EXIT_CODE = 1


class ArgumentParser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` that takes whole option names only and raises `UserError`."""

    def __init__(self, **arguments: Any):
        """See `argparse.ArgumentParser`."""
        arguments.setdefault("allow_abbrev", False)
        arguments.setdefault("formatter_class", argparse.ArgumentDefaultsHelpFormatter)
        super().__init__(**arguments)

    def error(self, message: str) -> NoReturn:
        """Says what is wrong with the arguments.

        Raises:
            UserError: Always.
        """
        text = errors.printable(message).rstrip(".")
        raise UserError(f"{text[:1].upper()}{text[1:]}; see --help.")


def positive_int(text: str) -> int:
    """Reads a whole number of 1 or more, for `add_argument(type=...)`.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 12 and int(text) > 0):
        raise argparse.ArgumentTypeError(
            f"needs a whole number of 1 or more, but is {errors.shown(text)}"
        )
    return int(text)


def positive_seconds(text: str) -> float:
    """Reads a time above 0 and of a day at most, for `add_argument(type=...)`.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= 86400:
        raise argparse.ArgumentTypeError(
            f"needs seconds above 0 and of 86,400 at most, but is {errors.shown(text)}"
        )
    return seconds


def run(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Runs a benchmark on the process's arguments and ends the process.

    Exit codes: what `main` returns; 2 for a `UserError` and 1 for a `MeasurementError`, shown as
    their sentence; 130 after Ctrl-C. SIGTERM does what Ctrl-C does, so that no child stays.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(error.message, file=sys.stderr)
        sys.exit(error.EXIT_CODE)
    except KeyboardInterrupt:
        print("Stopped; nothing was written.", file=sys.stderr)
        sys.exit(130)


def check_output(path: Path | None) -> None:
    """Refuses a place that the result cannot be written to, before time is spent on measuring.

    Args:
        path: The JSON file; None for none.

    Raises:
        UserError: It is a directory, or its directory is not there or not writable.
    """
    if path is None:
        return
    if path.is_dir():
        raise UserError(f"--output {path} is a directory; give the name of a JSON file.")
    probe = path.with_name(f".{path.name}.writable")
    try:
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"--output {path} cannot be written ({error.strerror}); give a file in a directory "
            "that is there and writable."
        ) from error


def header(benchmark: str, settings: dict[str, Any]) -> dict[str, Any]:
    """What a result came from: date, revision, machine, versions, settings.

    Args:
        benchmark: The benchmark's name.
        settings: All that was chosen, with units in the names.
    """
    return {
        "benchmark": benchmark,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "git_revision": machine.git_revision(),
        "machine": machine.description(),
        "versions": machine.versions(),
        "settings": settings,
    }


def write(path: Path | None, result: dict[str, Any]) -> None:
    """Writes a result as JSON, whole or not at all, and says so.

    Args:
        path: The JSON file; None for none.
        result: `header(...)` and the numbers.

    Raises:
        UserError: The file cannot be written.
    """
    if path is None:
        return
    try:
        write_json(path, result)
    except OSError as error:
        raise UserError(f"--output {path} cannot be written ({error.strerror}).") from error
    print(f"Written: {path}")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Lays out rows under columns: the first column to the left, numbers to the right.

    Args:
        columns: Their headings.
        rows: Cells as they are to be shown; None for an empty one.
    """
    lines = [list(columns)]
    lines += [["" if cell is None else str(cell) for cell in row] for row in rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def median_of_ratios(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median over rounds of ours / theirs within a round.

    A machine's speed drifts from minute to minute; within a round it is nearly the same for all.

    Args:
        ours: One number per round.
        theirs: The other's number of the same round.

    Raises:
        ValueError: There are no rounds, or more of one than of the other.
    """
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
