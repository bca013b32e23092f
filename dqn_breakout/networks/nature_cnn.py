"""Q-networks: the convolutions of Mnih et al. 2015 (Methods, "Model architecture"), or none."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import gin
import numpy as np
import tensorflow as tf
import tf_keras
from tf_agents.networks.q_network import QNetwork

from dqn_breakout import errors, seeding
from dqn_breakout.configurable import PositiveInt, check, configurable, one_of, require
from dqn_breakout.errors import UserError

_ACTIVATIONS = ("relu", "elu", "tanh")


@tf_keras.utils.register_keras_serializable(package="dqn_breakout")
class Scale(tf_keras.layers.Layer):
    """Observations to float32, divided by a number, or each of theirs by its own."""

    def __init__(self, divisors: float | Sequence[float] = 255.0, **arguments: Any):
        """Divides by `divisors`; pixels by 255."""
        super().__init__(**arguments)
        self._divisors = divisors

    def call(self, observation: tf.Tensor) -> tf.Tensor:
        """Scales observations of any shape."""
        return tf.cast(observation, tf.float32) * (1.0 / np.array(self._divisors)).astype("f4")

    def get_config(self) -> dict[str, Any]:
        """What the layer is built anew from."""
        return {**super().get_config(), "divisors": self._divisors}


@configurable
def create_q_network(
    observation_spec: tf.TensorSpec,
    action_spec: tf.TensorSpec,
    seed: int,
    *,
    conv_layers: Sequence[tuple[int, int, int]] = gin.REQUIRED,
    dense_units: Sequence[int] = gin.REQUIRED,
    activation: str = "relu",
    observation_scale: Sequence[float] | None = None,
) -> QNetwork:
    """Builds a TF-Agents `QNetwork`: inputs scaled, convolutions, dense layers, linear outputs.

    Input pictures uint8 `(B, height, width, S)`, or numbers `(B, N)` where there are no
    convolutions; output float32 `(B, actions)`. Weights are He-normal (truncated), TF-Agents'
    choice for this network; the last layer is small and uniform with bias -0.2. Both come from the
    run's seed.

    Args:
        observation_spec: The stacked observation's spec.
        action_spec: The action's spec.
        seed: The run's seed.
        conv_layers: `(filters, kernel size, stride)` of each convolution.
        dense_units: Units of each hidden dense layer.
        activation: Of every layer but the last: "relu", "elu" or "tanh".
        observation_scale: What each number of an observation is divided by; None for 255 of pixels
            and for 1 of anything else.

    Raises:
        UserError: No such layers can be built on that observation.
    """
    one_of("create_q_network.activation", activation, _ACTIVATIONS)
    require(
        observation_spec.shape.rank > 0,
        "create_agent.q_network",
        "is a network, and this environment's observations are the numbers of its states: learn a "
        "table, as frozen_lake.gin does.",
    )
    pixels = observation_spec.dtype == tf.uint8
    divisors = observation_scale or (255.0 if pixels else 1.0)
    # Layers draw their seeds from global streams while they are built, nowhere else: TF-Agents'
    # from TensorFlow's, Keras' from one that `tf.random.set_seed` does not set.
    tf_keras.utils.set_random_seed(seeding.stream_key(seed, "network/initial weights"))
    try:
        # Keras takes the text '512' for layers of 5, 1 and 2 units, and a layer of none for one.
        for number in (*itertools.chain(*conv_layers), *dense_units):
            numbers = "Each number in create_q_network.conv_layers and dense_units"
            check(numbers, number, PositiveInt)
        network = QNetwork(
            input_tensor_spec=observation_spec,
            action_spec=action_spec,
            preprocessing_layers=Scale(divisors),
            conv_layer_params=[(f, (k, k), s) for f, k, s in conv_layers],
            fc_layer_params=tuple(dense_units),
            activation_fn=getattr(tf_keras.activations, activation),
            name="QNetwork",
        )
        network.create_variables()
    except (TypeError, ValueError, tf.errors.OpError) as error:
        raise UserError(
            f"create_q_network cannot build conv_layers = {errors.shown(conv_layers)} and "
            f"dense_units = {errors.shown(dense_units)} on observations "
            f"{tuple(observation_spec.shape)} ({errors.first_line(error)}). A layer of the first "
            "is (filters, kernel size, stride), and of the second a number of units; kernels must "
            "fit into what the layers before leave of the picture."
        ) from error
    return network
