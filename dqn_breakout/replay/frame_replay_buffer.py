"""A uniform replay buffer that stores each frame once and rebuilds stacks when it samples."""

from __future__ import annotations

from typing import Any, NamedTuple

import gin
import numpy as np
import tensorflow as tf
from tf_agents.replay_buffers import tf_uniform_replay_buffer
from tf_agents.trajectories import time_step as ts
from tf_agents.trajectories import trajectory as trajectory_lib

from dqn_breakout import limits, provenance, seeding
from dqn_breakout.replay.frame_table import FrameTable

# A stored step that ends a game starts no transition. Each place of a batch draws this many
# candidates and takes the first that starts one; were all of them ends, DqnAgent's own mask
# leaves the sample out of the loss.
_CANDIDATES = 4

# What training takes beside the buffer: TensorFlow, the networks, a checkpoint being written.
OTHER_MEMORY_BYTES = 1_500_000_000


class FrameRow(NamedTuple):
    """One stored step: what `time_step` showed, what was done, what came of it.

    Attributes:
        frame: The newest frame of the observation, uint8 `(height, width)`.
        step_type: ts.StepType of the step, uint8.
        action: The action taken, uint8.
        next_step_type: ts.StepType of the following step, uint8.
        reward: Unclipped reward of the following step, float32.
        discount: Discount of the following step, float32.
    """

    frame: Any
    step_type: Any
    action: Any
    next_step_type: Any
    reward: Any
    discount: Any


def row_bytes(frame_shape: tuple[int, ...]) -> int:
    """Bytes that one transition takes: a frame, eleven bytes beside it, an eight-byte id."""
    return int(np.prod(frame_shape)) + 11 + 8


