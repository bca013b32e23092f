"""How replay keeps observations, and how it gives back the two of a transition."""

from __future__ import annotations

import sys
from typing import Any

import tensorflow as tf
from tf_agents.trajectories import time_step as ts

from dqn_breakout.replay.frame_table import FRAME, FrameTable

_FRAMES_IN_A_WORD = 4


class StackedFrames:
    """Observations of frames, the newest last: each frame is stored once.

    A stack of four would otherwise be stored four times: 28 kB a step of Atari instead of 7. Stacks
    are rebuilt by the rule of `FrameStack4`: never across a game's start.

    Attributes:
        row_spec: Spec of what a row holds, one frame.
        history: How many rows before a transition's first its observations need.
    """

    def __init__(self, observation_spec: tf.TensorSpec):
        """Stores observations `(height, width, S)`."""
        *frame_shape, self._size = observation_spec.shape
        dtype = observation_spec.dtype
        # A table may compress frames of bytes.
        name = FRAME if dtype == tf.uint8 else "observation"
        self.row_spec = tf.TensorSpec(frame_shape, dtype, name)
        self.history: int = self._size - 1

    def stored(self, observation: tf.Tensor) -> tf.Tensor:
        """What of an observation `(B, height, width, S)` is new, `(B, height, width)`."""
        return observation[..., -1]

    def read(self, table: FrameTable, window: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Rebuilds both observations of each transition.

        Args:
            table: Where rows lie.
            window: Their places, int64 `(N, history + 2)`: those before, and the two steps' own.

        Returns:
            Two stacks, `(N, ..., S)`.
        """
        first = table.read(window, table.slots.step_type) == int(ts.StepType.FIRST)
        # For each step of the window, the newest start of a game at or before it.
        positions = tf.range(self._size + 1, dtype=tf.int32)
        starts = tf.where(first, positions, 0)
        # Both stacks share all frames but two: each is read once.
        frames = table.read(window, table.slots.observation)

        def stack(end: int) -> tf.Tensor:
            newest_start = tf.reduce_max(starts[:, :end], axis=1)
            source = tf.maximum(positions[None, end - self._size : end], newest_start[:, None])
            return stack_frames(tf.gather(frames, source, batch_dims=1))

        return stack(self._size), stack(self._size + 1)


class WholeObservations:
    """Observations that are no stacks, stored as they are; see `StackedFrames`."""

    history = 0

    def __init__(self, observation_spec: tf.TensorSpec):
        """Stores observations of any shape and type."""
        self.row_spec = tf.TensorSpec(observation_spec.shape, observation_spec.dtype, "observation")

    def stored(self, observation: tf.Tensor) -> tf.Tensor:
        """The observation itself, `(B, ...)`."""
        return observation

    def read(self, table: FrameTable, window: tf.Tensor) -> tuple[Any, Any]:
        """Both observations of each transition, `(N, ...)`; `window` is int64 `(N, 2)`."""
        observations = table.read(window, table.slots.observation)
        return observations[:, 0], observations[:, 1]


def stored_observations(
    observation_spec: tf.TensorSpec, stacked: bool
) -> StackedFrames | WholeObservations:
    """How observations of a spec are kept; `stacked` is `EnvironmentSpec.stacked`."""
    return (StackedFrames if stacked else WholeObservations)(observation_spec)


def stack_frames(frames: tf.Tensor) -> tf.Tensor:
    """Puts frames side by side: `(N, S, ...)` to `(N, ..., S)`.

    Stacks of four bytes take a tenth of `tf.transpose`'s time: four pixels make one 32-bit number.
    """
    packs = frames.dtype == tf.uint8 and frames.shape[1] == _FRAMES_IN_A_WORD
    if not packs or sys.byteorder != "little":
        return tf.transpose(frames, [0, *range(2, frames.shape.rank), 1])
    return tf.bitcast(_pack(frames), tf.uint8)


@tf.function(jit_compile=True)
def _pack(frames: tf.Tensor) -> tf.Tensor:
    """Four bytes, the first lowest, in one number: uint8 `(N, 4, ...)` to uint32 `(N, ...)`."""
    words = tf.zeros_like(frames[:, 0], tf.uint32)
    for place in range(_FRAMES_IN_A_WORD):
        byte = tf.cast(frames[:, place], tf.uint32)
        words |= tf.bitwise.left_shift(byte, tf.constant(8 * place, tf.uint32))
    return words
