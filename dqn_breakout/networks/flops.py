"""What a network costs: floating-point operations of a forward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def forward_flops(network: Callable[..., Any], observation_spec: tf.TensorSpec) -> int:
    """Floating-point operations of one observation's products and convolutions.

    Two per multiply-add: 18.7 million for the network of Mnih et al. 2015 with four actions.

    Args:
        network: Such as a `QNetwork`: called with observations `(1, ...)`.
        observation_spec: Spec of one observation.
    """
    batch = tf.TensorSpec([1, *observation_spec.shape], observation_spec.dtype)
    graph = tf.function(network, autograph=False).get_concrete_function(batch).graph
    flops = 0
    for operation in graph.get_operations():
        if operation.type in ("Conv2D", "MatMul"):
            kernel, result = operation.inputs[1].shape, operation.outputs[0].shape
            # Each number of the kernel is used once for each place of the result.
            flops += 2 * kernel.num_elements() * result.num_elements() // result[-1]
    return flops
