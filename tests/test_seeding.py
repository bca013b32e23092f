"""Named random streams."""

from __future__ import annotations

import hashlib

from dqn_breakout import seeding


def test_a_key_is_the_head_of_a_hash_of_seed_and_name() -> None:
    """Every recorded run depends on it: changing it changes them all."""
    digest = hashlib.sha256(b"7/replay/sampling").hexdigest()
    assert seeding.stream_key(7, "replay/sampling") == int(digest[:8], 16) // 2 == 491_809_838


def test_keys_fit_31_bits_and_differ() -> None:
    keys = {seeding.stream_key(seed, f"stream {n}") for seed in (-1, 0, 2**40) for n in range(200)}
    assert len(keys) == 600
    assert 0 <= min(keys) < 2**30 < max(keys) < 2**31
