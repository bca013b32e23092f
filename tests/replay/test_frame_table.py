"""Rows that are written are the rows that are read."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from dqn_breakout.replay.frame_replay_buffer import FrameRow
from dqn_breakout.replay.frame_table import FrameTable


def test_rows_are_read_as_they_were_written() -> None:
    spec = {
        "frame": tf.TensorSpec([2, 3], tf.uint8, "frame"),
        "reward": tf.TensorSpec([], tf.float32, "reward"),
    }
    table = FrameTable(spec, capacity=5)
    assert [(variable.shape[0], variable.dtype) for variable in table.variables()] == [
        (5, tf.uint8),
        (5, tf.float32),
    ]
    frames = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
    rewards = np.array([1.0, 2.0, 3.0, 4.0], np.float32)
    table.write(tf.constant([4, 0, 2, 3], tf.int64), {"frame": frames, "reward": rewards})
    table.write(tf.constant([2], tf.int64), {"frame": frames[:1] + 100, "reward": [9.0]})
    read = table.read(tf.constant([[0, 4], [2, 0]], tf.int64))
    np.testing.assert_array_equal(
        read["frame"], [[frames[1], frames[0]], [frames[0] + 100, frames[1]]]
    )
    np.testing.assert_array_equal(read["reward"], [[2.0, 1.0], [9.0, 2.0]])


def test_fields_can_be_read_and_written_alone() -> None:
    scalar = tf.TensorShape([])
    spec = FrameRow(
        *(
            tf.TensorSpec(scalar, dtype, name)
            for name, dtype in zip(FrameRow._fields, [tf.uint8] * 4 + [tf.float32] * 2, strict=True)
        )
    )
    table = FrameTable(spec, capacity=3)
    rows = tf.constant([0, 1, 2], tf.int64)
    table.write(rows, FrameRow(*(np.full(3, place) for place in range(6))))
    table.write(tf.constant([1], tf.int64), [np.array([7], np.uint8)], [table.slots.action])
    np.testing.assert_array_equal(table.read(rows, table.slots.action), [2, 7, 2])
    np.testing.assert_array_equal(table.read(rows, table.slots.reward), [4, 4, 4])
    without_frame = table.read(rows, table.slots._replace(frame=()))
    assert without_frame.frame == ()
    np.testing.assert_array_equal(without_frame.discount, [5, 5, 5])
