"""What a network costs: floating-point operations of a forward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def forward_flops(network: Callable[..., Any], observation_spec: tf.TensorSpec) -> int:
    """Floating-point operations of one forward pass of one observation, as TensorFlow counts them.

    18.8 million for the network of Mnih et al. 2015 with four actions: two per multiply-add, and
    one for each bias that is added.

    Args:
        network: Such as a `QNetwork`: called with observations `(1, ...)`.
        observation_spec: Spec of one observation.
    """
    batch = tf.TensorSpec([1, *observation_spec.shape], observation_spec.dtype)
    graph = tf.function(network, autograph=False).get_concrete_function(batch).graph
    profiler = tf.compat.v1.profiler
    options = profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    with graph.as_default():
        return int(profiler.profile(graph, cmd="op", options=options).total_float_ops)
