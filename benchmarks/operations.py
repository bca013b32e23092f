"""How near each operation of the network comes to a large matrix product, on one thread.

    python -m benchmarks.operations --output FILE.json

Every convolution and matrix product of a train step alone, forward and both gradients. TensorFlow's
kernels bound what a train step can reach, however it is scheduled.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from benchmarks import floor, report
from benchmarks.floor import MATRIX, timed
from benchmarks.this_project import SMALL_REPLAY, ThisProject

_ROUNDS = 9
_CALLS = 20


class Operation(NamedTuple):
    """An operation, which a train step needs `calls` times; `flops` are those of one call."""

    name: str
    call: Callable[[], Any]
    flops: int
    calls: int


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Times the operations of one configuration."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    bindings = [*SMALL_REPLAY, *options.gin_bindings]
    project = ThisProject(options.gin_file, bindings, share=False)
    project.close()
    # What Python and TensorFlow take to call anything; in training, one call has many operations.
    nothing = tf.zeros([])
    call_seconds = _processor_seconds(lambda: tf.identity(nothing), _CALLS)
    matrix = tf.random.stateless_uniform([MATRIX, MATRIX], (7, 0))
    product_seconds = _processor_seconds(lambda: tf.matmul(matrix, matrix), 1) - call_seconds
    peak = 2 * MATRIX**3 / product_seconds
    rows = []
    for each in operations(project.layers, project.batch_size):
        seconds = _processor_seconds(each.call, _CALLS) - call_seconds
        rows.append(
            {
                "operation": each.name,
                "flops_per_second": each.flops / seconds,
                "share_of_peak": each.flops / seconds / peak,
                "train_step_ms": 1e3 * seconds * each.calls,
            }
        )
    return {
        "flops_per_second_of_one_thread": peak,
        "operations": rows,
        "train_step_ms": sum(row["train_step_ms"] for row in rows),
    }


def operations(layers: Sequence[floor.Layer], batch_size: int) -> Iterator[Operation]:
    """The operations of one train step of a network, its targets included."""
    for place, layer in enumerate(layers):
        for direction, call in _calls(layer, batch_size).items():
            if place == 0 and direction == "gradient of input":
                continue  # Nobody asks for the gradient of pixels.
            # Forward twice: the Q-network, and the target network on the next observations.
            calls = 2 if direction == "forward" else 1
            yield Operation(f"{layer.name}, {direction}", call, batch_size * layer.flops, calls)


def _calls(layer: floor.Layer, samples: int) -> dict[str, Callable[[], Any]]:
    import tensorflow as tf

    shapes = [samples, *layer.input_shape], layer.kernel_shape, [samples, *layer.output_shape]
    inputs, weights, gradient = (tf.random.stateless_uniform(shape, (1, 2)) for shape in shapes)

    def forward() -> Any:
        if len(layer.kernel_shape) == 4:
            return tf.nn.conv2d(inputs, weights, layer.stride, "VALID")
        return tf.matmul(inputs, weights)

    def gradient_of(source: Any) -> Any:
        # The forward pass is left out of the compiled graph: these gradients do not need it.
        with tf.GradientTape() as tape:
            tape.watch(source)
            outputs = forward()
        return tape.gradient(outputs, source, output_gradients=gradient)

    return {
        "forward": forward,
        "gradient of weights": lambda: gradient_of(weights),
        "gradient of input": lambda: gradient_of(inputs),
    }


def _processor_seconds(call: Callable[[], Any], calls: int) -> float:
    """Of one call, the median of rounds; a processor's time, since others may be at work."""
    import tensorflow as tf

    compute = tf.function(call, autograph=False)
    compute()
    return statistics.median(timed(compute, calls)[1] for _ in range(_ROUNDS))


def show(result: dict[str, Any]) -> None:
    """Prints the result as a table and a sentence."""
    report.table(result["operations"])
    print(
        f"One thread's large product: {result['flops_per_second_of_one_thread'] / 1e9:.0f} GFLOP/s"
        f"; a train step of these alone: {result['train_step_ms']:.1f} ms of a processor"
    )


if __name__ == "__main__":
    report.run(report.parser("operations", __doc__), measure, show)
