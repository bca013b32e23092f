"""The compiled training step: sample from replay, train the agent, several times over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import gin
import tensorflow as tf

from dqn_breakout import errors, limits
from dqn_breakout.agents.dqn_agent import DIVERGED
from dqn_breakout.training.divergence import Divergence

# Their frames are held at once: 2.3 GB.
_MOST_TRANSITIONS_OF_A_GROUP = 65_536


class LearnerMetrics(NamedTuple):
    """Means over the train steps of one call, float32 scalars.

    Attributes:
        loss: Huber loss.
        mean_q: Value of the actions taken.
        gradient_norm: Global norm of the gradient; of each group the last train step's alone.
    """

    loss: tf.Tensor
    mean_q: tf.Tensor
    gradient_norm: tf.Tensor


class Learner:
    """Trains an agent on what the replay buffer gives, as many steps as are due.

    Train steps come in groups: a group's batches are sampled together, and their targets need not
    wait for the steps before them, since the target network does not change inside a group. They
    are computed in one large forward pass, or batch by batch, each beside the train step before:
    a train step alone does not keep two processors busy. The targets are those that single steps
    would have computed, but for rounding.

    Attributes:
        batch_size: Transitions of one train step.
        env_steps_per_train_step: The update ratio: environment steps for one train step.
        train_steps_per_group: Train steps of a group.
        targets_ahead: Whether a group's targets are computed beside the train step before.
    """

    def __init__(
        self,
        agent: Any,
        replay_buffer: Any,
        *,
        batch_size: int,
        env_steps_per_train_step: int,
        train_steps_per_group: int,
        targets_ahead: bool,
    ):
        """Builds the compiled step.

        Args:
            agent: A `ClippedDqnAgent`.
            replay_buffer: Its `sample_transitions` gives as many transitions as are asked for.
            batch_size: See the class.
            env_steps_per_train_step: See the class.
            train_steps_per_group: See the class.
            targets_ahead: See the class.
        """
        self.env_steps_per_train_step = env_steps_per_train_step
        self.train_steps_per_group = train_steps_per_group
        self.targets_ahead = targets_ahead
        self._agent = agent
        self.batch_size = batch_size
        self._replay_buffer = replay_buffer

    def train_steps_due(self, env_steps_since_fill: int) -> int:
        """How many train steps, in whole groups, bring the agent to the update ratio."""
        steps = max(env_steps_since_fill, 0) // self.env_steps_per_train_step
        due = steps - int(self._agent.train_step_counter.numpy())
        return due - due % self.train_steps_per_group

    def train(self, train_steps: int) -> LearnerMetrics:
        """Takes train steps, each on a fresh batch.

        Args:
            train_steps: How many, a positive multiple of `train_steps_per_group`.

        Raises:
            Divergence: The loss of a step is not finite, or an action value out of bounds; that
                step and what would follow it are not taken.
        """
        try:
            return self._train(tf.constant(train_steps // self.train_steps_per_group))
        except tf.errors.InvalidArgumentError as error:
            if DIVERGED not in error.message:
                raise
            raise self._divergence() from error

    def _divergence(self) -> Divergence:
        """What the train step that has just failed was about to learn from.

        The counters stand where it began, and a draw's number decides what is sampled.
        """
        train_steps = int(self._agent.train_step_counter.numpy())
        group, place = divmod(train_steps, self.train_steps_per_group)
        self._replay_buffer.samples_drawn.assign(group)
        transitions = self._replay_buffer.sample_transitions(
            self.batch_size * self.train_steps_per_group
        )
        time_steps, actions, next_time_steps = self._batch(transitions, place)
        q_values = self._agent.q_network(time_steps.observation, time_steps.step_type)[0]
        targets = self._agent.td_targets(next_time_steps)
        return Divergence(
            train_steps + 1,
            {
                "observation": time_steps.observation.numpy(),
                "action": actions.numpy(),
                "reward": next_time_steps.reward.numpy(),
                "discount": next_time_steps.discount.numpy(),
                "next_observation": next_time_steps.observation.numpy(),
                "q_values": q_values.numpy(),
                "targets": targets.numpy(),
            },
        )

    @tf.function
    def _train(self, groups: tf.Tensor) -> LearnerMetrics:
        sums = LearnerMetrics(tf.constant(0.0), tf.constant(0.0), tf.constant(0.0))
        for _ in tf.range(groups):
            sums = tf.nest.map_structure(tf.add, sums, self._train_group())
        return tf.nest.map_structure(lambda total: total / tf.cast(groups, tf.float32), sums)

    # Nothing in here needs AutoGraph, and TF-Agents' code gives warnings when it is rewritten.
    @tf.autograph.experimental.do_not_convert
    def _train_group(self) -> LearnerMetrics:
        """Takes one group's train steps; returns their metrics."""
        steps = self.train_steps_per_group
        time_steps, actions, next_time_steps = self._replay_buffer.sample_transitions(
            self.batch_size * steps
        )
        targets = self._targets(next_time_steps)
        # Each batch's targets are asked for before the train step that precedes it, or they would
        # wait for it: a train step may write to the target network.
        ready = next(targets)
        seen = []
        for place in range(steps):
            batch_targets, ready = ready, next(targets, ready)
            batch = self._batch((time_steps, actions), place)
            seen.append(self._agent.train_on_targets(*batch, batch_targets))
        return LearnerMetrics(
            loss=tf.add_n([info.loss for info in seen]) / steps,
            mean_q=tf.add_n([info.extra.mean_q for info in seen]) / steps,
            # A norm reads all of a gradient once more: one in a group is enough to watch.
            gradient_norm=seen[-1].extra.gradient_norm,
        )

    def _targets(self, next_time_steps: Any) -> Iterator[tf.Tensor]:
        """The targets of a group's batches, one batch after the other."""
        steps = range(self.train_steps_per_group)
        if not self.targets_ahead:
            every = self._agent.td_targets(next_time_steps)
            yield from (self._batch(every, place) for place in steps)
            return
        before: list[tf.Tensor] = []
        for place in steps:
            # One after the other, or they would all be computed before the first train step.
            with tf.control_dependencies(before):
                batch = tf.nest.map_structure(tf.identity, self._batch(next_time_steps, place))
            before = [self._agent.td_targets(batch)]
            yield before[0]

    def _batch(self, values: Any, place: int) -> Any:
        """The part of a group's values that belongs to one of its train steps."""
        rows = slice(place * self.batch_size, (place + 1) * self.batch_size)
        return tf.nest.map_structure(lambda each: each[rows], values)


