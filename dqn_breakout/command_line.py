"""How the commands take their flags."""

from __future__ import annotations

import sys

from absl import flags

from dqn_breakout import errors
from dqn_breakout.errors import UserError


def parse(arguments: list[str]) -> list[str]:
    """Parses flags; for `app.run(flags_parser=...)`.

    A wrong flag ends the process with a sentence that says what is wrong and exit code 2; `--help`
    ends it with the help.

    Returns:
        The arguments that are no flags, the program's name first.
    """
    try:
        return list(flags.FLAGS(arguments))
    except (flags.Error, ValueError) as error:  # ValueError: what absl lets through, --noflag=1.
        reason = errors.first_line(error).replace(" ?", "?")
        # A value of thousands of digits would stand before what is wrong with it.
        reason = errors.shortened(reason)
    except RecursionError:  # absl looks for the nearest flag one letter of the name at a time.
        reason = "There is no flag with a name as long as that"
    print(f"{reason}{'' if reason.endswith('?') else '.'} See --help.", file=sys.stderr)
    sys.exit(UserError.EXIT_CODE)