class FrameReplayBuffer(tf_uniform_replay_buffer.TFUniformReplayBuffer):
    """TFUniformReplayBuffer at a quarter of the memory.

    A trajectory's observation is a stack of four frames, of which three were stored before. Only
    the newest is kept: 7 kB a step instead of 28 kB. `get_next` and `as_dataset` gather the five
    frames around a transition and rebuild both stacks, by the rule of `FrameStack4`: never across
    a game's start.

    Sampling is uniform over the stored transitions and counted: sample number n of a seed is always
    the same choice of positions. There is no hidden random state.
    """

    def __init__(
        self,
        data_spec: trajectory_lib.Trajectory,
        batch_size: int,
        max_length: int,
        seed: int,
    ):
        """Builds an empty buffer.

        Args:
            data_spec: The agent's `collect_data_spec`; observations are `(height, width, S)`.
            batch_size: How many environments add side by side.
            max_length: Rows kept per environment.
            seed: The run's seed.
        """
        frame_shape = data_spec.observation.shape[:-1]
        self._stack_frames: int = data_spec.observation.shape[-1]
        self._trajectory_spec = data_spec
        scalar = tf.TensorShape([])
        super().__init__(
            data_spec=FrameRow(
                frame=tf.TensorSpec(frame_shape, tf.uint8, "frame"),
                step_type=tf.TensorSpec(scalar, tf.uint8, "step_type"),
                action=tf.TensorSpec(scalar, tf.uint8, "action"),
                next_step_type=tf.TensorSpec(scalar, tf.uint8, "next_step_type"),
                reward=tf.TensorSpec(scalar, tf.float32, "reward"),
                discount=tf.TensorSpec(scalar, tf.float32, "discount"),
            ),
            batch_size=batch_size,
            max_length=max_length,
            table_fn=FrameTable,
        )
        self._sampling_key = seeding.stream_key(seed, "replay/sampling")
        self._samples_drawn = tf.Variable(0, dtype=tf.int64, name="samples_drawn")

    @property
    def capacity_transitions(self) -> int:
        """Rows kept in all."""
        return self.num_environments * self.max_length

    @property
    def capacity_bytes(self) -> int:
        """Bytes that the buffer takes when it is full."""
        return self.capacity_transitions * row_bytes(tuple(self.data_spec.frame.shape))

    @property
    def max_length(self) -> int:
        """Rows kept per environment."""
        return int(self._max_length)

    @property
    def num_environments(self) -> int:
        """How many environments add side by side."""
        return int(self._batch_size)

    @property
    def samples_drawn(self) -> tf.Variable:
        """How many batches were sampled so far, int64: the position of the sampling stream."""
        return self._samples_drawn

    @property
    def rows_added(self) -> int:
        """How many rows each environment has added so far, overwritten ones included."""
        return int(self._last_id.numpy()) + 1

    def read_rows(self, start: int, stop: int) -> FrameRow:
        """The stored rows number `start` to `stop` (exclusive) of every environment.

        Args:
            start: First row, counted from the run's first step; it must still be stored.
            stop: One past the last row.

        Returns:
            NumPy arrays shaped `(stop - start, B, ...)`.
        """
        rows = self._rows(np.arange(start, stop))
        return FrameRow(*(values.numpy() for values in self._data_table.read(rows)))

    def write_rows(self, start: int, rows: FrameRow) -> None:
        """Puts back rows that `read_rows` gave, from row number `start` on.

        Args:
            start: Number of the first row.
            rows: NumPy arrays shaped `(count, B, ...)`.
        """
        ids = np.arange(start, start + len(rows.action))
        places = tf.reshape(self._rows(ids), [-1])
        flat = FrameRow(*(values.reshape(-1, *values.shape[2:]) for values in rows))
        self._data_table.write(places, flat)
        self._id_table.write(places, np.repeat(ids, self._batch_size))
        self._last_id.assign(int(ids[-1]))

    def _rows(self, ids: np.ndarray) -> tf.Tensor:
        """Row places of step numbers `(count,)` in every environment, int64 `(count, B)`."""
        return tf.constant(ids % self._max_length, tf.int64)[:, None] + self._batch_offsets[None]

    def _add_batch(self, items: trajectory_lib.Trajectory) -> tf.Operation:
        """Adds one step of every environment; see ReplayBuffer.add_batch."""
        return super()._add_batch(
            FrameRow(
                frame=items.observation[..., -1],
                step_type=tf.cast(items.step_type, tf.uint8),
                action=tf.cast(items.action, tf.uint8),
                next_step_type=tf.cast(items.next_step_type, tf.uint8),
                reward=items.reward,
                discount=items.discount,
            )
        )

    def _as_dataset(
        self,
        sample_batch_size: int | None = None,
        num_steps: int | None = None,
        sequence_preprocess_fn: Any = None,
        num_parallel_calls: int | None = None,
    ) -> tf.data.Dataset:
        """Sampled transitions without end; see ReplayBuffer.as_dataset.

        Each element is drawn when it is asked for. Drawing ahead would make what is sampled depend
        on timing, so tf.data is told to leave the pipeline as it is.
        """
        if sequence_preprocess_fn is not None or num_parallel_calls is not None:
            raise ValueError("FrameReplayBuffer samples one batch after the other, as it is")
        dataset = tf.data.Dataset.counter().map(
            lambda _: self._get_next(sample_batch_size, num_steps)
        )
        options = tf.data.Options()
        options.autotune.enabled = False
        options.experimental_optimization.apply_default_optimizations = False
        options.experimental_optimization.inject_prefetch = False
        options.threading.private_threadpool_size = 1
        return dataset.with_options(options)

    def _get_next(
        self,
        sample_batch_size: int | None = None,
        num_steps: int | None = None,
        time_stacked: bool = True,
    ) -> tuple[trajectory_lib.Trajectory, tf_uniform_replay_buffer.BufferInfo]:
        """Samples transitions; see ReplayBuffer.get_next.

        Args:
            sample_batch_size: How many transitions, N.
            num_steps: Must be 2: a transition is two steps.
            time_stacked: Must be True.

        Returns:
            A Trajectory shaped `(N, 2, ...)`, observations uint8 `(N, 2, height, width, S)`, and a
            BufferInfo with ids int64 `(N, 2)` and probabilities float32 `(N,)`.

        Raises:
            ValueError: Another `num_steps`, no batch size, or not stacked.
        """
        if num_steps != 2 or sample_batch_size is None or not time_stacked:
            raise ValueError("FrameReplayBuffer samples batches of num_steps=2, time-stacked")
        draw = self._samples_drawn.assign_add(1)
        seed = tf.stack([tf.constant(self._sampling_key, tf.int64), draw])
        with tf.device(self._device), tf.name_scope("sample"):
            ids, offsets, count = self._draw_transitions(seed, sample_batch_size)
            trajectory = self._gather(ids, offsets)
        info = tf_uniform_replay_buffer.BufferInfo(
            ids=tf.stack([ids, ids + 1], axis=1),
            probabilities=tf.fill([sample_batch_size], 1.0 / tf.cast(count, tf.float32)),
        )
        return trajectory, info

    def _draw_transitions(
        self, seed: tf.Tensor, number: int
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Draws step ids and block offsets, int64 `(number,)` each, and how many there were."""
        last = self._get_last_id()
        oldest = tf.maximum(last - self._max_length + 1, 0)
        # In a buffer that wraps, the first frames of the oldest stack are overwritten.
        oldest += tf.where(oldest > 0, tf.constant(self._stack_frames - 1, tf.int64), 0)
        tf.debugging.assert_greater(
            last, oldest, "The replay buffer has no transition yet; collect before sampling."
        )
        seeds = tf.random.split(seed, 2)
        shape = [number, _CANDIDATES]
        ids = tf.random.stateless_uniform(shape, seeds[0], oldest, last, tf.int64)
        blocks = tf.random.stateless_uniform(shape, seeds[1], 0, self._batch_size, tf.int64)
        offsets = blocks * self._max_length
        step_types = self._data_table.read(
            ids % self._max_length + offsets, self._data_table.slots.step_type
        )
        starts = tf.cast(step_types != int(ts.StepType.LAST), tf.int32)
        chosen = tf.argmax(starts, axis=1)
        return (
            tf.gather(ids, chosen, batch_dims=1),
            tf.gather(offsets, chosen, batch_dims=1),
            (last - oldest) * self._batch_size,
        )

    def _gather(self, ids: tf.Tensor, offsets: tf.Tensor) -> trajectory_lib.Trajectory:
        """The transitions that start at `ids`, with both stacks rebuilt."""
        table, size = self._data_table, self._stack_frames
        slots = table.slots
        # The window holds the size - 1 steps before a transition and its two steps. Before the
        # first step of all, it repeats that step.
        window_ids = tf.maximum(ids[:, None] + tf.range(1 - size, 2, dtype=tf.int64), 0)
        window = window_ids % self._max_length + offsets[:, None]
        first = table.read(window, slots.step_type) == int(ts.StepType.FIRST)
        # For each step of the window, the newest start of a game at or before it.
        positions = tf.range(size + 1, dtype=tf.int32)
        starts = tf.where(first, positions, 0)
        newest_start = tf.stack(
            [tf.reduce_max(starts[:, :size], axis=1), tf.reduce_max(starts, axis=1)], axis=1
        )
        in_stack = tf.stack([positions[:-1], positions[1:]])
        source = tf.maximum(in_stack[None], newest_start[:, :, None])
        frame_rows = tf.gather(window, source, batch_dims=1)
        frames = table.read(frame_rows, slots.frame)
        step_rows = window[:, -2:]
        step = table.read(step_rows, slots._replace(frame=()))
        spec = self._trajectory_spec
        return trajectory_lib.Trajectory(
            step_type=tf.cast(step.step_type, tf.int32),
            observation=tf.transpose(frames, [0, 1, 3, 4, 2]),
            action=tf.cast(step.action, spec.action.dtype),
            policy_info=(),
            next_step_type=tf.cast(step.next_step_type, tf.int32),
            reward=step.reward,
            discount=step.discount,
        )


@gin.configurable
def create_replay_buffer(
    data_spec: trajectory_lib.Trajectory,
    num_environments: int,
    seed: int,
    ignore_memory: bool,
    *,
    capacity_transitions: int = gin.REQUIRED,
) -> FrameReplayBuffer:
    """Builds the replay buffer that gin describes.

    Args:
        data_spec: The agent's `collect_data_spec`.
        num_environments: How many environments add side by side; they share the capacity.
        seed: The run's seed.
        ignore_memory: Whether to go on even if the buffer cannot fit this machine's memory.
        capacity_transitions: Transitions kept in all.

    Raises:
        UserError: The capacity is no positive whole number, too small for the environments, or
            too large for this machine.
    """
    name = "create_replay_buffer.capacity_transitions"
    limits.positive_int(name, capacity_transitions)
    max_length = capacity_transitions // num_environments
    *frame_shape, stack_frames = data_spec.observation.shape
    least = stack_frames + 2
    limits.require(
        max_length >= least,
        name,
        f"is {capacity_transitions}, which leaves {max_length} for each of {num_environments} "
        f"environments; give at least {least * num_environments}.",
    )
    needed = capacity_transitions * row_bytes(tuple(frame_shape))
    memory = provenance.memory_bytes()
    limits.require(
        needed + OTHER_MEMORY_BYTES <= memory or ignore_memory,
        name,
        f"is {capacity_transitions:,}: the replay buffer would take {needed / 1e9:,.1f} GB when "
        f"full, and training about {OTHER_MEMORY_BYTES / 1e9:.1f} GB beside it, but this machine "
        f"has {memory / 1e9:.1f} GB. Lower it, or go on all the same with --ignore_memory.",
    )
    return FrameReplayBuffer(data_spec, num_environments, max_length, seed)
