"""The convolutional Q-network of Mnih et al. 2015 (Methods, "Model architecture")."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import gin
import tensorflow as tf
import tf_keras
from tf_agents.networks import q_network as q_network_lib

from dqn_breakout import errors, seeding
from dqn_breakout.configurable import PositiveInt, check, configurable
from dqn_breakout.errors import UserError


@tf_keras.utils.register_keras_serializable(package="dqn_breakout")
class ScalePixels(tf_keras.layers.Layer):
    """uint8 pixels to float32 in [0, 1]."""

    def call(self, observation: tf.Tensor) -> tf.Tensor:
        """Scales an observation of any shape by 1/255."""
        return tf.cast(observation, tf.float32) * (1.0 / 255.0)


class LanedQNetwork(q_network_lib.QNetwork):
    """A `QNetwork` that takes parts of a batch through its convolutions side by side.

    TensorFlow shares each operation's work among its threads and waits for all of them before the
    next. On so small a network the waiting takes a fifth of the time. A lane takes its part of the
    batch through all convolutions, and back in a gradient, without waiting for the others. With as
    many processors as lanes it does so on one thread; with more, each of its operations still is
    shared among some of them (`machine.share_threads`), and waits for those. The dense layers,
    which have nearly all of the weights, take the whole batch. What comes out differs by rounding
    alone.

    A graph for batches of any size, such as one that TF-Agents' `PolicySaver` exports, has no size
    to split when it is traced: there a batch takes one lane, which is correct and only slower. The
    graphs of training, collection and evaluation know their sizes.
    """

    def __init__(self, *, convolution_lanes: int, **arguments: Any):
        """Builds a QNetwork whose batches are split into `convolution_lanes` parts."""
        super().__init__(**arguments)
        self._convolution_lanes = convolution_lanes

    def call(
        self,
        observation: Any,
        step_type: Any = None,
        network_state: Any = (),
        training: bool = False,
    ) -> tuple[tf.Tensor, Any]:
        """See QNetwork.call; a batch of unknown size takes one lane (see the class)."""
        batch_size = observation.shape[0]
        if self._convolution_lanes == 1 or batch_size is None:
            return super().call(observation, step_type, network_state, training)
        encoder, head = self.layers
        flatten = next(
            place
            for place, layer in enumerate(encoder.layers)
            if isinstance(layer, tf_keras.layers.Flatten)
        )
        lanes = min(self._convolution_lanes, batch_size)
        bounds = [batch_size * lane // lanes for lane in range(lanes + 1)]
        parts = []
        for start, stop in itertools.pairwise(bounds):
            values = observation[start:stop]
            for layer in encoder.layers[: flatten + 1]:
                values = layer(values, training=training)
            parts.append(values)
        values = tf.concat(parts, axis=0)
        for layer in [*encoder.layers[flatten + 1 :], head]:
            values = layer(values, training=training)
        return values, network_state


@configurable
def create_q_network(
    observation_spec: tf.TensorSpec,
    action_spec: tf.TensorSpec,
    seed: int,
    *,
    conv_layers: Sequence[tuple[int, int, int]] = gin.REQUIRED,
    dense_units: Sequence[int] = gin.REQUIRED,
    convolution_lanes: PositiveInt = gin.REQUIRED,
) -> LanedQNetwork:
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
        convolution_lanes: How many parts of a batch go through the convolutions side by side; see
            `LanedQNetwork`. It is no number of the algorithm.

    Raises:
        UserError: No such layers can be built on that observation.
    """
    # Layers draw their seeds from TensorFlow's global stream while they are built, nowhere else.
    tf.random.set_seed(seeding.stream_key(seed, "network/initial weights"))
    try:
        # Keras takes the text '512' for layers of 5, 1 and 2 units, and a layer of none for one.
        for number in (*itertools.chain(*conv_layers), *dense_units):
            numbers = "Each number in create_q_network.conv_layers and dense_units"
            check(numbers, number, PositiveInt)
        network = LanedQNetwork(
            input_tensor_spec=observation_spec,
            action_spec=action_spec,
            preprocessing_layers=ScalePixels(),
            conv_layer_params=[(f, (k, k), s) for f, k, s in conv_layers],
            fc_layer_params=tuple(dense_units),
            convolution_lanes=convolution_lanes,
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
