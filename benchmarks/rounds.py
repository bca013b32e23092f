"""Rounds: who runs when, whether each kept the update ratio, and what the numbers come to."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.report import MeasurementError, median_of_ratios

OURS = "dqn_breakout"

# Above a peer's one step too many in each of many rounds, below what a ratio of speeds shows.
_TOLERATED_SHARE = 0.005

FLOOR_FORMULA = (
    "share = updates_per_second * batch_size * flops_per_sample / matrix_product_flops_per_second; "
    "flops_per_sample = 4 * forward_flops - first_layer_flops: the target network forward, the "
    "network forward, the weights' gradients as much again, and the gradients of the inputs of all "
    "layers but the first"
)


def flops_per_sample(forward_flops: int, first_layer_flops: int) -> int:
    """Floating-point operations that one sample of a DQN update takes; see `FLOOR_FORMULA`.

    68 million for the network of Mnih et al. 2015 with four actions.

    Args:
        forward_flops: Of one forward pass of one observation.
        first_layer_flops: The first layer's part of it.
    """
    return 4 * forward_flops - first_layer_flops


def floor_share(
    updates_per_second: float, batch_size: int, sample_flops: int, peak_flops_per_second: float
) -> float:
    """Which share of the matrix product's speed the updates' arithmetic reaches.

    Args:
        updates_per_second: Gradient updates a second.
        batch_size: Samples of one.
        sample_flops: See `flops_per_sample`.
        peak_flops_per_second: The matrix product's speed, measured beside it.
    """
    return updates_per_second * batch_size * sample_flops / peak_flops_per_second


def order(contestants: Sequence[str], round_number: int) -> list[str]:
    """Who runs in a round, one after the other: each round begins with another contestant.

    Args:
        contestants: All of them.
        round_number: From 0.
    """
    first = round_number % len(contestants)
    return [*contestants[first:], *contestants[:first]]


def check_update_ratio(
    contestant: str,
    env_steps: int,
    updates: int,
    env_steps_per_update: int,
    env_steps_per_iteration: int,
) -> None:
    """Refuses a round in which a contestant did not train as often as all were told to.

    Args:
        contestant: Its name.
        env_steps: Environment steps of the timed part, or of all timed parts together.
        updates: Gradient updates of the same.
        env_steps_per_update: The ratio that was asked for.
        env_steps_per_iteration: Environment steps between two moments of training; the updates may
            be off by as many as these make, for a part may begin and end anywhere between two. Of
            many updates, 0.5 % are allowed.

    Raises:
        MeasurementError: It trained more or less often, or took no step at all.
    """
    due = env_steps / env_steps_per_update
    tolerance = max(1.0, env_steps_per_iteration / env_steps_per_update, _TOLERATED_SHARE * due)
    if env_steps <= 0 or updates <= 0 or abs(updates - due) > tolerance:
        raise MeasurementError(
            f"{contestant} took {updates:,} updates in {env_steps:,} environment steps, but one "
            f"update every {env_steps_per_update} steps makes {due:,.0f}: its speed cannot be "
            "compared. Give it more --seconds if that is too few to begin with."
        )


def speeds(rounds: Iterable[dict[str, Any]], contestant: str) -> list[float]:
    """A contestant's environment steps a second, round by round."""
    return [each["env_steps_per_second"] for each in rounds if each["contestant"] == contestant]


def ratios(rounds: Sequence[dict[str, Any]], peers: Iterable[str]) -> dict[str, float]:
    """How many times as fast as each peer this project is: the median over rounds.

    Args:
        rounds: Every contestant's every round.
        peers: Their names.
    """
    ours = speeds(rounds, OURS)
    return {peer: median_of_ratios(ours, speeds(rounds, peer)) for peer in peers}


def medians(rounds: Sequence[dict[str, Any]], value: str) -> dict[str, float]:
    """The median over rounds of a value, for each contestant.

    Args:
        rounds: Every contestant's every round.
        value: Its name in a round.
    """
    names = dict.fromkeys(each["contestant"] for each in rounds)
    return {
        name: statistics.median(each[value] for each in rounds if each["contestant"] == name)
        for name in names
    }
