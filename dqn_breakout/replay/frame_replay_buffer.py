"""A uniform replay buffer that stores each frame once and rebuilds stacks when it samples."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import gin
import numpy as np
import tensorflow as tf
from tf_agents.replay_buffers import tf_uniform_replay_buffer
from tf_agents.trajectories import time_step as ts
from tf_agents.trajectories import trajectory as trajectory_lib

from dqn_breakout import limits, machine, seeding
from dqn_breakout.replay import compressed_frame_table  # noqa: F401  (registers it)
from dqn_breakout.replay.frame_table import FrameTable, chosen_table

# A stored step that ends a game starts no transition. Each place of a batch draws this many
# candidates and takes the first that starts one; were all of them ends, DqnAgent's own mask
# leaves the sample out of the loss.
_CANDIDATES = 4

_FRAMES_IN_A_WORD = 4

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


class Transitions(NamedTuple):
    """A batch of transitions: where, what, and what came of it.

    Attributes:
        time_steps: The steps on which the agent acted; their reward and discount, which say what
            led to them, are 0 and 1.
        actions: What it did.
        next_time_steps: The steps that followed: unclipped reward, discount, observation.
    """

    time_steps: ts.TimeStep
    actions: tf.Tensor
    next_time_steps: ts.TimeStep


def stack_frames(frames: tf.Tensor) -> tf.Tensor:
    """Puts frames side by side: uint8 `(N, S, height, width)` to `(N, height, width, S)`.

    Stacks of four take a tenth of `tf.transpose`'s time: four pixels make one 32-bit number.
    """
    if frames.shape[1] != _FRAMES_IN_A_WORD or sys.byteorder != "little":
        return tf.transpose(frames, [0, 2, 3, 1])
    return tf.bitcast(_pack(frames), tf.uint8)


@tf.function(jit_compile=True)
def _pack(frames: tf.Tensor) -> tf.Tensor:
    """Four bytes, the first lowest, in one number: uint8 `(N, 4, ...)` to uint32 `(N, ...)`."""
    words = tf.zeros_like(frames[:, 0], tf.uint32)
    for place in range(_FRAMES_IN_A_WORD):
        byte = tf.cast(frames[:, place], tf.uint32)
        words |= tf.bitwise.left_shift(byte, tf.constant(8 * place, tf.uint32))
    return words


def row_bytes(frame_shape: tuple[int, ...], table: type[FrameTable] = FrameTable) -> int:
    """Bytes that one transition takes: a frame, eleven bytes beside it, an eight-byte id.

    Args:
        frame_shape: The shape of a frame.
        table: Where frames lie; where `table.ESTIMATED`, this is an estimate.
    """
    return table.frame_bytes(frame_shape) + 11 + 8


class FrameReplayBuffer(tf_uniform_replay_buffer.TFUniformReplayBuffer):
    """TFUniformReplayBuffer at a quarter of the memory.

    A trajectory's observation is a stack of four frames, of which three were stored before. Only
    the newest is kept: 7 kB a step instead of 28 kB. `sample_transitions`, which the learner calls,
    gathers the five frames around a transition and rebuilds both stacks, by the rule of
    `FrameStack4`: never across a game's start. `get_next` and `as_dataset` give the same samples as
    TF-Agents' trajectories.

    Sampling is uniform over the stored transitions and counted: sample number n of a seed is always
    the same choice of positions. There is no hidden random state.
    """

    def __init__(
        self,
        data_spec: trajectory_lib.Trajectory,
        batch_size: int,
        max_length: int,
        seed: int,
        table: type[FrameTable] = FrameTable,
    ):
        """Builds an empty buffer.

        Args:
            data_spec: The agent's `collect_data_spec`; observations are `(height, width, S)`.
            batch_size: How many environments add side by side.
            max_length: Rows kept per environment.
            seed: The run's seed.
            table: Where rows lie; samples are the same wherever that is.
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
            table_fn=table,
        )
        self._sampling_key = seeding.stream_key(seed, "replay/sampling")
        self._samples_drawn = tf.Variable(0, dtype=tf.int64, name="samples_drawn")

    @property
    def capacity_transitions(self) -> int:
        """Rows kept in all."""
        return self.num_environments * self.max_length

    @property
    def capacity_bytes(self) -> int:
        """Bytes that the buffer takes when it is full; an estimate where frames are compressed."""
        shape = tuple(self.data_spec.frame.shape)
        return self.capacity_transitions * row_bytes(shape, self.table_fn)

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

        Another thread may add rows meanwhile. If `start` is still stored afterwards, what was read
        is sound, since rows are counted before they are written; if not, it may be anything.

        Args:
            start: First row, counted from the run's first step; it must still be stored.
            stop: One past the last row.

        Returns:
            NumPy arrays shaped `(stop - start, B, ...)`.

        Raises:
            ValueError: Of compressed frames, one was overwritten while it was read.
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
        ids, offsets, count = self._draw_transitions(sample_batch_size)
        stacks, steps = self._gather(ids, offsets)
        trajectory = trajectory_lib.Trajectory(
            step_type=tf.cast(steps.step_type, tf.int32),
            observation=tf.stack(stacks, axis=1),
            action=tf.cast(steps.action, self._trajectory_spec.action.dtype),
            policy_info=(),
            next_step_type=tf.cast(steps.next_step_type, tf.int32),
            reward=steps.reward,
            discount=steps.discount,
        )
        info = tf_uniform_replay_buffer.BufferInfo(
            ids=tf.stack([ids, ids + 1], axis=1),
            probabilities=tf.fill([sample_batch_size], 1.0 / tf.cast(count, tf.float32)),
        )
        return trajectory, info

    def sample_transitions(self, number: int) -> Transitions:
        """Samples transitions: what `get_next` draws, without a Trajectory in between.

        Args:
            number: How many, N.

        Returns:
            N transitions, observations uint8 `(N, height, width, S)`.
        """
        ids, offsets, _ = self._draw_transitions(number)
        stacks, steps = self._gather(ids, offsets)
        step = tf.nest.map_structure(lambda values: values[:, 0], steps)
        nothing = tf.zeros([number])
        return Transitions(
            ts.TimeStep(tf.cast(step.step_type, tf.int32), nothing, nothing + 1, stacks[0]),
            tf.cast(step.action, self._trajectory_spec.action.dtype),
            ts.TimeStep(
                tf.cast(step.next_step_type, tf.int32), step.reward, step.discount, stacks[1]
            ),
        )

    def _draw_transitions(self, number: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Draws step ids and block offsets, int64 `(number,)` each, and how many there were."""
        draw = self._samples_drawn.assign_add(1)
        seed = tf.stack([tf.constant(self._sampling_key, tf.int64), draw])
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

    def _gather(
        self, ids: tf.Tensor, offsets: tf.Tensor
    ) -> tuple[tuple[tf.Tensor, tf.Tensor], FrameRow]:
        """Both stacks of each transition that starts at `ids`, and its two steps' rows.

        Returns:
            Two stacks uint8 `(N, height, width, S)`, and rows `(N, 2)` without frames.
        """
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
        # Both stacks share three frames: each is read once.
        frames = table.read(window, slots.frame)

        def stack(end: int) -> tf.Tensor:
            newest_start = tf.reduce_max(starts[:, :end], axis=1)
            source = tf.maximum(positions[None, end - size : end], newest_start[:, None])
            return stack_frames(tf.gather(frames, source, batch_dims=1))

        steps = table.read(window[:, -2:], slots._replace(frame=()))
        return (stack(size), stack(size + 1)), steps


@gin.configurable
def create_replay_buffer(
    data_spec: trajectory_lib.Trajectory,
    num_environments: int,
    seed: int,
    ignore_memory: bool,
    *,
    frame_table: Callable[[], type[FrameTable]] = gin.REQUIRED,
    capacity_transitions: int = gin.REQUIRED,
) -> FrameReplayBuffer:
    """Builds the replay buffer that gin describes.

    Args:
        data_spec: The agent's `collect_data_spec`.
        num_environments: How many environments add side by side; they share the capacity.
        seed: The run's seed.
        ignore_memory: Whether to go on even if the buffer cannot fit this machine's memory.
        frame_table: `@plain_frames` or `@compressed_frames` (LZ4): the same samples, and memory
            against time.
        capacity_transitions: Transitions kept in all.

    Raises:
        UserError: The table is neither, or the capacity is no positive whole number, too small for
            the environments, or too large for this machine.
    """
    table = chosen_table("create_replay_buffer.frame_table", frame_table)
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
    needed = capacity_transitions * row_bytes(tuple(frame_shape), table)
    when_full = "when full"
    instead = "Lower it, bind create_replay_buffer.frame_table = @compressed_frames, or"
    if table.ESTIMATED:
        when_full += " (an estimate from frames of Breakout)"
        instead = "Lower it, or"
    memory = machine.memory_bytes()
    limits.require(
        needed + OTHER_MEMORY_BYTES <= memory or ignore_memory,
        name,
        f"is {capacity_transitions:,}: the replay buffer would take {needed / 1e9:,.1f} GB "
        f"{when_full}, and training about {OTHER_MEMORY_BYTES / 1e9:.1f} GB beside it, but this "
        f"machine has {memory / 1e9:.1f} GB. {instead} go on all the same with --ignore_memory.",
    )
    return FrameReplayBuffer(data_spec, num_environments, max_length, seed, table)
