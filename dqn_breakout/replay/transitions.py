"""What learning takes from replay, and what it asks of one: the seam between the two."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from dqn_breakout.runs.stateful import Rows, Stateful


class Transitions(NamedTuple):
    """A batch of transitions: where, what, and what came of it.

    Attributes:
        observation: What the agent saw, `(N, ...)`.
        action: What it did, int32 `(N,)`.
        reward: What it got for it, unclipped, float32 `(N,)`.
        discount: 0 where that ended a game or a life that counts as one, float32 `(N,)`.
        next_observation: What it saw then, `(N, ...)`.
        weight: Importance of each in the loss, float32 `(N,)`; 0 for what is no transition, such as
            the step from a game's end to the next one's start.
        key: What replay knows each by, int64 `(N,)`.
    """

    observation: Any
    action: tf.Tensor
    reward: tf.Tensor
    discount: tf.Tensor
    next_observation: Any
    weight: tf.Tensor
    key: tf.Tensor


class Replay(Stateful, Rows, Protocol):
    """Experience that is kept and sampled.

    Its rows are written once by a checkpoint; `state` holds what else its samples depend on.

    What is bound to `ReplayLearning.replay_buffer` is called with the agent's `collect_data_spec`,
    the number of environments, the run's seed, `EnvironmentSpec.stacked`, and whether to go on even
    if it cannot fit this machine's memory.

    Attributes:
        samples_drawn: Position of the random stream: how many batches were sampled, int64. Batch
            number n depends on n and on what is stored, on nothing else.
        capacity_transitions: How many transitions are kept.
        capacity_bytes: What they take.
    """

    samples_drawn: tf.Variable

    @property
    def capacity_transitions(self) -> int: ...  # noqa: D102

    @property
    def capacity_bytes(self) -> int: ...  # noqa: D102

    def num_frames(self) -> tf.Tensor:
        """How many transitions are kept now, int64."""

    def add_batch(self, trajectory: Any) -> Any:
        """Adds one step of every environment; an observer of a driver."""

    def sample(self, number: int) -> Transitions:
        """Draws transitions; in a graph, the next ones of a counted random stream."""

    def update_priorities(self, keys: tf.Tensor, priorities: tf.Tensor) -> None:
        """Is told how much each of some transitions surprised, float32 `(N,)`."""
