"""Action values that are no network's: a table, and a rule written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gin
import numpy as np
import tensorflow as tf
import tf_keras
from tf_agents.networks import network
from tf_agents.networks.sequential import Sequential

from dqn_breakout.configurable import configurable, require


@configurable(name="create_q_table")
class QTable(network.Network):
    """A table of action values, one row a state.

    Attributes:
        table: Action values, float64 `(S, A)`.
        possible: Whether a state has an action, bool `(S, A)`; one that it has not is worth minus
            infinity.
    """

    def __init__(self, observation_spec: Any, action_spec: Any):
        """Builds a table of zeros.

        Raises:
            UserError: States are not numbered.
        """
        numbered = observation_spec.shape.rank == 0 and observation_spec.dtype.is_integer
        require(
            numbered,
            "create_value_agent.q_network",
            "is a table, and this environment's observations are "
            f"{observation_spec.dtype.name} {tuple(observation_spec.shape)}: a table needs states "
            "that are numbered, as FrozenLake-v1 has them; give a network.",
        )
        super().__init__(input_tensor_spec=observation_spec, state_spec=(), name="QTable")
        shape = int(observation_spec.maximum) + 1, int(action_spec.maximum) + 1
        self.table = tf.Variable(np.zeros(shape), trainable=False, name="table")
        self.possible = tf.Variable(np.ones(shape, bool), trainable=False, name="possible")

    def call(
        self, observation: Any, step_type: Any = None, network_state: Any = (), training: Any = None
    ) -> tuple[tf.Tensor, Any]:
        """Action values, float64 `(B, A)`, of states `(B,)`."""
        del step_type, training
        q_values = tf.where(self.possible, self.table, tf.constant(-np.inf, tf.float64))
        return tf.gather(q_values, observation), network_state

    def values(self) -> np.ndarray:
        """The table with minus infinity where an action is not possible, float64 `(S, A)`."""
        return np.where(self.possible.numpy(), self.table.numpy(), -np.inf)

    def assign(self, q_values: np.ndarray) -> None:
        """Takes a table as `values` gives it."""
        possible = q_values > -np.inf
        self.possible.assign(possible)
        self.table.assign(np.where(possible, q_values, 0.0))


@configurable
def create_rule(
    observation_spec: Any, action_spec: Any, *, weights: Sequence[Sequence[float]] = gin.REQUIRED
) -> Sequential:
    """A rule written by hand: actions are worth observations times weights that nobody learns.

    Observations are `(N,)`; weights have a row for each of its numbers, and in it one number for
    each action.

    Raises:
        UserError: They are of another shape.
    """
    shape = (*observation_spec.shape, int(action_spec.maximum) + 1)
    values = np.array(weights, np.float32)
    require(
        values.shape == shape,
        "create_rule.weights",
        f"has the shape {values.shape}, and this environment's observations and actions need "
        f"{shape}.",
    )
    by_hand = tf_keras.layers.Dense(
        shape[-1],
        use_bias=False,
        kernel_initializer=tf_keras.initializers.Constant(values),
        trainable=False,
    )
    return Sequential([by_hand], input_spec=observation_spec, name="Rule")
