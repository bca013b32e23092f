"""How the commands take their flags."""

from __future__ import annotations

import sys

from absl import app


def parse(arguments: list[str]) -> list[str]:
    """Parses flags; for `app.run(flags_parser=...)`.

    A wrong flag ends the process with exit code 1 and a line that says what is wrong; `--help` ends
    it with the help.

    Returns:
        The arguments that are no flags, the program's name first.
    """
    try:
        return app.parse_flags_with_usage(arguments)
    except ValueError as error:  # What absl itself lets through: --noflag=1.
        reason = str(error)
    except RecursionError:  # absl looks for the nearest flag one letter of the name at a time.
        reason = "There is no flag with a name as long as that"
    print(f"FATAL Flags parsing error: {reason}", file=sys.stderr)
    print("Pass --helpshort or --helpfull to see help on flags.", file=sys.stderr)
    sys.exit(1)
