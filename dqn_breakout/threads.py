"""How many threads TensorFlow uses, and for what."""

from __future__ import annotations

import os

import tensorflow as tf

from dqn_breakout import config, limits


def processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def share(number: int | None = None) -> None:
    """Shares the processors among the lanes of a batch that gin asks for.

    Each lane has a thread of its own, and one more plays the games beside them. What processors are
    left help inside single operations.

    Args:
        number: Processors to use; None for all that this process may use.

    Raises:
        UserError: The number of lanes is no positive whole number.
        RuntimeError: TensorFlow has computed something already, and has its threads.
    """
    name = "create_q_network.convolution_lanes"
    lanes = limits.positive_int(name, config.value(name, 1))
    within_operations = max((number or processors()) // lanes, 1)
    tf.config.threading.set_intra_op_parallelism_threads(within_operations)
    tf.config.threading.set_inter_op_parallelism_threads(lanes + 1)
