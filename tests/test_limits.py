from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from dqn_breakout import limits
from dqn_breakout.errors import UserError


def test_require():
    limits.require(True, "Agent.gamma", "is wrong.")
    with pytest.raises(UserError) as caught:
        limits.require(1 > 2, "Agent.gamma", "must be below Agent.delta, but is 3.")
    assert caught.value.message == "Agent.gamma must be below Agent.delta, but is 3."


@pytest.mark.parametrize("value", [1, 2**80, np.int64(1), np.uint8(255)])
def test_positive_int_takes(value):
    result = limits.positive_int("a.b", value)
    assert result == value
    assert type(result) is int


NOT_WHOLE = [True, False, 1.0, np.float32(1), "1", None, math.nan, math.inf, (1,), b"1", np.True_]


@pytest.mark.parametrize("value", [*NOT_WHOLE, 0, -1])
def test_positive_int_refuses(value):
    with pytest.raises(UserError) as caught:
        limits.positive_int("Agent.batch_size", value)
    assert caught.value.message == (
        f"Agent.batch_size must be a whole number of 1 or more, but is {value!r}."
    )


@pytest.mark.parametrize("value", [*NOT_WHOLE, -1])
def test_non_negative_int_refuses(value):
    with pytest.raises(UserError) as caught:
        limits.non_negative_int("Agent.steps", value)
    assert caught.value.message == (
        f"Agent.steps must be a whole number of 0 or more, but is {value!r}."
    )


def test_non_negative_int_takes_zero():
    assert limits.non_negative_int("a.b", 0) == 0


NOT_REAL = [True, "1", None, math.nan, math.inf, -math.inf, 1j, (1,), np.True_]


@pytest.mark.parametrize(
    ("check", "allowed", "outside"),
    [
        (limits.positive_float, "a number above 0", [0, 0.0, -0.1]),
        (limits.non_negative_float, "a number of 0 or more", [-0.1, -1]),
        (limits.fraction, "a number from 0 to 1", [-0.1, 1.0001, 2]),
    ],
)
def test_float_checks_refuse(check, allowed, outside):
    for value in [*NOT_REAL, *outside]:
        with pytest.raises(UserError) as caught:
            check("Agent.gamma", value)
        assert caught.value.message == f"Agent.gamma must be {allowed}, but is {value!r}."


@pytest.mark.parametrize(
    ("check", "values"),
    [
        (limits.positive_float, [1, 0.5, 1e-300, np.float32(0.5), Fraction(1, 2)]),
        (limits.non_negative_float, [0, 0.0, 3.5, np.int32(2)]),
        (limits.fraction, [0, 1, 0.0, 1.0, 0.99, np.float64(0.5)]),
    ],
)
def test_float_checks_take(check, values):
    for value in values:
        result = check("a.b", value)
        assert result == value
        assert type(result) is float


def test_boolean():
    assert limits.boolean("a.b", True) is True
    assert limits.boolean("a.b", False) is False
    for value in (0, 1, "True", "False", None, np.True_):
        with pytest.raises(UserError) as caught:
            limits.boolean("a.b", value)
        assert caught.value.message == f"a.b must be True or False, but is {value!r}."


def test_one_of_takes_equal_values_of_the_same_type():
    assert limits.one_of("a.b", "nature", ["nature", "machado"]) == "nature"
    assert limits.one_of("a.b", 4, (1, 4)) == 4
    assert limits.one_of("a.b", None, (None, 4)) is None


@pytest.mark.parametrize(
    ("value", "ending"),
    [
        ("natur", "but is 'natur'; did you mean 'nature'?"),
        ("Machado", "but is 'Machado'; did you mean 'machado'?"),
        ("qqqq", "but is 'qqqq'."),
        (1, "but is 1."),
        (None, "but is None."),
        (["nature"], "but is ['nature']."),
    ],
)
def test_one_of_refuses_and_names_the_nearest(value, ending):
    with pytest.raises(UserError) as caught:
        limits.one_of("protocol.name", value, ["nature", "machado"])
    assert caught.value.message == f"protocol.name must be one of 'nature', 'machado', {ending}"


@pytest.mark.parametrize("value", [True, 1.0, "1"])
def test_one_of_tells_types_apart(value):
    with pytest.raises(UserError, match="must be one of 1, 2, but is"):
        limits.one_of("a.b", value, [1, 2])


def test_one_of_many_choices_names_the_nearest_only():
    games = [f"ALE/Game{letter}-v5" for letter in "ABCDEFGHIJKLMN"] + ["ALE/Breakout-v5"]
    with pytest.raises(UserError) as caught:
        limits.one_of("suite.game", "Brekout-v5", games)
    message = caught.value.message
    assert message.startswith("suite.game must be one of 15 known values, but is 'Brekout-v5'; ")
    assert "the nearest are 'ALE/Breakout-v5'" in message
    with pytest.raises(UserError, match=r"15 known values, but is 3\.$"):
        limits.one_of("suite.game", 3, games)


@pytest.mark.parametrize(
    ("digits", "shown"), [(400, "1" + "0" * 76 + "..."), (5000, "a very long int")]
)
def test_numbers_too_long_for_a_float(digits, shown):
    with pytest.raises(UserError) as caught:
        limits.positive_float("a.b", 10**digits)
    assert caught.value.message == f"a.b must be a number above 0, but is {shown}."
