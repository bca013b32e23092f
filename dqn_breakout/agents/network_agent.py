"""Whoever acts by a network of action values: what evaluation asks of an agent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gin
import tensorflow as tf
from tf_agents.trajectories import time_step as ts

from dqn_breakout.agents.exploration import Clock, EpsilonGreedyPolicy, epsilon_schedule
from dqn_breakout.configurable import Builder, Fraction, PositiveInt, configurable


class NetworkAgent:
    """Acts on what a network gives, which `_values` makes action values of.

    Attributes:
        time_step_spec: Spec of the environment's time steps.
        action_spec: Spec of one action.
        q_network: The network.
        final_epsilon: Epsilon once it has decayed.
        train_step_counter: Train steps so far, int64.
    """

    time_step_spec: Any
    action_spec: Any
    q_network: Any
    final_epsilon: float
    train_step_counter: Any
    _current_epsilon: Callable[[], tf.Tensor]
    _optimizer: Any = None

    @property
    def epsilon(self) -> float:
        """Epsilon now."""
        return float(self._current_epsilon().numpy())

    def _values(self, outputs: tf.Tensor) -> tf.Tensor:
        return outputs

    def action_values(self, observation: Any) -> tf.Tensor:
        """What each action is worth, float `(B, actions)`, for observations `(B, ...)`."""
        return self._values(self.q_network(observation)[0])

    def evaluation_policy(self, epsilon: float, seed: int, stream: str) -> EpsilonGreedyPolicy:
        """Plays by the network as it is at each step, and at random with a chance of `epsilon`.

        Args:
            epsilon: Chance of a uniform random action.
            seed: The seed of the random stream.
            stream: Its name.
        """
        return EpsilonGreedyPolicy(
            self.time_step_spec,
            self.action_spec,
            self.q_network,
            self._values,
            lambda: tf.constant(epsilon, tf.float32),
            seed,
            stream,
        )

    def network_variables(self) -> dict[str, tf.Variable]:
        """The network's weights by name, in their order."""
        return {f"{place:03d}": each for place, each in enumerate(self.q_network.variables)}

    def state_variables(self) -> dict[str, tf.Variable]:
        """Everything that learning goes on from, by name, but for the network itself."""
        named = {"train_step": self.train_step_counter}
        if self._optimizer is not None:
            # Keras makes them at the first step; a fresh agent may be restored.
            self._optimizer._create_all_weights(self.q_network.trainable_variables)
            for place, variable in enumerate(self._optimizer.variables()):
                named[f"optimizer/{place:03d}"] = variable
        return named


@configurable(name="create_value_agent")
class ValueAgent(NetworkAgent):
    """Acts epsilon-greedily on values that someone else finds: a table's, or a rule's."""

    def __init__(
        self,
        time_step_spec: ts.TimeStep,
        action_spec: Any,
        clock: Clock,
        seed: int,
        *,
        q_network: Builder = gin.REQUIRED,
        epsilon_initial: Fraction = gin.REQUIRED,
        epsilon_final: Fraction = gin.REQUIRED,
        epsilon_decay_env_steps: PositiveInt = gin.REQUIRED,
    ):
        """Acts on a `q_network` such as `@create_q_table`; see `DeepQAgent` for the others."""
        del seed
        self.time_step_spec = time_step_spec
        self.action_spec = action_spec
        self.q_network = q_network(time_step_spec.observation, action_spec)
        self.q_network.create_variables()
        self.final_epsilon = epsilon_final
        self.train_step_counter = tf.Variable(0, dtype=tf.int64, name="train_step")
        self._current_epsilon = epsilon_schedule(
            clock, epsilon_initial, epsilon_final, epsilon_decay_env_steps, None
        )
