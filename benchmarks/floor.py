"""The floor: what an update takes at least, and what this machine can do at most."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

import dqn_breakout  # noqa: F401  (before TensorFlow)
from benchmarks import contestant

# Rows and columns of a large product.
MATRIX = 2048
FLOOR_FORMULA = (
    "share = updates_per_second * batch_size * flops_per_sample / matrix_product_flops_per_second; "
    "flops_per_sample = 4 * forward_flops - first_layer_flops: the target network forward, the "
    "network forward, the weights' gradients as much again, and the gradients of the inputs of all "
    "layers but the first"
)


class Layer(NamedTuple):
    """A layer with a kernel.

    Attributes:
        name: "convolution 1", "dense 2", counted by kind.
        kernel_shape: `(size, size, channels, filters)` or `(inputs, units)`.
        stride: Of a convolution; 1 of a dense layer.
        input_shape: Of one sample: `(height, width, channels)` or `(inputs,)`.
        output_shape: `(height, width, filters)` or `(units,)`.
    """

    name: str
    kernel_shape: tuple[int, ...]
    stride: int
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]

    @property
    def flops(self) -> int:
        """Operations of a sample's forward pass, two a multiply-add; either gradient's as well."""
        return 2 * math.prod(self.kernel_shape) * math.prod(self.output_shape[:-1])


def layers(network: Any, observation_shape: Sequence[int]) -> list[Layer]:
    """The layers of a Keras network: convolutions without padding, then dense ones."""
    by_kernel = {id(each.kernel): each for each in network.submodules if hasattr(each, "kernel")}
    found: list[Layer] = []
    shape = tuple(observation_shape)
    for weights in network.trainable_weights:
        if id(weights) not in by_kernel:
            continue  # A bias.
        kernel, stride = tuple(weights.shape), 1
        kind = "convolution" if len(kernel) == 4 else "dense"
        outputs = kernel[-1:]
        if kind == "convolution":
            stride = by_kernel[id(weights)].strides[0]
            outputs = (*((side - kernel[0]) // stride + 1 for side in shape[:2]), *outputs)
        else:
            shape = (math.prod(shape),)
        number = 1 + sum(each.name.startswith(kind) for each in found)
        found.append(Layer(f"{kind} {number}", kernel, stride, shape, outputs))
        shape = outputs
    return found


def flops_per_sample(network: Sequence[Layer]) -> int:
    """Operations that one sample of an update takes; see `FLOOR_FORMULA`."""
    return 4 * sum(layer.flops for layer in network) - network[0].flops


def timed(call: Callable[[], Any], calls: int = 1) -> tuple[float, float]:
    """Wall seconds and processor seconds, of all threads together, of one call of several."""
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(calls):
        call()
    return (time.perf_counter() - wall) / calls, (time.process_time() - processor) / calls


class MachineSpeed:
    """Measures the machine, between the rounds of contestants in a process of its own."""

    def product(self) -> dict[str, float]:
        """The best of several fp32 products of 2048 x 2048 on all threads.

        Returns:
            `flops_per_second`, and `flops_per_processor_second`: of the time of all threads.
        """
        import tensorflow as tf

        with tf.device("CPU"):
            matrix = tf.random.stateless_uniform([MATRIX, MATRIX], (1, 2))
            taken = [timed(lambda: tf.matmul(matrix, matrix)[0, 0].numpy()) for _ in range(11)]
        # The first one also makes threads and takes memory.
        wall, processor = (min(seconds[1:]) for seconds in zip(*taken, strict=True))
        flops = 2.0 * MATRIX**3
        return {"flops_per_second": flops / wall, "flops_per_processor_second": flops / processor}

    def emulator(self, num_environments: int, env_steps: int) -> dict[str, float]:
        """ale-py's vector environment, preprocessing included, stepped with random actions.

        Returns:
            `env_steps_per_second`, and `processor_seconds_per_env_step`: those of all threads.
        """
        from ale_py.vector_env import AtariVectorEnv

        games = AtariVectorEnv("breakout", num_environments, stack_num=1, use_fire_reset=False)
        games.reset(seed=np.arange(num_environments))
        shape = (1000, num_environments)
        drawn = np.random.default_rng(1).integers(len(games.ale.get_action_set()), size=shape)
        actions = itertools.cycle(drawn.astype(np.int32))
        timed(lambda: games.step(next(actions)), 100)
        calls = -(-env_steps // num_environments)
        wall, processor = timed(lambda: games.step(next(actions)), calls)
        games.close()
        return {
            "env_steps_per_second": num_environments / wall,
            "processor_seconds_per_env_step": processor / num_environments,
        }


if __name__ == "__main__":
    contestant.serve(lambda _: MachineSpeed())
