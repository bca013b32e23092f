"""gin text: reads it into statements, and says in plain words where it is not gin.

It owns what a text in gin's language may be: how large a file, how deep a value, which values. It
knows nothing of what is registered: names stay as written, and nothing is bound or looked up.
"""

from __future__ import annotations

import dataclasses
import math
import pprint
import re
import sys
import tokenize
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gin import config_parser

from dqn_breakout import errors
from dqn_breakout.errors import UserError

# Far above any sane configuration, far below what exhausts memory or Python's stack.
_LARGEST_FILE_BYTES = 1_000_000
_DEEPEST_NESTING = 20

_TOO_LARGE = "a whole number does not fit into 64 bits"

_INCLUDE_FORM = "include needs the name of a file in quotes"

# gin's parser's words -> plainer ones.
_PLAIN_WORDS = {
    "Couldn't parse statement, expected ':' or '='.": "'=' was expected after the name",
    "Expected file path as string.": _INCLUDE_FORM,
    "Expected indentation.": "the block has no indented lines",
    "Expected newline.": "something follows where the line should end",
    "Malformatted scope or selector.": "a name is malformed",
    "Unable to parse value.": "a value is missing or malformed",
    "malformed node or string": "a value is missing or malformed",
    "Unexpected token.": "a name is missing",
}


def read_text(path: Path) -> str:
    """Reads a gin file; line ends become line feeds.

    Raises:
        UserError: It cannot be read, is not UTF-8 text, or is far too large.
    """
    name = errors.shown(str(path))
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise UserError(f"Cannot read the gin file {name}: {error.strerror}.") from error
    if len(content) > _LARGEST_FILE_BYTES:
        raise UserError(f"{name} is no gin file: it holds over {_LARGEST_FILE_BYTES:,} bytes.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{name} is no gin file: byte {error.start} is not UTF-8 text; save it as UTF-8."
        ) from error
    if "\0" in text:
        raise UserError(f"{name} is no gin file: it holds binary data (a zero byte).")
    return text.replace("\r\n", "\n").replace("\r", "\n")


@dataclasses.dataclass(frozen=True, repr=False)
class Reference:
    """`@scope/name`, `@scope/name()` or `%scope/name` as written, before anything is looked up."""

    name: str
    kind: str  # One of "@", "@()" and "%".

    def __repr__(self) -> str:
        return f"{self.kind[0]}{self.name}{self.kind[1:]}"


class _AsWritten:
    """What gin's parser builds references with: they are kept as text, nothing is looked up."""

    def configurable_reference(self, name: str, evaluate: bool) -> Reference:
        return Reference(name, "@()" if evaluate else "@")

    def macro(self, name: str) -> Reference:
        return Reference(name, "%")


@dataclasses.dataclass(frozen=True)
class Source:
    """A text in gin's language, and what messages call it."""

    text: str
    name: str | None  # None: a single binding, which its own text names.

    def place(self, line: int) -> str:
        """Returns what a message calls a line, counted from 1."""
        return f"{self.name} line {line}" if self.name else f"Binding {errors.shown(self.text)}"

    def statements(self) -> Iterator[Any]:
        """Yields gin's statements, with references as `Reference`.

        Raises:
            UserError: The text is not gin, or holds a value that no configuration can hold.
        """
        parser = None
        while True:
            line = parser.current_token.start[0] if parser else 1
            try:
                with warnings.catch_warnings():
                    # Python warns of '\d' in a string and keeps it; a configuration must not guess.
                    warnings.simplefilter("error", SyntaxWarning)
                    warnings.simplefilter("error", DeprecationWarning)
                    if parser is None:
                        parser = config_parser.ConfigParser(self.text, _AsWritten())
                    statement = parser.parse_statement()
            except Exception as error:  # gin's parser documents none, and raises many.
                raise UserError(self._syntax_message(error, line)) from error
            if statement is None:
                return
            if isinstance(statement, config_parser.BindingStatement):
                problem = _problem(statement.value)
                if problem:
                    raise UserError(f"{self.place(statement.location.line_num)}: {problem}")
            yield statement

    def _syntax_message(self, error: Exception, line: int) -> str:
        """Says what is wrong in the statement that starts at `line` or below it."""
        lines = self.text.split("\n")
        while line < len(lines) and re.match(r"\s*(#|$)", lines[line - 1]):
            line += 1
        found = error.lineno if isinstance(error, SyntaxError) and error.lineno else line
        if found <= len(lines) and lines[found - 1].strip():
            line = found
        text = lines[line - 1].strip() if line <= len(lines) else ""
        where = f", in {errors.shown(text)}" if self.name and text else ""
        unquoted = re.match(r"include\s+\w", text)
        detail = _INCLUDE_FORM if unquoted else _syntax_detail(error)
        return f"{self.place(line)} is not valid gin: {detail}{where}."


def _syntax_detail(error: Exception) -> str:
    """Says in plain words what gin's parser or Python's tokenizer found wrong."""
    message = str(error.msg if isinstance(error, SyntaxError) else error)
    if isinstance(error, tokenize.TokenError):
        message = str(error.args[0])
        if "string" in message:
            return "a string that is opened here is never closed"
        if "EOF in multi-line statement" in message:
            return "a bracket that is opened here is never closed"
    if isinstance(error, RecursionError) or message.startswith("too many nested"):
        return "its brackets are nested too deeply"
    if isinstance(error, TypeError):
        return "the key of a dictionary must be a number or text"
    if message.startswith("Exceeds the limit"):
        return _TOO_LARGE
    word = re.search(r"Failed to parse token '-?([^\W\d]\w*)'$", message)
    if word:
        literals = {"true": "True", "false": "False", "none": "None", "null": "None"}
        meant = literals.get(word[1].lower())
        if meant:
            return f"{errors.shown(word[1])} is not a value; write {meant}"
        return (
            f"{errors.shown(word[1])} is not a value; put text in quotes, and write % before a "
            "macro and @ before a configurable"
        )
    message = re.sub(r"(\n +Failed to parse token|  Got ).*", "", message, flags=re.DOTALL)
    message = re.sub(r" \(<\w+>, line \d+\)| on line \d+: <.*>", "", message)
    plain = errors.printable(" ".join(message.split()).rstrip("."))
    plain = _PLAIN_WORDS.get(message, plain[:1].lower() + plain[1:])
    return plain or type(error).__name__


def _problem(value: Any, depth: int = 0) -> str | None:
    """Says why gin could not write `value` back to a configuration; None where it could.

    gin leaves such values out of the operative configuration without a word (infinity, complex
    numbers), or fails there (integers that Python refuses to print).
    """
    if depth > _DEEPEST_NESTING:
        return f"a value is nested deeper than {_DEEPEST_NESTING} levels."
    if isinstance(value, complex) or (isinstance(value, float) and not math.isfinite(value)):
        return f"{value} is not a number that a configuration can hold."
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return f"{_TOO_LARGE}."
    for item in items(value):
        problem = _problem(item, depth + 1)
        if problem:
            return problem
    return None


def items(value: Any) -> Iterator[Any]:
    """Yields what a container holds, keys and values alike; nothing for any other value."""
    if isinstance(value, Mapping):
        yield from value.keys()
        yield from value.values()
    elif isinstance(value, (list, tuple)):
        yield from value


def one_spelling(value: Any) -> str:
    """Returns a value's text on one line, with dictionaries sorted."""
    return pprint.pformat(value, width=sys.maxsize)
