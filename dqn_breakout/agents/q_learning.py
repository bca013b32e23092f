"""Q-learning with a target network (Mnih et al. 2015, Algorithm 1), double if so chosen."""

from __future__ import annotations

import dataclasses

import gin
import tensorflow as tf
from tf_agents.utils import common

from dqn_breakout.agents.objective import Loss, Network
from dqn_breakout.configurable import configurable
from dqn_breakout.replay.transitions import Transitions

_HUBER = common.element_wise_huber_loss


@configurable
@dataclasses.dataclass(frozen=True)
class QLearning:
    """The network's outputs are action values; the loss is Huber's with threshold 1.

    Mnih et al. 2015 (Methods, "Training algorithm") clip the error term of the update to [-1, 1].

    Attributes:
        double: Whether the trained network chooses the next action and the target network only
            says what it is worth (van Hasselt et al. 2016, Equation 4).
        squared: Whether the loss is the squared error instead.
    """

    double: bool = gin.REQUIRED
    squared: bool = False

    metric_names = ("mean_q",)

    @property
    def needs_online(self) -> bool:
        """The next action is the trained network's where it is double."""
        return self.double

    def targets(self, online: Network, target: Network, transitions: Transitions) -> tf.Tensor:
        """Algorithm 1's `y`: reward plus discount times the next state's value, float32 `(B,)`."""
        next_q_values = target(transitions.next_observation)
        if self.double:
            best_action = tf.argmax(online(transitions.next_observation), axis=-1)
            best = tf.gather(next_q_values, best_action, batch_dims=1)
        else:
            best = tf.reduce_max(next_q_values, axis=-1)
        return tf.stop_gradient(transitions.reward + transitions.discount * best)

    def loss(self, online: Network, transitions: Transitions, targets: tf.Tensor) -> Loss:
        """Huber's loss of each sample; see `Objective.loss`."""
        q_values = common.index_with_actions(
            online(transitions.observation), tf.cast(transitions.action, tf.int32)
        )
        of_error = common.element_wise_squared_loss if self.squared else _HUBER
        return Loss(
            per_sample=of_error(targets, q_values),
            td_error=targets - q_values,
            q_values=q_values,
            metrics={"mean_q": tf.reduce_mean(q_values)},
        )

    def action_values(self, outputs: tf.Tensor) -> tf.Tensor:
        """The outputs themselves."""
        return outputs
