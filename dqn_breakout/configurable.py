"""Builders that gin configures and that refuse wrong numbers: what fits stands in the signature.

    @configurable
    def create_learner(agent, *, batch_size: PositiveInt = gin.REQUIRED): ...

A number then stands in two places, the gin file and the signature.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import numbers
import types
import typing
from collections.abc import Callable, Collection
from typing import Annotated, Any, TypeVar

import gin

from dqn_breakout.errors import UserError, nearest, shown

_Target = TypeVar("_Target", bound=Callable[..., Any])
_Choice = TypeVar("_Choice")


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a value may be.

    Attributes:
        words: In the words of the sentence that refuses others: "gamma must be ...".
        fits: Whether a value is of this kind.
    """

    words: str
    fits: Callable[[Any], bool]


def _is_whole(value: object, least: int) -> bool:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        return False
    return least <= int(value) < 2**63  # TensorFlow and NumPy count in 64 bits.


def _is_real(value: object, fits: Callable[[float], bool]) -> bool:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    try:
        number = float(value)
    except OverflowError:
        return False
    return math.isfinite(number) and fits(number)


PositiveInt = Annotated[int, Kind("a whole number of 1 or more", lambda v: _is_whole(v, 1))]
NonNegativeInt = Annotated[int, Kind("a whole number of 0 or more", lambda v: _is_whole(v, 0))]
PositiveFloat = Annotated[
    float, Kind("a number above 0", lambda v: _is_real(v, lambda number: number > 0))
]
Fraction = Annotated[
    float, Kind("a number from 0 to 1", lambda v: _is_real(v, lambda number: 0 <= number <= 1))
]
Builder = Annotated[
    Callable[..., Any],
    Kind("a builder, with @ and without quotes or brackets, such as @create_agent", callable),
]
_BOOLEAN = Kind("True or False", lambda value: isinstance(value, bool))


def check(parameter: str, value: object, hint: Any) -> None:
    """Refuses a value that is not of the annotated kind.

    Args:
        parameter: What the user calls it, such as `create_agent.gamma` or `--games`.
        value: What was given.
        hint: An annotation, such as `PositiveInt` or `PositiveFloat | None`; one that names none of
            the kinds of this module lets every value pass.

    Raises:
        UserError: It does not fit.
    """
    kinds, may_be_none = _kinds(hint)
    if (value is None and may_be_none) or not kinds or any(kind.fits(value) for kind in kinds):
        return
    words = " or ".join([kind.words for kind in kinds] + ["None"] * may_be_none)
    raise UserError(f"{parameter} must be {words}, but is {shown(value)}.")


def _kinds(hint: Any) -> tuple[list[Kind], bool]:
    """The kinds that an annotation allows, and whether None is one of them."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        parts = typing.get_args(hint)
        found = [kind for part in parts for kind in _kinds(part)[0]]
        return found, type(None) in parts
    if typing.get_origin(hint) is Annotated:
        return [each for each in hint.__metadata__ if isinstance(each, Kind)], False
    return ([_BOOLEAN] if hint is bool else []), False


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

    @functools.cache
    def hints() -> dict[str, Any]:
        return typing.get_type_hints(function, include_extras=True)

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        for parameter, value in signature.bind_partial(*arguments, **named).arguments.items():
            check(f"{called}.{parameter}", value, hints().get(parameter))
        return function(*arguments, **named)

    call.__signature__ = signature  # type: ignore[attr-defined]
    return call  # type: ignore[return-value]


def require(condition: bool, parameter: str, message: str) -> None:
    """Refuses a configuration in which a condition does not hold.

    Args:
        condition: What must hold.
        parameter: The binding's name, such as `create_agent.gamma`.
        message: What is wrong with it and what is allowed: `parameter message` is one sentence.

    Raises:
        UserError: The condition is false.
    """
    if not condition:
        raise UserError(f"{parameter} {message}")


def one_of(parameter: str, value: object, choices: Collection[_Choice]) -> _Choice:
    """Returns the choice that equals `value`, of the same type.

    Raises:
        UserError: It is none of the choices; the message lists them and names the nearest.
    """
    for choice in choices:
        if type(value) is type(choice) and value == choice:
            return choice
    near = nearest(str(value), [choice for choice in choices if isinstance(choice, str)])
    listing = ", ".join(shown(choice) for choice in choices)
    hint = f"; did you mean {shown(near)}?" if near else "."
    raise UserError(f"{parameter} must be one of {listing}, but is {shown(value)}{hint}")
