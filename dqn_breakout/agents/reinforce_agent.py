"""REINFORCE: a network of action probabilities, trained by the returns of whole episodes.

Williams 1992; Géron 2019, "Hands-On Machine Learning", 2nd edition, chapter 18, "Policy Gradients".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gin
import tensorflow as tf
import tf_keras
from tf_agents.networks.sequential import Sequential
from tf_agents.trajectories import policy_step
from tf_agents.trajectories import time_step as ts

from dqn_breakout import seeding
from dqn_breakout.agents.exploration import Clock, CountedPolicy
from dqn_breakout.agents.network_agent import NetworkAgent
from dqn_breakout.configurable import Builder, PositiveInt, check, configurable, require


class SamplingPolicy(CountedPolicy):
    """Actions drawn by their probabilities."""

    def __init__(self, agent: ReinforceAgent, seed: int, stream: str):
        """Plays by `agent` as it is at each step."""
        super().__init__(agent.time_step_spec, agent.action_spec, seed, stream, "SamplingPolicy")
        self._agent = agent

    def _action(
        self, time_step: ts.TimeStep, policy_state: Any, seed: Any = None
    ) -> policy_step.PolicyStep:
        logits = tf.math.log(self._agent.action_values(time_step.observation))
        dtype = self.action_spec.dtype
        drawn = tf.random.stateless_categorical(logits, 1, self._next_seeds(1)[0], dtype)
        return policy_step.PolicyStep(drawn[:, 0], policy_state)


@configurable(name="create_reinforce_agent")
class ReinforceAgent(NetworkAgent):
    """Draws actions by a network's probabilities; what an action is worth is its probability."""

    metric_names = ("loss", "gradient_norm")

    def __init__(
        self,
        time_step_spec: ts.TimeStep,
        action_spec: Any,
        clock: Clock,
        seed: int,
        *,
        network: Builder = gin.REQUIRED,
        optimizer: Builder = gin.REQUIRED,
    ):
        """Takes a `network` such as `@create_policy_network`, an `optimizer` as `@create_adam`."""
        del clock
        self.time_step_spec = time_step_spec
        self.action_spec = action_spec
        self.q_network = network(time_step_spec.observation, action_spec, seed)
        self.final_epsilon = 0.0
        self.train_step_counter = tf.Variable(0, dtype=tf.int64, name="train_step")
        self._current_epsilon = lambda: tf.constant(0.0)
        self._optimizer = optimizer()

    def _values(self, outputs: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(_logits(outputs))

    def evaluation_policy(self, epsilon: float, seed: int, stream: str) -> SamplingPolicy:
        """Draws actions; it has no epsilon."""
        del epsilon
        return SamplingPolicy(self, seed, stream)

    @tf.function(reduce_retracing=True, autograph=False)
    def train(
        self, observations: tf.Tensor, actions: tf.Tensor, advantages: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """One step of gradient ascent on the mean of advantage times log-probability.

        Of `N` steps: observations `(N, ...)`, actions int32 `(N,)`, advantages float32 `(N,)`, how
        much better what was done is than usual. Gives metrics by `metric_names`.
        """
        with tf.GradientTape() as tape:
            outputs, _ = self.q_network(observations, training=True)
            surprise = tf.nn.sparse_softmax_cross_entropy_with_logits(actions, _logits(outputs))
            loss = tf.reduce_mean(advantages * surprise)
        variables = self.q_network.trainable_variables
        gradients = tape.gradient(loss, variables)
        self._optimizer.apply_gradients(zip(gradients, variables, strict=True))
        self.train_step_counter.assign_add(1)
        return {"loss": loss, "gradient_norm": tf.linalg.global_norm(gradients)}


def _logits(outputs: tf.Tensor) -> tf.Tensor:
    """Of all actions, `(B, actions)`: the last one's is 0, so that two actions need one output."""
    return tf.concat([outputs, tf.zeros_like(outputs[:, :1])], axis=1)


@configurable
def create_policy_network(
    observation_spec: tf.TensorSpec,
    action_spec: tf.TensorSpec,
    seed: int,
    *,
    dense_units: Sequence[int] = gin.REQUIRED,
) -> Sequential:
    """Dense layers of elu units, and one output less than there are actions.

    For two actions the sigmoid of the output is the probability of the first, as in Géron 2019.
    `dense_units` are those of each hidden layer.

    Raises:
        UserError: Observations are no list of numbers.
    """
    require(
        len(observation_spec.shape) == 1 and observation_spec.dtype.is_floating,
        "create_reinforce_agent.network",
        "takes observations that are a list of numbers, and this environment's are "
        f"{observation_spec.dtype.name} {tuple(observation_spec.shape)}.",
    )
    for units in dense_units:
        check("Each number in create_policy_network.dense_units", units, PositiveInt)
    tf_keras.utils.set_random_seed(seeding.stream_key(seed, "network/initial weights"))
    layers = [tf_keras.layers.Dense(units, activation="elu") for units in dense_units]
    outputs = tf_keras.layers.Dense(int(action_spec.maximum))
    network = Sequential([*layers, outputs], input_spec=observation_spec, name="PolicyNetwork")
    network.create_variables()
    return network
