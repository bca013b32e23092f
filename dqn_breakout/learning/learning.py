"""How experience becomes a policy: the seam between a run and the kinds of learning.

    while learning.env_steps < total_env_steps:
        yield learning.turn()

Whoever iterates logs, saves, evaluates and stops; no kind of learning knows of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from dqn_breakout.runs.stateful import Rows, Stateful


class Turn(NamedTuple):
    """What a turn came to.

    Attributes:
        env_steps: Environment steps so far, the random fill included.
        train_steps_taken: Train steps of this turn.
        metrics: Their means by name, float32 scalars; empty where no train step was due.
    """

    env_steps: int
    train_steps_taken: int
    metrics: Mapping[str, tf.Tensor]


class Learning(Protocol):
    """A way of learning, and all that it goes on from.

    Everything that a turn depends on lies in `parts` and `rows`: leaving after any turn and going
    on goes on as if nothing had happened.

    Attributes:
        parts: What a checkpoint holds, by name; `network` is what an export needs.
        rows: The replay's rows, which a checkpoint writes once; None where there is no replay.
        random_fill_env_steps: Environment steps taken at random before learning starts.
        metric_names: What its turns' `metrics` hold where there are any.
    """

    parts: Mapping[str, Stateful]
    rows: Rows | None
    random_fill_env_steps: int
    metric_names: Sequence[str]

    @property
    def env_steps(self) -> int:
        """Environment steps so far."""

    def turn(self) -> Turn:
        """Plays some, learns what is due."""

    def status(self) -> dict[str, Any]:
        """Metrics that say how it stands, by name: `train_steps`, and its own."""

    def plan(self) -> dict[str, str]:
        """What a person should know of it before a long run, by heading."""

    def result(self) -> str:
        """What was found, for a person to read at the end; nothing where that would be too long."""

    def flops_per_env_step(self) -> float | None:
        """Floating-point operations that an environment step costs; None where nobody knows."""

    def close(self) -> None:
        """Lets go of threads and games."""


def turns(learning: Learning, total_env_steps: int) -> Iterator[Turn]:
    """Learns until the budget is spent, the random fill included."""
    while learning.env_steps < total_env_steps:
        yield learning.turn()
