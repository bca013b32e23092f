"""What all commands share: how they take their flags, what they say where something is wrong.

A command prints one sentence on stderr and gives exit code 2 where what it was given is wrong or a
file cannot be read or written, 130 where Ctrl-C ended it, 141 where nobody reads what it prints any
more, and 1 after what nobody foresaw: the sentence then names the file that holds the trace. Those
with argparse are decorated:

    @command_line.told
    def main(arguments: Sequence[str] | None = None) -> int: ...

Those with absl's flags end with `command_line.run(main)`.
"""

from __future__ import annotations

import functools
import io
import os
import shlex
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TextIO

from dqn_breakout import errors
from dqn_breakout.errors import UserError

PROJECT: Path = Path(__file__).resolve().parents[1]
"""The folder that holds `train.py` and the Makefile."""

_UNFORESEEN, _INTERRUPTED, _UNREAD = 1, 130, 141
_Arguments = ParamSpec("_Arguments")


def told(command: Callable[_Arguments, int | None]) -> Callable[_Arguments, int]:
    """The command, with what goes wrong in it told as this module says.

    Args:
        command: Returns its exit code, or None for 0.
    """

    @functools.wraps(command)
    def run_command(*arguments: _Arguments.args, **named: _Arguments.kwargs) -> int:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # A path may have letters that a terminal lacks.
                stream.reconfigure(errors="backslashreplace")
        code = UserError.EXIT_CODE
        try:
            done = command(*arguments, **named) or 0
            sys.stdout.flush()
            return done
        except UserError as error:
            sentence = error.message
        except BrokenPipeError:
            silence(sys.stdout)
            return _UNREAD
        except OSError as error:
            sentence = f"A file cannot be read or written: {errors.cause(error)}."
            try:
                sys.stdout.flush()
            except OSError:
                silence(sys.stdout)
        except KeyboardInterrupt:
            return _INTERRUPTED
        except Exception as error:  # noqa: BLE001  (told, and kept)
            sentence, code = _unforeseen(error), _UNFORESEEN
        print(sentence, file=sys.stderr)
        return code

    return run_command


def _unforeseen(error: Exception) -> str:
    """Keeps an error's trace; says what it was, and where the trace is."""
    trace = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="dqn_breakout-", suffix=".txt", delete=False, errors="backslashreplace"
        ) as file:
            file.write(trace)
        kept = f"in {file.name}"
    except OSError:
        print(trace, file=sys.stderr)
        kept = "above"
    what = errors.said(error).rstrip(".")
    return f"Nobody foresaw this: {what}. Its full trace is {kept}: please report it."


def silence(stream: TextIO) -> None:
    """What is printed there from now on, and what is left in its buffer, goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def python(*words: str) -> str:
    """A command of this very Python, to be pasted into the shell that started this process."""
    executable = near(Path(sys.executable))
    command = [executable if os.sep in executable else sys.executable, *words]
    return subprocess.list2cmdline(command) if sys.platform == "win32" else shlex.join(command)


def near(path: Path) -> str:
    """An absolute path as it is shortest where this process stands."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def run(command: Callable[[], int | None]) -> None:
    """Parses absl's flags, runs the command and ends the process.

    A wrong flag is told in a sentence; `--help` gives the help.

    Args:
        command: Looks at `flags.FLAGS`, and returns its exit code, or None for 0.
    """
    # Not above: doctor speaks where no package is installed.
    from absl import app

    @told
    def with_flags(words: list[str]) -> int | None:
        if len(words) > 1:
            raise UserError(f"What is {errors.shown(words[1])}? Options begin with --; see --help.")
        return command()

    app.run(with_flags, flags_parser=parse)


def parse(arguments: list[str]) -> list[str]:
    """Parses flags; returns the arguments that are none, the program's name first."""
    from absl import flags

    try:
        return list(flags.FLAGS(arguments))
    except (flags.Error, ValueError) as error:  # ValueError: what absl lets through, --noflag=1.
        # A value of thousands of digits would stand before what is wrong with it.
        reason = errors.shortened(errors.first_line(error).replace(" ?", "?"))
    except RecursionError:  # absl looks for the nearest flag one letter of the name at a time.
        reason = "There is no flag with a name as long as that"
    print(f"{reason}{'' if reason.endswith('?') else '.'} See --help.", file=sys.stderr)
    sys.exit(UserError.EXIT_CODE)
