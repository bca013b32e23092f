"""How many threads TensorFlow uses, and for what."""

from __future__ import annotations

import tensorflow as tf

from dqn_breakout import config, limits, provenance


def share(number: int | None = None) -> None:
    """Shares the processors among the lanes of a batch that gin asks for.

    Each lane has a thread of its own; beside them one more plays the games, and one computes the
    targets of the next train step. What processors are left help inside single operations.

    Args:
        number: Processors to use; None for all that this process may use.

    Raises:
        UserError: The number of lanes is no positive whole number.
        RuntimeError: TensorFlow has computed something already, and has its threads.
    """
    name = "create_q_network.convolution_lanes"
    lanes = limits.positive_int(name, config.value(name, 1))
    within_operations = max((number or provenance.usable_cores()) // lanes, 1)
    tf.config.threading.set_intra_op_parallelism_threads(within_operations)
    tf.config.threading.set_inter_op_parallelism_threads(lanes + 2)
