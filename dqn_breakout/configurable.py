"""Builders that gin configures and that refuse wrong numbers: what fits stands in the signature.

@configurable
def create_learner(agent, *, batch_size: PositiveInt = gin.REQUIRED): ...
"""

from __future__ import annotations

import functools
import inspect
import itertools
import numbers
import types
import typing
from collections.abc import Callable, Collection
from typing import Annotated, Any, NamedTuple, TypeVar

import gin

from dqn_breakout.errors import UserError, nearest, shown

_Target = TypeVar("_Target", bound=Callable[..., Any])
_Choice = TypeVar("_Choice")


class Kind(NamedTuple):
    """What a value may be: in the words of the sentence that refuses others, and as a test."""

    words: str
    fits: Callable[[Any], bool]


def _is_whole(value: Any) -> bool:
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return whole and value < 2**63  # TensorFlow and NumPy count in 64 bits,


def _is_real(value: Any) -> bool:
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return real and abs(value) < 3e38  # and networks compute in 32.


PositiveInt = Annotated[
    int, Kind("a whole number of 1 or more", lambda value: _is_whole(value) and value >= 1)
]
NonNegativeInt = Annotated[
    int, Kind("a whole number of 0 or more", lambda value: _is_whole(value) and value >= 0)
]
PositiveFloat = Annotated[
    float, Kind("a number above 0", lambda value: _is_real(value) and value > 0)
]
NonNegativeFloat = Annotated[
    float, Kind("a number of 0 or more", lambda value: _is_real(value) and value >= 0)
]
Fraction = Annotated[
    float, Kind("a number from 0 to 1", lambda value: _is_real(value) and 0 <= value <= 1)
]
Builder = Annotated[
    Callable[..., Any],
    Kind("a builder, with @ and without quotes or brackets, such as @create_agent", callable),
]
_BOOLEAN = Kind("True or False", lambda value: isinstance(value, bool))
_NONE = Kind("None", lambda value: value is None)


def check(parameter: str, value: object, hint: Any) -> None:
    """Refuses a value that is not of the annotated kind.

    Args:
        parameter: What the user calls it, such as `create_agent.gamma` or `--games`.
        value: What was given.
        hint: An annotation, such as `PositiveInt` or `PositiveFloat | None`; one that allows more
            than kinds of this module lets every value pass.

    Raises:
        UserError: It does not fit.
    """
    kinds = _kinds(hint)
    if kinds and not any(kind.fits(value) for kind in kinds):
        words = " or ".join(kind.words for kind in kinds)
        raise UserError(f"{parameter} must be {words}, but is {shown(value)}.")


def _kinds(hint: Any) -> list[Kind]:
    """The kinds that an annotation allows; none where it lets every value pass."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        parts = [_kinds(part) for part in typing.get_args(hint)]
        return list(itertools.chain(*parts)) if all(parts) else []
    if typing.get_origin(hint) is Annotated:
        return [each for each in hint.__metadata__ if isinstance(each, Kind)]
    return [_BOOLEAN] if hint is bool else [_NONE] if hint is type(None) else []


def configurable(
    target: Any = None, *, name: str | None = None, denylist: Collection[str] | None = None
) -> Any:
    """`gin.configurable` for a function or class whose annotated arguments are checked.

    Args:
        target: The function or class, where the decorator stands without brackets.
        name: What gin calls it; by default its own name.
        denylist: Parameters that gin may not set.

    Raises:
        UserError: (the decorated) An argument does not fit its annotation.
    """
    if target is None:
        return functools.partial(configurable, name=name, denylist=denylist)
    called = name or target.__name__
    if inspect.isclass(target):
        target.__init__ = _checked(target.__init__, called)  # type: ignore[method-assign]
    else:
        target = _checked(target, called)
    return gin.configurable(called, module=target.__module__, denylist=denylist)(target)


def _checked(function: _Target, called: str) -> _Target:
    signature = inspect.signature(function)
    hints = typing.get_type_hints(function, include_extras=True)

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        for parameter, value in signature.bind_partial(*arguments, **named).arguments.items():
            check(f"{called}.{parameter}", value, hints.get(parameter))
        return function(*arguments, **named)

    call.__signature__ = signature  # type: ignore[attr-defined]
    return call  # type: ignore[return-value]


def require(condition: bool, parameter: str, message: str) -> None:
    """Raises the UserError `parameter message`, one sentence, unless a condition holds."""
    if not condition:
        raise UserError(f"{parameter} {message}")


def one_of(parameter: str, value: object, choices: Collection[_Choice]) -> _Choice:
    """Returns the choice that equals `value`.

    Raises:
        UserError: It is none of the choices; the message lists them and names the nearest.
    """
    for choice in choices:
        if value == choice:
            return choice
    near = nearest(str(value), [choice for choice in choices if isinstance(choice, str)])
    listing = ", ".join(shown(choice) for choice in choices)
    hint = f"; did you mean {shown(near)}?" if near else "."
    raise UserError(f"{parameter} must be one of {listing}, but is {shown(value)}{hint}")
