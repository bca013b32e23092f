"""Where replay rows lie: one array per field, memory taken as rows are written."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tf_agents.utils import common

from dqn_breakout.configurable import configurable, require

# The name of the field that takes nearly all of a replay buffer's memory.
FRAME = "frame"


@configurable(name="plain_frames")
class FrameTable(tf.Module):
    """Rows of nested tensors in TensorFlow variables; a `table_fn` for TFUniformReplayBuffer.

    Bind `create_replay_buffer.frame_table = @plain_frames`.

    TF-Agents' own table fills its storage with zeros, which takes all of its memory at once. This
    one leaves it untouched, so that the process grows with what is stored.

    Never read a whole variable of it: TensorFlow would copy gigabytes. `read` gathers rows.

    Attributes:
        ESTIMATED: Whether `observation_bytes` depends on what is stored.
    """

    ESTIMATED = False

    def __init__(self, tensor_spec: Any, capacity: int):
        """Allocates `capacity` rows of `tensor_spec`, a nest of named TensorSpecs."""
        super().__init__(name="FrameTable")
        self.slots = tf.nest.map_structure(lambda spec: spec.name, tensor_spec)

        def allocate(spec: tf.TensorSpec) -> tf.Variable:
            shape = [int(capacity), *spec.shape.as_list()]
            return common.create_variable(
                name=spec.name,
                initializer=tf.raw_ops.Empty(shape=shape, dtype=spec.dtype, init=False),
                shape=None,
                dtype=spec.dtype,
                unique_name=False,
            )

        self._storage = {spec.name: allocate(spec) for spec in tf.nest.flatten(tensor_spec)}

    @staticmethod
    def observation_bytes(spec: tf.TensorSpec) -> int:
        """Bytes that what is stored of an observation takes."""
        return int(spec.shape.num_elements() * spec.dtype.size)

    def variables(self) -> list[tf.Variable]:
        """The storage, one variable per field."""
        return list(self._storage.values())

    def read(self, rows: tf.Tensor, slots: Any = None) -> Any:
        """Gathers rows.

        Args:
            rows: int64 row numbers of any shape.
            slots: Names of the fields wanted, as a nest; all fields where None.

        Returns:
            A nest like `slots`, each tensor shaped `(*rows.shape, *field shape)`.
        """
        return tf.nest.map_structure(
            lambda slot: self._storage[slot].sparse_read(rows), slots or self.slots
        )

    def write(self, rows: tf.Tensor, values: Any, slots: Any = None) -> tf.Operation:
        """Writes `values`, shaped `(len(rows), ...)`, into rows."""
        writes = [
            tf.compat.v1.scatter_update(self._storage[slot], rows, value).op
            for slot, value in zip(
                tf.nest.flatten(slots or self.slots), tf.nest.flatten(values), strict=True
            )
        ]
        return tf.group(*writes)


def check_table(table: object) -> None:
    """Refuses what `create_replay_buffer.frame_table` cannot be bound to.

    Raises:
        UserError: It is no frame table.
    """
    require(
        isinstance(table, type) and issubclass(table, FrameTable),
        "create_replay_buffer.frame_table",
        "must be @plain_frames or @compressed_frames, without quotes or brackets.",
    )
