"""The words with which builders refuse a value: what was given, and what is allowed."""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Callable, Collection
from typing import Any, TypeVar

from dqn_breakout import errors
from dqn_breakout.errors import UserError

_LONGEST_LIST_OF_CHOICES = 12

_Choice = TypeVar("_Choice")


def require(condition: bool, parameter: str, message: str) -> None:
    """Refuses a configuration in which a condition does not hold.

    Args:
        condition: What must hold.
        parameter: The binding's name, such as `DqnAgent.gamma`.
        message: What is wrong with it and what is allowed, so that `parameter message` reads as
            one sentence.

    Raises:
        UserError: The condition is false.
    """
    if not condition:
        raise UserError(f"{parameter} {message}")


def positive_int(parameter: str, value: object) -> int:
    """Returns `value` if it is a whole number of 1 or more; raises UserError otherwise."""
    return _whole_number(parameter, value, 1)


def non_negative_int(parameter: str, value: object) -> int:
    """Returns `value` if it is a whole number of 0 or more; raises UserError otherwise."""
    return _whole_number(parameter, value, 0)


def positive_float(parameter: str, value: object) -> float:
    """Returns `value` if it is a finite number above 0; raises UserError otherwise."""
    number = _finite(value)
    allowed = "must be a number above 0"
    require(
        number is not None and number > 0, parameter, f"{allowed}, but is {errors.shown(value)}."
    )
    return float(number or 0)


def non_negative_float(parameter: str, value: object) -> float:
    """Returns `value` if it is a finite number of 0 or more; raises UserError otherwise."""
    number = _finite(value)
    allowed = "must be a number of 0 or more"
    require(
        number is not None and number >= 0, parameter, f"{allowed}, but is {errors.shown(value)}."
    )
    return float(number or 0)


def fraction(parameter: str, value: object) -> float:
    """Returns `value` if it is a number from 0 to 1, both included; raises UserError otherwise."""
    number = _finite(value)
    allowed = "must be a number from 0 to 1"
    fits = number is not None and 0 <= number <= 1
    require(fits, parameter, f"{allowed}, but is {errors.shown(value)}.")
    return float(number or 0)


def boolean(parameter: str, value: object) -> bool:
    """Returns `value` if it is True or False; raises UserError otherwise."""
    if not isinstance(value, bool):
        raise UserError(f"{parameter} must be True or False, but is {errors.shown(value)}.")
    return value


def one_of(parameter: str, value: object, choices: Collection[_Choice]) -> _Choice:
    """Returns the choice that equals `value`, of the same type.

    Args:
        parameter: The binding's name.
        value: What was given.
        choices: What is allowed. Up to 12 are listed in the message; of more, the nearest three.

    Raises:
        UserError: It is none of the choices.
    """
    for choice in choices:
        if type(value) is type(choice) and value == choice:
            return choice
    given = f"but is {errors.shown(value)}"
    texts = [choice for choice in choices if isinstance(choice, str)]
    text = value if isinstance(value, str) else ""
    if len(choices) > _LONGEST_LIST_OF_CHOICES:
        near = [errors.shown(each) for each in difflib.get_close_matches(text, texts, n=3)]
        hint = f"; the nearest are {', '.join(near)}." if near else "."
        raise UserError(f"{parameter} must be one of {len(choices)} known values, {given}{hint}")
    listing = ", ".join(errors.shown(choice) for choice in choices)
    nearest = errors.nearest(text, texts)
    hint = f"; did you mean {errors.shown(nearest)}?" if nearest else "."
    raise UserError(f"{parameter} must be one of {listing}, {given}{hint}")


def _whole_number(parameter: str, value: object, least: int) -> int:
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
        raise UserError(
            f"{parameter} must be a whole number of {least} or more, but is {errors.shown(value)}."
        )
    return int(value)


def _finite(value: object) -> float | None:
    """Returns a real number as a float; None for anything else, bool, NaN and infinity too."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def builder(parameter: str, value: object, example: str) -> Callable[..., Any]:
    """Returns `value` if it can be called; raises UserError otherwise.

    Args:
        parameter: The binding's name.
        value: What was given.
        example: A reference that would do, such as `@create_agent`.
    """
    if not callable(value):
        raise UserError(
            f"{parameter} must be a builder, such as {example} (without quotes or brackets), but "
            f"is {errors.shown(value)}."
        )
    return value
