"""The compiled train step: sample from replay, train the agent, several times over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gin
import tensorflow as tf

from dqn_breakout.agents.dqn_agent import DIVERGED
from dqn_breakout.configurable import NonNegativeInt, PositiveInt, configurable, require
from dqn_breakout.learning.divergence import Divergence
from dqn_breakout.replay.transitions import Replay, Transitions

# Their frames are held at once: 2.3 GB.
_MOST_TRANSITIONS_OF_A_GROUP = 65_536

Metrics = dict[str, tf.Tensor]


@configurable(name="create_learner")
class Learner:
    """Trains an agent on what replay gives, as many steps as are due.

    Train steps come in groups: a group's batches are sampled together, and their targets need not
    wait for the steps before them, since the target network does not change inside a group. They
    are computed in one large forward pass, or batch by batch, each beside the train step before:
    a train step alone does not keep two processors busy. The targets are those that single steps
    would have computed, but for rounding. Where they need the network that is trained (double
    Q-learning), each batch's are computed when its step is taken.

    Attributes:
        batch_size: Transitions of one train step.
        env_steps_per_train_step: The update ratio: environment steps for one train step; None where
            it is counted in episodes.
        episodes_per_train_step: Full games for one train step instead.
        episodes_before_training: How many full games come before the first of them.
        train_steps_per_group: Train steps of a group.
        targets_ahead: Whether a group's targets are computed beside the train step before.
    """

    def __init__(
        self,
        agent: Any,
        replay: Replay,
        *,
        batch_size: PositiveInt = gin.REQUIRED,
        env_steps_per_train_step: PositiveInt | None = gin.REQUIRED,
        train_steps_per_group: PositiveInt = gin.REQUIRED,
        targets_ahead: bool = gin.REQUIRED,
        episodes_per_train_step: PositiveInt | None = None,
        episodes_before_training: NonNegativeInt = 0,
    ):
        """Prepares the compiled step.

        Args:
            agent: A `DeepQAgent`.
            replay: Gives as many transitions as are asked for.
            batch_size: See the class.
            env_steps_per_train_step: See the class.
            train_steps_per_group: See the class.
            targets_ahead: See the class.
            episodes_per_train_step: See the class.
            episodes_before_training: See the class.

        Raises:
            UserError: A group draws too many transitions, or the target network would change inside
                a group.
        """
        period = agent.target_update_period_train_steps
        require(
            period % train_steps_per_group == 0,
            "create_learner.train_steps_per_group",
            f"is {train_steps_per_group}, which does not divide "
            f"create_agent.target_update_period_train_steps ({period}); choose one that does.",
        )
        require(
            batch_size * train_steps_per_group <= _MOST_TRANSITIONS_OF_A_GROUP,
            "create_learner.batch_size",
            f"times train_steps_per_group is over {_MOST_TRANSITIONS_OF_A_GROUP:,}, which is more "
            "than can be drawn at once.",
        )
        self.batch_size = batch_size
        require(
            (env_steps_per_train_step is None) != (episodes_per_train_step is None),
            "create_learner.env_steps_per_train_step",
            "and episodes_per_train_step exclude each other: bind one, and the other to None.",
        )
        self.env_steps_per_train_step = env_steps_per_train_step
        self.episodes_per_train_step = episodes_per_train_step
        self.episodes_before_training = episodes_before_training
        self.train_steps_per_group = train_steps_per_group
        self.targets_ahead = targets_ahead
        self._agent = agent
        self._replay = replay

    def train_steps_due(self, env_steps_since_fill: int, episodes: int) -> int:
        """How many train steps, in whole groups, bring the agent to the update ratio; never < 0."""
        steps = 0
        if self.episodes_per_train_step is not None:
            steps = (episodes - self.episodes_before_training) // self.episodes_per_train_step
        elif self.env_steps_per_train_step is not None:
            steps = env_steps_since_fill // self.env_steps_per_train_step
        due = max(steps - int(self._agent.train_step_counter.numpy()), 0)
        return due - due % self.train_steps_per_group

    def train(self, train_steps: int) -> Metrics:
        """Takes train steps, each on a fresh batch.

        Args:
            train_steps: How many, a positive multiple of `train_steps_per_group`.

        Returns:
            Means over the train steps by the agent's `metric_names`, float32 scalars;
            `gradient_norm` is the mean over the last train step of each group.

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
        self._replay.samples_drawn.assign(group)
        drawn = self._replay.sample(self.batch_size * self.train_steps_per_group)
        batch = self._batch(drawn, place)
        arrays = {name: values.numpy() for name, values in batch._asdict().items()}
        arrays["q_values"] = self._agent.action_values(batch.observation).numpy()
        arrays["targets"] = self._agent.targets(batch).numpy()
        return Divergence(train_steps + 1, arrays)

    @tf.function
    def _train(self, groups: tf.Tensor) -> Metrics:
        sums = {name: tf.constant(0.0) for name in self._agent.metric_names}
        for _ in tf.range(groups):
            sums = tf.nest.map_structure(tf.add, sums, self._train_group())
        return tf.nest.map_structure(lambda total: total / tf.cast(groups, tf.float32), sums)

    # Nothing in here needs AutoGraph, and TF-Agents' code gives warnings when it is rewritten.
    @tf.autograph.experimental.do_not_convert
    def _train_group(self) -> Metrics:
        """Takes one group's train steps; returns their metrics."""
        steps = self.train_steps_per_group
        drawn = self._replay.sample(self.batch_size * steps)
        targets = self._targets(drawn)
        # Each batch's targets are asked for before the train step that precedes it, or they would
        # wait for it: a train step may write to the target network.
        prefetches = not self._agent.objective.needs_online
        ready = next(targets) if prefetches else None
        seen = []
        for place in range(steps):
            if prefetches:
                batch_targets, ready = ready, next(targets, ready)
            else:
                batch_targets = next(targets)
            batch = self._batch(drawn, place)
            info = self._agent.train_on_targets(batch, batch_targets)
            self._replay.update_priorities(batch.key, tf.abs(info.extra.td_error))
            seen.append(info)
        metrics = [{"loss": info.loss, **info.extra.metrics} for info in seen]
        means = {name: tf.add_n([each[name] for each in metrics]) / steps for name in metrics[0]}
        # A norm reads all of a gradient once more: one in a group is enough to watch.
        return {**means, "gradient_norm": metrics[-1]["gradient_norm"]}

    def _targets(self, drawn: Transitions) -> Iterator[tf.Tensor]:
        """The targets of a group's batches, one batch after the other."""
        steps = range(self.train_steps_per_group)
        needs_online = self._agent.objective.needs_online
        if not self.targets_ahead and not needs_online:
            every = self._agent.targets(drawn)
            yield from (self._batch(every, place) for place in steps)
            return
        before: list[tf.Tensor] = []
        for place in steps:
            # One after the other, or they would all be computed before the first train step.
            with tf.control_dependencies([] if needs_online else before):
                batch = tf.nest.map_structure(tf.identity, self._batch(drawn, place))
            before = [self._agent.targets(batch)]
            yield before[0]

    def _batch(self, values: Any, place: int) -> Any:
        """The part of a group's values that belongs to one of its train steps."""
        rows = slice(place * self.batch_size, (place + 1) * self.batch_size)
        return tf.nest.map_structure(lambda each: each[rows], values)
