"""Where replay rows lie: one array per field, memory taken as rows are written."""

from __future__ import annotations

from typing import Any

import gin
import numpy as np
import tensorflow as tf
from tf_agents.utils import common

from dqn_breakout import errors, limits
from dqn_breakout.errors import UserError

# The name of the field that takes nearly all of a replay buffer's memory.
FRAME = "frame"


class FrameTable(tf.Module):
    """Rows of nested tensors in TensorFlow variables; a `table_fn` for TFUniformReplayBuffer.

    TF-Agents' own table fills its storage with zeros, which takes all of its memory at once. This
    one leaves it untouched, so that the process grows with what is stored.

    Never read a whole variable of it: TensorFlow would copy gigabytes. `read` gathers rows.

    Attributes:
        ESTIMATED: Whether `frame_bytes` depends on what is stored.
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
    def frame_bytes(frame_shape: tuple[int, ...]) -> int:
        """Bytes that a stored frame takes."""
        return int(np.prod(frame_shape))

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


@gin.configurable
def plain_frames() -> type[FrameTable]:
    """Frames as they are; bind `create_replay_buffer.frame_table = @plain_frames`."""
    return FrameTable


def chosen_table(parameter: str, builder: Any) -> type[FrameTable]:
    """The table that `@plain_frames` or another configurable of its kind stands for.

    Args:
        parameter: The binding's name.
        builder: What is bound to it.

    Raises:
        UserError: It is something else, such as a name without the `@` or with `()`.
    """
    choices = "write @plain_frames or @compressed_frames"
    if isinstance(builder, str):
        raise UserError(
            f"{parameter} is the text {errors.shown(builder)}; {choices}, without quotes."
        )
    if isinstance(builder, type) and issubclass(builder, FrameTable):
        raise UserError(f"{parameter} is given with () behind it; {choices}, without ().")
    limits.require(callable(builder), parameter, f"is {errors.shown(builder)}; {choices}.")
    table = builder()
    if not (isinstance(table, type) and issubclass(table, FrameTable)):
        raise UserError(f"{parameter} is bound to what makes no frame table; {choices}.")
    return table
