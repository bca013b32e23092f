"""How fast a run will be, guessed before it has begun."""

from __future__ import annotations

import time

import tensorflow as tf

from dqn_breakout import machine

# Measured on two cores: convolutions of this size reach about half of the matrix product's speed.
_SHARE_OF_PEAK = 0.5
_MATRIX = 1024
_PRODUCTS = 8


def env_steps_per_second(
    forward_flops: float, batch_size: int, env_steps_per_train_step: int
) -> float:
    """A guess at environment steps a second while training on a CPU, from its matrix product.

    A train step costs each sample two forward passes (network and target) and a backward pass of
    about one and two thirds of one, as the first layer needs no gradient of its input.

    Args:
        forward_flops: Floating-point operations of one forward pass.
        batch_size: Transitions of a train step.
        env_steps_per_train_step: Environment steps for one train step.
    """
    train_step = 3.64 * forward_flops * batch_size
    per_env_step = train_step / env_steps_per_train_step + forward_flops
    return _peak_flops() * _SHARE_OF_PEAK / per_env_step


def _peak_flops() -> float:
    matrix = tf.ones([_MATRIX, _MATRIX])
    tf.matmul(matrix, matrix)
    started = time.perf_counter()
    for _ in range(_PRODUCTS):
        product = tf.matmul(matrix, matrix)
    product.numpy()
    speed = _PRODUCTS * 2.0 * _MATRIX**3 / (time.perf_counter() - started)
    # One product uses the threads within operations; lanes of a batch use all processors.
    processors = machine.usable_cores()
    used = tf.config.threading.get_intra_op_parallelism_threads() or processors
    return speed * processors / min(used, processors)
