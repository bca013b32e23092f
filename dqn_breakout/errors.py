"""What users are told: the one exception that they can mend, and the words of its sentence."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Returns the name that is spelt most like `name`, or None if none comes near."""
    by_spelling = {each.lower(): each for each in names}
    close = difflib.get_close_matches(name.lower(), by_spelling, n=1)
    return by_spelling[close[0]] if close else None


def shown(value: object) -> str:
    """Returns `value` as Python writes it, in 80 characters or so."""
    try:
        return shortened(repr(value), 80)
    except ValueError:  # Python refuses to print whole numbers of thousands of digits.
        return f"a very long {type(value).__name__}"


def printable(text: str) -> str:
    """Escapes what a terminal would obey or could not show."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def shortened(text: str, limit: int = 400) -> str:
    """`text` without its middle where it is longer: both its ends say something."""
    return text if len(text) <= limit else f"{text[: limit // 2]}...{text[-limit // 2 :]}"


def first_line(error: Exception) -> str:
    """The first line of an error's text, printable, without its full stop."""
    lines = str(error).splitlines()
    return printable(lines[0]).rstrip(".") if lines else type(error).__name__


def said(error: Exception) -> str:
    """What an error says, as a sentence; of one that nobody made into one, what it is too."""
    if isinstance(error, UserError):
        return error.message
    return f"{type(error).__name__}: {shortened(first_line(error))}."


def cause(error: OSError) -> str:
    """What the system says of an error, and of which file."""
    if error.strerror is None:
        return first_line(error)
    return error.strerror + (f": {error.filename}" if error.filename else "")
