"""How fast a run will be, guessed before it has begun."""

from __future__ import annotations

import time

import tensorflow as tf

# Measured on two cores: convolutions of this size reach about half of the matrix product's speed.
_SHARE_OF_PEAK = 0.5
_MATRIX = 1024
_PRODUCTS = 8


def env_steps_per_second(flops_per_env_step: float | None) -> float | None:
    """A guess at environment steps a second while training on a CPU, from its matrix product."""
    if flops_per_env_step is None:
        return None
    return _peak_flops() * _SHARE_OF_PEAK / flops_per_env_step


def _peak_flops() -> float:
    matrix = tf.ones([_MATRIX, _MATRIX])
    tf.matmul(matrix, matrix)
    started = time.perf_counter()
    for _ in range(_PRODUCTS):
        product = tf.matmul(matrix, matrix)
    product.numpy()
    return _PRODUCTS * 2.0 * _MATRIX**3 / (time.perf_counter() - started)
