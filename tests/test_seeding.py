"""Named random streams."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from dqn_breakout import seeding


def test_a_key_is_the_head_of_a_hash_of_seed_and_name() -> None:
    """Every recorded run depends on it: changing it changes them all."""
    digest = hashlib.sha256(b"7/replay/sampling").hexdigest()
    assert seeding.stream_key(7, "replay/sampling") == int(digest[:8], 16) // 2
    assert seeding.stream_key(7, "replay/sampling") == 491_809_838


def test_keys_fit_31_bits_and_differ() -> None:
    keys = [
        seeding.stream_key(seed, f"stream {number}")
        for seed in (-1, 0, 1, 2**40)
        for number in range(200)
    ]
    assert len(set(keys)) == len(keys)
    assert min(keys) >= 0
    assert max(keys) < 2**31
    assert max(keys) > 2**30


def test_a_generator_depends_on_seed_name_and_position() -> None:
    def numbers(seed: int, name: str, *position: int) -> list[float]:
        return seeding.generator(seed, name, *position).random(3).tolist()

    places: list[tuple[int, str, *tuple[int, ...]]] = [
        (1, "games"),
        (2, "games"),
        (1, "other games"),
        (1, "games", 1),
        (1, "games", 2),
        (1, "games", 1, 2),
        (1, "games", 2, 1),
    ]
    drawn = [numbers(*place) for place in places]
    assert [numbers(*place) for place in places] == drawn
    assert len({tuple(each) for each in drawn}) == len(places)


def test_two_generators_of_one_position_do_not_share_state() -> None:
    one, other = seeding.generator(3, "games", 5), seeding.generator(3, "games", 5)
    one.random(10)
    np.testing.assert_array_equal(other.random(4), seeding.generator(3, "games", 5).random(4))


@pytest.mark.parametrize("position", [-1])
def test_a_position_before_the_beginning_is_refused(position: int) -> None:
    with pytest.raises(ValueError, match="non-negative"):
        seeding.generator(1, "games", position)
