"""How near each operation of the network comes to a large matrix product, on one thread.

    python -m benchmarks.operations --output FILE.json

Every convolution and matrix product of a train step alone, forward and both gradients, on as many
samples as one of the network's lanes has (a half batch in `breakout.gin`; dense layers take the
whole batch). TensorFlow's kernels bound what a train step can reach, however it is scheduled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import contestant, machine_speed, report

_ROUNDS = 9
_CALLS = 20


class Operation(NamedTuple):
    """One operation.

    Attributes:
        name: Layer and direction.
        call: Computes it.
        flops: Of one call; two per multiply-add.
        calls: How often a train step needs it.
    """

    name: str
    call: Callable[[], Any]
    flops: int
    calls: int


def main(arguments: Sequence[str]) -> int:
    """Times the operations of one configuration; see the module."""
    parser = report.ArgumentParser(prog="python -m benchmarks.operations", description=__doc__)
    parser.add_argument("--gin_file", action="append", help="as of train.py; default: breakout.gin")
    parser.add_argument("--gin_bindings", action="append", default=[], help="as of train.py")
    parser.add_argument("--output", type=Path, help="a JSON file for the result")
    options = parser.parse_args(arguments)
    report.check_output(options.output)
    files = options.gin_file or ["breakout.gin"]
    settings = {"gin_files": files, "gin_bindings": options.gin_bindings}
    result = report.header("operations", settings)

    from dqn_breakout import config, experiment  # noqa: F401  (registers all that gin may name)
    from dqn_breakout.environments.builder import create_environment

    config.parse(files, options.gin_bindings)
    contestant.use_tensorflow_threads(1)
    with config.building():
        environment = create_environment(1, "collection")
    shape = tuple(environment.observation_spec().shape)
    actions = int(environment.action_spec().maximum) + 1
    environment.close()
    # What Python and TensorFlow take to call anything; in training, one call has many operations.
    call_seconds = _processor_seconds(_nothing(), _CALLS)
    product = _large_product()
    peak = product.flops / (_processor_seconds(product.call, 1) - call_seconds)
    rows = [_row(each, call_seconds, peak) for each in operations(shape, actions)]
    train_step_ms = sum(row["train_step_ms"] for row in rows)
    result |= {
        "flops_per_second_of_one_thread": peak,
        "operations": rows,
        "train_step_ms": train_step_ms,
    }
    report.write(options.output, result)
    print(
        report.table(
            ["operation", "GFLOP/s", "of a large product", "ms of a train step"],
            [
                [
                    row["operation"],
                    f"{row['flops_per_second'] / 1e9:.0f}",
                    f"{row['share_of_peak']:.0%}",
                    f"{row['train_step_ms']:.2f}",
                ]
                for row in rows
            ],
        )
    )
    print(
        f"\nOne thread's large product: {peak / 1e9:.0f} GFLOP/s. These operations alone take "
        f"{train_step_ms:.1f} ms of a processor for a train step."
    )
    return 0


def operations(observation_shape: tuple[int, int, int], actions: int) -> Iterator[Operation]:
    """The operations of one train step of the configured network, its targets included.

    Args:
        observation_shape: `(height, width, channels)`.
        actions: How many the agent chooses from: the units of the output layer.
    """
    import tensorflow as tf

    from dqn_breakout import config

    batch = config.value("create_learner.batch_size")
    lanes = config.value("create_q_network.convolution_lanes", 1)
    samples = batch // lanes
    height, width, channels = observation_shape
    for place, (filters, kernel, stride) in enumerate(
        config.value("create_q_network.conv_layers"), 1
    ):
        out = (height - kernel) // stride + 1, (width - kernel) // stride + 1
        pictures = tf.random.stateless_uniform([samples, height, width, channels], (1, place))
        weights = tf.random.stateless_uniform([kernel, kernel, channels, filters], (2, place))
        gradient = tf.random.stateless_uniform([samples, *out, filters], (3, place))
        flops = 2 * samples * out[0] * out[1] * filters * kernel * kernel * channels

        # Bound at once: the loop goes on.
        def forward(x: Any = pictures, w: Any = weights, s: int = stride) -> Any:
            return tf.nn.conv2d(x, w, s, "VALID")

        def to_weights(
            x: Any = pictures, w: Any = weights, g: Any = gradient, s: int = stride
        ) -> Any:
            return tf.raw_ops.Conv2DBackpropFilter(
                input=x,
                filter_sizes=w.shape,
                out_backprop=g,
                strides=[1, s, s, 1],
                padding="VALID",
            )

        def to_pictures(
            x: Any = pictures, w: Any = weights, g: Any = gradient, s: int = stride
        ) -> Any:
            return tf.raw_ops.Conv2DBackpropInput(
                input_sizes=x.shape, filter=w, out_backprop=g, strides=[1, s, s, 1], padding="VALID"
            )

        # Forward twice: the Q-network, and the target network on the next observations.
        yield Operation(f"convolution {place}, forward", forward, flops, 2 * lanes)
        yield Operation(f"convolution {place}, gradient of weights", to_weights, flops, lanes)
        if place > 1:  # Nobody asks for the gradient of pixels.
            yield Operation(f"convolution {place}, gradient of input", to_pictures, flops, lanes)
        (height, width), channels = out, filters

    inputs = height * width * channels
    dense_layers = [*config.value("create_q_network.dense_units"), actions]
    for place, units in enumerate(dense_layers, 1):
        values = tf.random.stateless_uniform([batch, inputs], (4, place))
        weights = tf.random.stateless_uniform([inputs, units], (5, place))
        gradient = tf.random.stateless_uniform([batch, units], (6, place))
        flops = 2 * batch * inputs * units

        def dense(x: Any = values, w: Any = weights) -> Any:
            return tf.matmul(x, w)

        def dense_to_weights(x: Any = values, g: Any = gradient) -> Any:
            return tf.matmul(x, g, transpose_a=True)

        def dense_to_input(w: Any = weights, g: Any = gradient) -> Any:
            return tf.matmul(g, w, transpose_b=True)

        yield Operation(f"dense {place}, forward", dense, flops, 2)
        yield Operation(f"dense {place}, gradient of weights", dense_to_weights, flops, 1)
        yield Operation(f"dense {place}, gradient of input", dense_to_input, flops, 1)
        inputs = units


def _nothing() -> Callable[[], Any]:
    import tensorflow as tf

    value = tf.zeros([])
    return lambda: tf.identity(value)


def _large_product() -> Operation:
    import tensorflow as tf

    size = machine_speed.MATRIX
    matrix = tf.random.stateless_uniform([size, size], (7, 0))
    return Operation("large product", lambda: tf.matmul(matrix, matrix), 2 * size**3, 1)


def _row(operation: Operation, call_seconds: float, peak: float) -> dict[str, Any]:
    seconds = _processor_seconds(operation.call, _CALLS) - call_seconds
    speed = operation.flops / seconds
    return {
        "operation": operation.name,
        "flops_per_second": speed,
        "share_of_peak": speed / peak,
        "train_step_ms": 1e3 * seconds * operation.calls,
    }


def _processor_seconds(call: Callable[[], Any], calls: int) -> float:
    """Of one call, the median of rounds; a processor's time, since others may be at work."""
    import tensorflow as tf

    compute = tf.function(call, autograph=False)
    compute()
    rounds = []
    for _ in range(_ROUNDS):
        started = time.process_time()
        for _ in range(calls):
            compute()
        rounds.append((time.process_time() - started) / calls)
    return float(np.median(rounds))


if __name__ == "__main__":
    report.run(main)
