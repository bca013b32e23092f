"""The training loop: collect, train, yield. Whoever iterates logs, saves and stops."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from dqn_breakout.collection.collector import Collector
from dqn_breakout.training.learner import Learner, LearnerMetrics


class Iteration(NamedTuple):
    """One turn of the loop.

    Attributes:
        env_steps: Environment steps so far, the random fill included.
        train_steps_taken: Train steps of this turn.
        metrics: Their means; None where no train step was due.
    """

    env_steps: int
    train_steps_taken: int
    metrics: LearnerMetrics | None


def iterations(
    collector: Collector, learner: Learner, env_steps: Callable[[], int], total_env_steps: int
) -> Iterator[Iteration]:
    """Runs random fill, then collection and training in turn, until the budget is spent.

    Everything that a turn depends on lies in the collector, the learner and what they were built
    with: leaving the loop after any turn and starting it again goes on as if nothing had happened.

    Args:
        collector: Plays.
        learner: Learns.
        env_steps: Tells the environment steps so far.
        total_env_steps: The budget, random fill included.

    Yields:
        Each turn, when it is done.
    """
    fill = collector.random_fill_env_steps
    while (now := env_steps()) < total_env_steps:
        if now < fill:
            collector.fill(now)
            yield Iteration(env_steps(), 0, None)
            continue
        if not collector.overlapped:
            collector.collect()
            now = env_steps()
        # Overlapped, the steps of this very turn come to replay, and are trained for, in the next.
        due = max(learner.train_steps_due(now - fill), 0)
        with collector.playing() if collector.overlapped else contextlib.nullcontext():
            metrics = learner.train(due) if due > 0 else None
        yield Iteration(env_steps(), due, metrics)
