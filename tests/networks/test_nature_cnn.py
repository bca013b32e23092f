"""The 2015 network: its shape, its numbers, its seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tf_agents.specs import tensor_spec

from dqn_breakout.errors import UserError
from dqn_breakout.networks.flops import forward_flops
from dqn_breakout.networks.nature_cnn import create_q_network

CONV_LAYERS = ((32, 8, 4), (64, 4, 2), (64, 3, 1))
ACTION_SPEC = tensor_spec.BoundedTensorSpec((), tf.int32, 0, 3)


def observation_spec(height: int = 84, width: int = 84) -> Any:
    return tensor_spec.BoundedTensorSpec((height, width, 4), tf.uint8, 0, 255)


def create(seed: int = 1, spec: Any = None, **changes: Any) -> Any:
    layers = {"conv_layers": CONV_LAYERS, "dense_units": (512,), **changes}
    return create_q_network(spec or observation_spec(), ACTION_SPEC, seed, **layers)


def create_small(seed: int = 1, **changes: Any) -> Any:
    layers = {"conv_layers": ((4, 3, 2), (6, 2, 1)), "dense_units": (16,), **changes}
    return create(seed, observation_spec(12, 12), **layers)


def observations(count: int = 3, height: int = 84, width: int = 84) -> np.ndarray:
    shape = (count, height, width, 4)
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def test_layers_are_those_of_the_paper() -> None:
    shapes = [tuple(variable.shape) for variable in create().trainable_variables]
    assert shapes == [
        (8, 8, 4, 32),
        (32,),
        (4, 4, 32, 64),
        (64,),
        (3, 3, 64, 64),
        (64,),
        (7 * 7 * 64, 512),
        (512,),
        (512, 4),
        (4,),
    ]


def test_values_are_those_of_the_formula() -> None:
    """Scaled pixels, rectified layers, linear outputs: written out with plain operations."""
    network = create()
    values, state = network(tf.constant(observations()))
    assert (values.dtype, values.shape, state) == (tf.float32, (3, 4), ())
    kernels = [variable.numpy() for variable in network.variables]
    hidden = tf.constant(observations(), tf.float32) / 255.0
    for place, (_, _, stride) in enumerate(CONV_LAYERS):
        kernel, bias = kernels[2 * place : 2 * place + 2]
        hidden = tf.nn.relu(tf.nn.conv2d(hidden, kernel, stride, "VALID") + bias)
    hidden = tf.reshape(hidden, [3, -1])
    hidden = tf.nn.relu(hidden @ kernels[6] + kernels[7])
    np.testing.assert_allclose(values, hidden @ kernels[8] + kernels[9], rtol=1e-4, atol=1e-5)
    assert float(tf.reduce_min(values)) < 0  # Outputs are not rectified.


def test_other_layers_and_frames() -> None:
    network = create(spec=observation_spec(10, 12), conv_layers=((5, 3, 2),), dense_units=(7, 6))
    assert [tuple(variable.shape) for variable in network.variables[::2]] == [
        (3, 3, 4, 5),
        (4 * 5 * 5, 7),
        (7, 6),
        (6, 4),
    ]
    only_dense = create(spec=observation_spec(3, 2), conv_layers=(), dense_units=(8,))
    assert tuple(only_dense.variables[0].shape) == (24, 8)
    assert only_dense(tf.constant(observations(5, 3, 2)))[0].shape == (5, 4)


def test_weights_come_from_the_seed_alone() -> None:
    tf.random.set_seed(100)
    first = [variable.numpy() for variable in create_small(1).variables]
    tf.random.set_seed(200)
    tf.random.uniform([3])
    again, other = (create_small(seed).variables for seed in (1, 2))
    for one, same in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, same)
    assert not any(np.array_equal(first[place], other[place]) for place in range(0, 8, 2))
    assert not np.array_equal(first[0][..., 0], first[0][..., 1])


def test_a_network_with_initializers_of_keras_own_comes_from_the_seed_too() -> None:
    """They draw from another global stream than TF-Agents'."""
    drawn = []
    for _ in range(2):
        create_small(1)
        drawn.append(tf_keras.initializers.GlorotUniform()((3, 4)).numpy())
    np.testing.assert_array_equal(*drawn)


def test_a_copy_has_weights_of_its_own() -> None:
    network = create_small()
    copy = network.copy(name="Copy")
    copy.create_variables()
    assert not {id(each) for each in network.variables} & {id(each) for each in copy.variables}
    assert [each.shape for each in copy.variables] == [each.shape for each in network.variables]


def test_flops_of_a_forward_pass() -> None:
    """Of the paper's network layer by layer, two for each multiply-add."""
    layers = [
        20 * 20 * 32 * 8 * 8 * 4,
        9 * 9 * 64 * 4 * 4 * 32,
        7 * 7 * 64 * 3 * 3 * 64,
        3136 * 512,
        512 * 4,
    ]
    frames = tf.TensorSpec([84, 84, 4], tf.uint8)
    assert forward_flops(create(), frames) == 2 * sum(layers)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("conv_layers", ((32, 8),)),
        ("conv_layers", ((32, 8, 0),)),
        ("conv_layers", ((32, 8.5, 4),)),
        ("conv_layers", (32, 8, 4)),
        ("conv_layers", None),
        ("conv_layers", ("328",)),
        ("conv_layers", ((10**9, 8, 4),)),
        # Nothing is left of the frame after the second layer.
        ("conv_layers", ((4, 8, 8), (4, 12, 1))),
        ("dense_units", "512"),
        ("dense_units", (0,)),
        ("dense_units", 512),
    ],
)
def test_layers_that_cannot_be_are_refused(parameter: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"create_q_network\b.*\b{parameter}\b"):
        create(**{parameter: value})
