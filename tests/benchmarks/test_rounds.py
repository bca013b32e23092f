from __future__ import annotations

from typing import Any

import pytest

from benchmarks import rounds
from benchmarks.report import MeasurementError


def entry(contestant: str, speed: float) -> dict[str, Any]:
    return {"contestant": contestant, "env_steps_per_second": speed}


def test_a_ratio_is_taken_within_a_round_before_the_median() -> None:
    # The machine ran at a third of its speed in round 2: medians of speeds would say 250 / 80.
    ours, theirs = (300.0, 100.0, 250.0), (80.0, 40.0, 100.0)
    measured = [entry(rounds.OURS, speed) for speed in ours]
    measured += [entry("sb3", speed) for speed in theirs]
    assert rounds.ratios(measured, ["sb3"]) == {"sb3": 2.5}


def test_medians_are_by_contestant() -> None:
    measured = [entry("a", 1.0), entry("b", 10.0), entry("a", 3.0), entry("a", 9.0)]
    assert rounds.medians(measured, "env_steps_per_second") == {"a": 3.0, "b": 10.0}


def test_each_round_begins_with_another() -> None:
    orders = [rounds.order(["a", "b", "c"], number) for number in range(4)]
    assert orders == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"]]


@pytest.mark.parametrize(
    ("env_steps", "updates", "per_iteration"),
    [(400, 100, 4), (400, 99, 4), (404, 100, 4), (6400, 1616, 64), (6400, 1584, 64)],
)
def test_an_iteration_more_or_less_keeps_the_ratio(
    env_steps: int, updates: int, per_iteration: int
) -> None:
    rounds.check_update_ratio("sb3", env_steps, updates, 4, per_iteration)


@pytest.mark.parametrize(
    ("env_steps", "updates", "per_iteration"),
    [(400, 98, 4), (400, 102, 4), (6400, 1617, 64), (6400, 1583, 64), (0, 0, 4), (4, 0, 4)],
)
def test_more_than_that_is_refused(env_steps: int, updates: int, per_iteration: int) -> None:
    with pytest.raises(MeasurementError, match=f"sb3 took {updates:,} updates in {env_steps:,} "):
        rounds.check_update_ratio("sb3", env_steps, updates, 4, per_iteration)


def test_what_one_round_allows_does_not_add_up() -> None:
    rounds.check_update_ratio("ours", 3200, 784, 4, 64)
    with pytest.raises(MeasurementError, match="ours took 2,352 updates in 9,600 "):
        rounds.check_update_ratio("ours", 3 * 3200, 3 * 784, 4, 64)
    # A step too many in each round is no other ratio.
    rounds.check_update_ratio("sb3", 24 * 2161, 24 * 540, 4, 4)


def test_the_floor_of_the_papers_network() -> None:
    # Four actions; each layer's multiply-adds, by hand.
    first = 2 * 20 * 20 * 32 * (8 * 8 * 4)
    forward = first + 2 * (9 * 9 * 64 * (4 * 4 * 32) + 7 * 7 * 64 * (3 * 3 * 64))
    forward += 2 * (3136 * 512 + 512 * 4)
    sample = rounds.flops_per_sample(forward, first)
    assert sample == pytest.approx(68e6, rel=0.01)
    # 86 updates of 32 samples a second are all that 188 GFLOP/s can do.
    assert rounds.floor_share(86.2, 32, sample, 188e9) == pytest.approx(1.0, rel=0.01)
