"""Tests of dqn_breakout.configurable: builders that refuse what does not fit their signature."""

from __future__ import annotations

import math
from fractions import Fraction as Ratio

import gin
import numpy as np
import pytest

from dqn_breakout.configurable import (
    Builder,
    Fraction,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    check,
    configurable,
    one_of,
    require,
)
from dqn_breakout.errors import UserError

NOT_INT = [True, 1.0, np.float32(1), "1", None, math.nan, (1,), b"1", np.True_, -1, 2**63]
NOT_REAL = [True, "1", None, math.nan, math.inf, -math.inf, 1j, (1,), np.True_, -0.1]


@pytest.mark.parametrize(
    ("kind", "words", "taken", "refused"),
    [
        (PositiveInt, "a whole number of 1 or more", [1, 2**63 - 1, np.uint8(9)], [*NOT_INT, 0]),
        (NonNegativeInt, "a whole number of 0 or more", [0, np.int64(7)], NOT_INT),
        (PositiveFloat, "a number above 0", [1, 1e-300, np.float32(2), Ratio(1, 2)], NOT_REAL),
        (PositiveFloat, "a number above 0", [0.1], [0, 10**400, 10**5000]),
        (Fraction, "a number from 0 to 1", [0, 1, 0.99, np.float64(0.5)], [*NOT_REAL, 1.0001]),
        (bool, "True or False", [True, False], [0, 1, "True", None, np.True_]),
        (Builder, "a builder, with @ and without quotes", [dict], ["@a", None, 3]),
        (PositiveFloat | None, "a number above 0 or None", [None, 1.5], [0, "None", True]),
        (str, "", ["text", 5, None], []),
    ],
)
def test_values_of_a_kind_pass_and_others_are_refused(kind, words, taken, refused):
    for value in taken:
        check("train.size", value, kind)
    for value in refused:
        with pytest.raises(UserError) as caught:
            check("train.size", value, kind)
        assert caught.value.message.startswith(f"train.size must be {words}")
        assert ", but is " in caught.value.message


@configurable(name="checked_part", denylist=["given"])
class Part:
    def __init__(self, given: int, *, size: PositiveInt = gin.REQUIRED):
        self.size = size


@configurable
def checked_build(*, part: Builder = gin.REQUIRED, rate: Fraction | None = None):
    return part(1)


@pytest.mark.parametrize(
    "wrong", ["checked_part.size = 0", "checked_build.rate = 2", "checked_build.part = 'a'"]
)
def test_what_gin_binds_and_what_code_passes_is_checked_by_the_signature(clean_gin, wrong):
    gin.parse_config(["checked_part.size = 3", "checked_build.part = @checked_part"])
    assert checked_build().size == 3
    gin.parse_config(wrong)
    with pytest.raises(UserError, match=f"^{wrong.split(' ')[0]} must be .*, but is "):
        checked_build()
    with pytest.raises(UserError, match=r"^checked_part.size must be .*, but is 'x'\."):
        Part(1, size="x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="denylisted"):
        gin.parse_config("checked_part.given = 1")


def test_require():
    require(True, "train.size", "is wrong.")
    with pytest.raises(UserError, match=r"^train.size must be below train.total\.$"):
        require(False, "train.size", "must be below train.total.")


def test_one_of_takes_equal_values_and_names_the_nearest():
    assert one_of("a.b", "nature", ["nature", 1]) == "nature"
    assert one_of("a.b", None, (None, 4)) is None
    for value, ending in [("Natur", "'Natur'; did you mean 'nature'?"), (2, "2."), ((), "().")]:
        with pytest.raises(UserError) as caught:
            one_of("a.b", value, ["nature", 1])
        assert caught.value.message == f"a.b must be one of 'nature', 1, but is {ending}"
