"""The convolutional Q-network of Mnih et al. 2015 (Methods, "Model architecture")."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import gin
import tensorflow as tf
import tf_keras
from tf_agents.networks.q_network import QNetwork

from dqn_breakout import errors, seeding
from dqn_breakout.configurable import PositiveInt, check, configurable
from dqn_breakout.errors import UserError


@tf_keras.utils.register_keras_serializable(package="dqn_breakout")
class ScalePixels(tf_keras.layers.Layer):
    """uint8 pixels to float32 in [0, 1]."""

    def call(self, observation: tf.Tensor) -> tf.Tensor:
        """Scales an observation of any shape by 1/255."""
        return tf.cast(observation, tf.float32) * (1.0 / 255.0)


@configurable
def create_q_network(
    observation_spec: tf.TensorSpec,
    action_spec: tf.TensorSpec,
    seed: int,
    *,
    conv_layers: Sequence[tuple[int, int, int]] = gin.REQUIRED,
    dense_units: Sequence[int] = gin.REQUIRED,
) -> QNetwork:
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
        UserError: No such layers can be built on that observation.
    """
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
            preprocessing_layers=ScalePixels(),
            conv_layer_params=[(f, (k, k), s) for f, k, s in conv_layers],
            fc_layer_params=tuple(dense_units),
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
