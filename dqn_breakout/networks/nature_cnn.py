"""The convolutional Q-network of Mnih et al. 2015 (Methods, "Model architecture")."""

from __future__ import annotations

from collections.abc import Sequence

import gin
import tensorflow as tf
import tf_keras
from tf_agents.networks import q_network

from dqn_breakout import config, seeding


@tf_keras.utils.register_keras_serializable(package="dqn_breakout")
class ScalePixels(tf_keras.layers.Layer):
    """uint8 pixels to float32 in [0, 1]."""

    def call(self, observation: tf.Tensor) -> tf.Tensor:
        """Scales an observation of any shape by 1/255."""
        return tf.cast(observation, tf.float32) * (1.0 / 255.0)


@gin.configurable
def create_q_network(
    observation_spec: tf.TensorSpec,
    action_spec: tf.TensorSpec,
    seed: int,
    *,
    conv_layers: Sequence[tuple[int, int, int]] = gin.REQUIRED,
    dense_units: Sequence[int] = gin.REQUIRED,
) -> q_network.QNetwork:
    """Builds a TF-Agents `QNetwork`: pixels scaled, convolutions, dense layers, linear outputs.

    Input uint8 `(B, height, width, S)`, output float32 `(B, actions)`. Every layer but the last is
    rectified. Weights are He-normal (truncated), TF-Agents' choice for this network; the last layer
    is small and uniform with bias -0.2. Both come from the run's seed.

    Args:
        observation_spec: The stacked observation's spec.
        action_spec: The action's spec.
        seed: The run's seed.
        conv_layers: `(filters, kernel size, stride)` of each convolution.
        dense_units: Units of each hidden dense layer.

    Raises:
        UserError: A layer is not made of positive whole numbers.
    """
    for layer in conv_layers:
        config.require(
            len(layer) == 3, "create_q_network.conv_layers", "needs (filters, kernel, stride) each"
        )
        for number in layer:
            config.positive_int("create_q_network.conv_layers", number)
    for units in dense_units:
        config.positive_int("create_q_network.dense_units", units)
    # Layers draw their seeds from TensorFlow's global stream while they are built, nowhere else.
    tf.random.set_seed(seeding.stream_key(seed, "network/initial weights"))
    network = q_network.QNetwork(
        observation_spec,
        action_spec,
        preprocessing_layers=ScalePixels(),
        conv_layer_params=[(f, (k, k), s) for f, k, s in conv_layers],
        fc_layer_params=tuple(dense_units),
        name="QNetwork",
    )
    network.create_variables()
    return network
