"""What all commands share: how they take their flags, and what they say where something is wrong.

A command prints one sentence on stderr and gives exit code 2 where what it was given is wrong or a
file cannot be read or written, and 130 where Ctrl-C ended it. Those with argparse are decorated:

    @command_line.told
    def main(arguments: Sequence[str] | None = None) -> int: ...

Those with absl's flags end with `command_line.run(main)`.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec

from dqn_breakout import errors
from dqn_breakout.errors import UserError

_INTERRUPTED = 130
_Arguments = ParamSpec("_Arguments")


def told(command: Callable[_Arguments, int | None]) -> Callable[_Arguments, int]:
    """The command, with what goes wrong in it told as this module says.

    Args:
        command: Returns its exit code, or None for 0.
    """

    @functools.wraps(command)
    def run_command(*arguments: _Arguments.args, **named: _Arguments.kwargs) -> int:
        try:
            return command(*arguments, **named) or 0
        except UserError as error:
            sentence = error.message
        except OSError as error:
            sentence = f"A file cannot be read or written: {errors.cause(error)}."
        except KeyboardInterrupt:
            return _INTERRUPTED
        print(sentence, file=sys.stderr)
        return UserError.EXIT_CODE

    return run_command


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
