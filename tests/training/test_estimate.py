"""Tests of the guess at a run's speed, with the processor's speed given."""

from __future__ import annotations

import pytest

from dqn_breakout.training import estimate


def test_the_guess_is_hand_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "_peak_flops", lambda: 188e9)
    # A train step of 32 samples at 3.64 forward passes of 18.7 million operations each, for every
    # 4 environment steps, and one forward pass for each environment step itself.
    per_env_step = 3.64 * 18.7e6 * 32 / 4 + 18.7e6
    assert estimate.env_steps_per_second(per_env_step) == pytest.approx(166.9, abs=0.1)


def test_the_processors_speed_is_that_of_a_processor() -> None:
    # From a slow single core to far beyond the fastest accelerator.
    assert 1e8 < estimate._peak_flops() < 1e18
