"""The convolutional Q-network of Mnih et al. 2015 (Methods, "Model architecture")."""

from __future__ import annotations

from collections.abc import Sequence

import gin
import tensorflow as tf
import tf_keras
from tf_agents.networks import q_network as q_network_lib

from dqn_breakout import limits, seeding


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
) -> q_network_lib.QNetwork:
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
        limits.require(
            len(layer) == 3, "create_q_network.conv_layers", "needs (filters, kernel, stride) each"
        )
        for number in layer:
            limits.positive_int("create_q_network.conv_layers", number)
    for units in dense_units:
        limits.positive_int("create_q_network.dense_units", units)
    # Layers draw their seeds from TensorFlow's global stream while they are built, nowhere else.
    tf.random.set_seed(seeding.stream_key(seed, "network/initial weights"))
    network = q_network_lib.QNetwork(
        observation_spec,
        action_spec,
        preprocessing_layers=ScalePixels(),
        conv_layer_params=[(f, (k, k), s) for f, k, s in conv_layers],
        fc_layer_params=tuple(dense_units),
        name="QNetwork",
    )
    network.create_variables()
    return network


def forward_flops(q_network: q_network_lib.QNetwork, frame_shape: Sequence[int]) -> int:
    """Floating-point operations of one forward pass of one observation: two per multiply-add.

    18.7 million for the network of Mnih et al. 2015 with four actions.

    Args:
        q_network: A network that `create_q_network` built.
        frame_shape: `(height, width)` of an observation.
    """
    height, width = frame_shape
    flops = 0
    for layer in _layers(q_network):
        weights = layer.kernel.shape
        if isinstance(layer, tf_keras.layers.Conv2D):
            (size, _), (stride, _) = layer.kernel_size, layer.strides
            height, width = (height - size) // stride + 1, (width - size) // stride + 1
            flops += 2 * weights.num_elements() * height * width
        else:
            flops += 2 * weights.num_elements()
    return flops


def _layers(module: tf.Module) -> list[tf_keras.layers.Layer]:
    """All layers with a kernel, in the order of the forward pass."""
    layers = [layer for layer in module.submodules if hasattr(layer, "kernel")]
    order = {id(variable): place for place, variable in enumerate(module.variables)}
    return sorted(layers, key=lambda layer: order[id(layer.kernel)])
