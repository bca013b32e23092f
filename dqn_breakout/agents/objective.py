"""What a network is trained towards: the seam between an agent and the algorithms of its family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from dqn_breakout.replay.transitions import Transitions

# A network as an objective sees it: observations `(B, ...)` to outputs `(B, ...)`.
Network = Callable[[Any], tf.Tensor]


class Loss(NamedTuple):
    """What an objective says of a batch.

    Attributes:
        per_sample: The loss of each transition, before its weight, float32 `(B,)`.
        td_error: How far each estimate was from its target, float32 `(B,)`; its magnitude is a
            transition's priority.
        q_values: The value of each action taken, float32 `(B,)`.
        metrics: What else is worth watching, float32 scalars by the names of `metric_names`.
    """

    per_sample: tf.Tensor
    td_error: tf.Tensor
    q_values: tf.Tensor
    metrics: dict[str, tf.Tensor]


class Objective(Protocol):
    """Targets, and the loss towards them; `create_agent.objective` is called without arguments.

    The transitions that it is given are those of the update: rewards are clipped, if they are to
    be, and discounts hold gamma.

    Attributes:
        metric_names: What its losses' `metrics` hold.
        needs_online: Whether targets need the network that is trained. Then they can be computed
            neither ahead nor for several train steps at once.
    """

    metric_names: Sequence[str]
    needs_online: bool

    def targets(self, online: Network, target: Network, transitions: Transitions) -> tf.Tensor:
        """What outputs should be, with no gradient."""

    def loss(self, online: Network, transitions: Transitions, targets: tf.Tensor) -> Loss:
        """How far they are from it."""

    def action_values(self, outputs: tf.Tensor) -> tf.Tensor:
        """Action values, float32 `(B, actions)`, of what the network gives."""
