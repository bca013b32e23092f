"""Where replay rows lie, with frames compressed: a thirtieth of their bytes on Breakout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from dqn_breakout.configurable import configurable
from dqn_breakout.replay.compressed_frame_store import CompressedFrameStore
from dqn_breakout.replay.frame_table import FRAME, FrameTable

# What a frame takes is known only once it was played. 84x84 frames of Breakout take 236 bytes in
# random play and 213 where pretrained/breakout plays. Random play of other games: Pong 139,
# Seaquest 339, Space Invaders 857.
_COMPRESSED_FRAME_BYTES = 240


@configurable(name="compressed_frames")
class CompressedFrameTable(FrameTable):
    """`FrameTable` with the field named `frame` LZ4-compressed in host memory.

    Bind `create_replay_buffer.frame_table = @compressed_frames`. What is read is what `FrameTable`
    would read, to the last bit. Other fields lie in TensorFlow variables as there; `variables` has
    no frames.

    Other threads may read rows while one writes others; see `CompressedFrameStore`. Inside one
    `tf.function`, reads and writes happen in the order in which they are written down.

    Attributes:
        frames: Where the frames lie.
    """

    ESTIMATED = True

    def __init__(self, tensor_spec: Any, capacity: int):
        """Makes `capacity` rows of `tensor_spec`, a nest of named TensorSpecs.

        A field named `frame` must be uint8. There may be none: TFUniformReplayBuffer keeps its ids
        in a table of their own.
        """
        specs = tf.nest.flatten(tensor_spec)
        super().__init__([spec for spec in specs if spec.name != FRAME], capacity)
        self.slots = tf.nest.map_structure(lambda spec: spec.name, tensor_spec)
        for spec in specs:
            if spec.name == FRAME:
                self._frame_shape = spec.shape
                self.frames = CompressedFrameStore(tuple(spec.shape), int(capacity))
                # TensorFlow orders operations on a variable, but not calls of Python.
                self._turn = tf.Variable(0, trainable=False, dtype=tf.int64, name="frame_turn")

    @staticmethod
    def observation_bytes(spec: tf.TensorSpec) -> int:
        """Bytes that a stored frame takes, by an estimate: that of 84x84 frames of Breakout."""
        if spec.name != FRAME:
            return FrameTable.observation_bytes(spec)
        estimate = -(-spec.shape.num_elements() * _COMPRESSED_FRAME_BYTES // (84 * 84))
        return estimate + CompressedFrameStore.INDEX_BYTES

    def read(self, rows: tf.Tensor, slots: Any = None) -> Any:
        """Gathers rows; see `FrameTable.read`.

        Raises:
            InvalidArgumentError: A frame of a row that was never written is asked for.
        """
        read_others = super().read
        return tf.nest.map_structure(
            lambda slot: self._read_frames(rows) if slot == FRAME else read_others(rows, slot),
            slots or self.slots,
        )

    def write(self, rows: tf.Tensor, values: Any, slots: Any = None) -> tf.Operation:
        """Writes `values`, shaped `(len(rows), ...)`, into rows."""
        write_others = super().write
        writes = [
            self._write_frames(rows, value) if slot == FRAME else write_others(rows, value, slot)
            for slot, value in zip(
                tf.nest.flatten(slots or self.slots), tf.nest.flatten(values), strict=True
            )
        ]
        return tf.group(*writes)

    # AutoGraph would rewrite what is called through `tf.numpy_function`.
    @tf.autograph.experimental.do_not_convert
    def _read_frames(self, rows: tf.Tensor) -> tf.Tensor:
        rows = tf.convert_to_tensor(rows, tf.int64)
        frames = self._in_turn(self.frames.read, [rows], tf.uint8)
        frames.set_shape(rows.shape.concatenate(self._frame_shape))
        return frames

    @tf.autograph.experimental.do_not_convert
    def _write_frames(self, rows: tf.Tensor, frames: Any) -> tf.Operation:
        def write(rows: np.ndarray, frames: np.ndarray) -> np.ndarray:
            self.frames.write(rows, frames)
            return np.array(len(rows))

        arguments = [tf.convert_to_tensor(rows, tf.int64), tf.convert_to_tensor(frames, tf.uint8)]
        return self._in_turn(write, arguments, tf.int64)

    def _in_turn(
        self, function: Callable[..., np.ndarray], arguments: list[tf.Tensor], dtype: tf.DType
    ) -> tf.Tensor:
        """Calls Python after all reads and writes before it, and before all that follow."""
        with tf.control_dependencies([self._turn.read_value()]):
            result = tf.numpy_function(function, arguments, dtype)
        with tf.control_dependencies([result]):
            self._turn.assign_add(1)
        return result
