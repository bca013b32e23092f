"""The one exception that means "the user can mend this": shown as a sentence, never as a trace."""

from __future__ import annotations


class UserError(Exception):
    """Something that the user gave is wrong.

    The message is one clear sentence or two: what is wrong, and how to mend it. Entry points print
    it on stderr and exit with `EXIT_CODE`.

    Attributes:
        message: The sentence as it was raised. gin appends a trail of configurables to
            `str(error)`; `message` stays clean.
    """

    EXIT_CODE = 2

    def __init__(self, message: str):
        super().__init__(message)
        self.message = message
