"""What the machine can do at most: its matrix product, and the emulator without any DQN."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import contestant

# Rows and columns of a large product.
MATRIX = 2048
_PRODUCTS = 10
_EMULATOR_SECONDS = 5.0


def _start(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Callable[..., Any]]]:
    import dqn_breakout  # noqa: F401  (before TensorFlow)

    contestant.use_tensorflow_threads(settings["threads"])
    commands: dict[str, Callable[..., Any]] = {
        "peak": matrix_product_flops_per_second,
        "emulator": lambda num_environments: emulator(
            num_environments, settings["threads"], settings["seed"], _EMULATOR_SECONDS
        ),
    }
    return {}, commands


def matrix_product_flops_per_second() -> dict[str, float]:
    """The best of several fp32 products of 2048 x 2048 on all threads.

    Returns:
        `flops_per_second`, and `flops_per_processor_second`: of the time of all threads together.
    """
    import tensorflow as tf

    with tf.device("CPU"):
        matrix = tf.random.stateless_uniform([MATRIX, MATRIX], (1, 2))
        tf.matmul(matrix, matrix).numpy()
        taken = [_product_seconds(matrix) for _ in range(_PRODUCTS)]
    wall, processor = (min(seconds) for seconds in zip(*taken, strict=True))
    flops = 2.0 * MATRIX**3
    return {"flops_per_second": flops / wall, "flops_per_processor_second": flops / processor}


def _product_seconds(matrix: Any) -> tuple[float, float]:
    import tensorflow as tf

    wall, processor = time.perf_counter(), time.process_time()
    product = tf.matmul(matrix, matrix)
    product[0, 0].numpy()
    return time.perf_counter() - wall, time.process_time() - processor


def emulator(
    num_environments: int, threads: int | None, seed: int, seconds: float
) -> dict[str, float]:
    """ale-py's vector environment, preprocessing included, stepped with random actions.

    Args:
        num_environments: Games side by side.
        threads: Threads of the emulator; None for ale-py's own choice.
        seed: Of games and actions.
        seconds: How long.

    Returns:
        `env_steps_per_second`, and `processor_seconds_per_env_step`: those of all threads.
    """
    from ale_py.vector_env import AtariVectorEnv

    games = AtariVectorEnv(
        "breakout", num_environments, num_threads=threads or 0, stack_num=1, use_fire_reset=False
    )
    try:
        games.reset(seed=np.arange(seed, seed + num_environments))
        draw = np.random.default_rng(seed)
        actions = draw.integers(len(games.ale.get_action_set()), size=(1000, num_environments))
        actions = actions.astype(np.int32)
        for row in actions[:100]:
            games.step(row)
        steps, started, processor = 0, time.perf_counter(), time.process_time()
        while (passed := time.perf_counter() - started) < seconds or not steps:
            games.step(actions[steps % len(actions)])
            steps += 1
        processor = time.process_time() - processor
        return {
            "env_steps_per_second": steps * num_environments / passed,
            "processor_seconds_per_env_step": processor / (steps * num_environments),
        }
    finally:
        games.close()


if __name__ == "__main__":
    contestant.serve(_start)