@gin.configurable
def create_learner(
    agent: Any,
    replay_buffer: Any,
    *,
    batch_size: int = gin.REQUIRED,
    env_steps_per_train_step: int = gin.REQUIRED,
    train_steps_per_group: int = gin.REQUIRED,
    targets_ahead: bool = gin.REQUIRED,
) -> Learner:
    """Builds the learner that gin describes; see `Learner`.

    Raises:
        UserError: A count is not a positive whole number, `targets_ahead` not True or False, a
            group draws too many transitions, or the target network would change inside a group.
    """
    name = "create_learner"
    limits.positive_int(f"{name}.batch_size", batch_size)
    limits.positive_int(f"{name}.env_steps_per_train_step", env_steps_per_train_step)
    limits.positive_int(f"{name}.train_steps_per_group", train_steps_per_group)
    limits.boolean(f"{name}.targets_ahead", targets_ahead)
    period = agent.target_update_period_train_steps
    limits.require(
        period % train_steps_per_group == 0,
        f"{name}.train_steps_per_group",
        f"is {train_steps_per_group}, which does not divide "
        f"create_agent.target_update_period_train_steps ({period}); choose one that does.",
    )
    drawn = batch_size * train_steps_per_group
    limits.require(
        drawn <= _MOST_TRANSITIONS_OF_A_GROUP,
        f"{name}.batch_size",
        f"times train_steps_per_group is {errors.shown(drawn)}; at most "
        f"{_MOST_TRANSITIONS_OF_A_GROUP:,} transitions can be drawn at once.",
    )
    return Learner(
        agent,
        replay_buffer,
        batch_size=batch_size,
        env_steps_per_train_step=env_steps_per_train_step,
        train_steps_per_group=train_steps_per_group,
        targets_ahead=targets_ahead,
    )
