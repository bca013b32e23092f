"""Rounds: who runs when, whether each kept the update ratio, and what the numbers come to."""

from __future__ import annotations

import argparse
import operator
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import psutil

from benchmarks import report
from benchmarks.processes import Child
from dqn_breakout.errors import UserError

OURS = "dqn_breakout"

# Above a peer's one step too many in each of many rounds, below what a ratio of speeds shows.
_TOLERATED_SHARE = 0.005
# Of all processors' time; where more goes to others, the machine is not idle.
_BUSY_SHARE = 0.05


def order(contestants: Sequence[str], round_number: int) -> list[str]:
    """Who runs in a round, counted from 0: each round begins with another contestant."""
    first = round_number % len(contestants)
    return [*contestants[first:], *contestants[:first]]


def take(
    contestants: dict[str, Child], number: int, measure: Callable[[Any], dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Takes a number of rounds of each, interleaved, and tells how each went.

    Yields:
        What was measured in each, with `round` and `place` from 1, `contestant`, and
        `others_processor_share`: of all processors' time, what went to anything else.
    """
    for round_number in range(number):
        for place, name in enumerate(order(list(contestants), round_number), 1):
            child = contestants[name]
            psutil.cpu_percent()  # The next call tells of the time from here on.
            started, worked = time.monotonic(), child.cpu_seconds()
            answer = measure(child)
            worked = child.cpu_seconds() - worked
            available = (time.monotonic() - started) * (os.cpu_count() or 1)
            others = max(psutil.cpu_percent() / 100 - worked / available, 0.0)
            report.tell(
                f"Round {round_number + 1} of {number}, {name}: "
                f"{answer['env_steps_per_second']:,.1f} environment steps a second"
            )
            if others > _BUSY_SHARE:
                report.tell(
                    f"  This machine is not idle: {others:.0%} of its processors' time went "
                    "elsewhere, and the numbers may not hold."
                )
            yield {
                "round": round_number + 1,
                "place": place,
                "contestant": name,
                **answer,
                "others_processor_share": others,
            }


def take_timed(
    contestants: dict[str, Child], options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Takes rounds of `contestant.Contestant`s; see `take`."""
    timed = operator.methodcaller("ask", "round", seconds=options.seconds)
    return take(contestants, options.rounds, timed)


def check_update_ratio(
    contestant: str,
    env_steps: int,
    updates: int,
    env_steps_per_update: int,
    env_steps_per_iteration: int,
) -> None:
    """Refuses a contestant that did not train as often as all were told to.

    Of all its rounds so far, the updates may be off by as many as an iteration makes, for a round
    may begin and end anywhere between two moments of training; of many updates, by 0.5 %.

    Raises:
        UserError: It trained more or less often, or took no step at all.
    """
    due = env_steps / env_steps_per_update
    tolerance = max(1.0, env_steps_per_iteration / env_steps_per_update, _TOLERATED_SHARE * due)
    if env_steps <= 0 or updates <= 0 or abs(updates - due) > tolerance:
        raise UserError(
            f"{contestant} took {updates:,} updates in {env_steps:,} environment steps, but one "
            f"update every {env_steps_per_update} steps makes {due:,.0f}: its speed cannot be "
            "compared. Give it more --seconds if that is too few to begin with."
        )


def values(rounds: Iterable[dict[str, Any]], contestant: str, value: str) -> list[Any]:
    """A contestant's value, round by round."""
    return [each[value] for each in rounds if each["contestant"] == contestant]


def medians(rounds: Sequence[dict[str, Any]], value: str) -> dict[str, float]:
    """The median over rounds of a value, for each contestant."""
    names = dict.fromkeys(each["contestant"] for each in rounds)
    return {name: statistics.median(values(rounds, name, value)) for name in names}


def ratio(
    rounds: Sequence[dict[str, Any]], ours: str, theirs: str, value: str = "env_steps_per_second"
) -> float:
    """The median over rounds of ours / theirs within a round.

    A machine's speed drifts from minute to minute; within a round it is nearly the same for all.
    """
    pairs = zip(values(rounds, ours, value), values(rounds, theirs, value), strict=True)
    return statistics.median(a / b for a, b in pairs)


def speed_row(rounds: Sequence[dict[str, Any]], contestant: str) -> dict[str, Any]:
    """Of a table: a contestant's median speed, its rounds, and what others took at worst."""
    speeds = values(rounds, contestant, "env_steps_per_second")
    return {
        "contestant": contestant,
        "env steps/s": statistics.median(speeds),
        "over rounds": f"{min(speeds):,.1f} to {max(speeds):,.1f}",
        "others took": f"{max(values(rounds, contestant, 'others_processor_share')):.0%}",
    }
