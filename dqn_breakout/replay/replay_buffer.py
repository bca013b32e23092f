"""A uniform replay buffer: a ring of rows, drawn from by a counted random stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import gin
import numpy as np
import tensorflow as tf
from tf_agents.replay_buffers import tf_uniform_replay_buffer
from tf_agents.trajectories import time_step as ts
from tf_agents.trajectories import trajectory as trajectory_lib

from dqn_breakout import machine, seeding
from dqn_breakout.configurable import PositiveInt, configurable, require
from dqn_breakout.replay import compressed_frame_table  # noqa: F401  (registers it)
from dqn_breakout.replay.frame_table import FrameTable, check_table
from dqn_breakout.replay.stored_observations import (
    StackedFrames,
    WholeObservations,
    stored_observations,
)
from dqn_breakout.replay.transitions import Transitions

# A stored step that ends a game starts no transition. Each place of a batch draws this many
# candidates and takes the first that starts one; were all of them ends, the sample weighs nothing.
_CANDIDATES = 4

# What training takes beside the buffer: TensorFlow, the networks, a checkpoint being written.
OTHER_MEMORY_BYTES = 1_500_000_000


def row_bytes(observation: tf.TensorSpec, table: type[FrameTable] = FrameTable) -> int:
    """Bytes that one transition takes: what is stored of an observation, and what goes with it.

    Args:
        observation: The `row_spec` of `StackedFrames` or `WholeObservations`.
        table: Where rows lie; where `table.ESTIMATED`, this is an estimate.
    """
    # Ten bytes of other fields, and an eight-byte id.
    return table.observation_bytes(observation) + 10 + 8


class ReplayBuffer(tf_uniform_replay_buffer.TFUniformReplayBuffer):
    """TFUniformReplayBuffer that stores each frame once and gives transitions.

    A row is a step's trajectory: what was seen, what was done, what came of it. Of a stack of
    frames only the newest is kept (`StackedFrames`); what is no stack is stored whole.

    Sampling is uniform over the stored transitions and counted: sample number n of a seed is always
    the same choice of positions. There is no hidden random state.

    Attributes:
        samples_drawn: How many batches were sampled, int64: the position of the random stream.
    """

    def __init__(
        self,
        data_spec: trajectory_lib.Trajectory,
        batch_size: int,
        max_length: int,
        seed: int,
        observations: StackedFrames | WholeObservations,
        table: type[FrameTable] = FrameTable,
    ):
        """Builds an empty buffer.

        Args:
            data_spec: The agent's `collect_data_spec`.
            batch_size: How many environments add side by side.
            max_length: Rows kept per environment.
            seed: The run's seed.
            observations: How observations are stored.
            table: Where rows lie; samples are the same wherever that is.
        """
        self._observations = observations
        action = data_spec.action
        self._action_dtype = action.dtype
        small_action = tf.uint8 if action.maximum < 2**8 else action.dtype
        scalar = tf.TensorShape([])
        super().__init__(
            data_spec=trajectory_lib.Trajectory(
                step_type=tf.TensorSpec(scalar, tf.uint8, "step_type"),
                observation=observations.row_spec,
                action=tf.TensorSpec(scalar, small_action, "action"),
                policy_info=(),
                next_step_type=(),
                reward=tf.TensorSpec(scalar, tf.float32, "reward"),
                discount=tf.TensorSpec(scalar, tf.float32, "discount"),
            ),
            batch_size=batch_size,
            max_length=max_length,
            table_fn=table,
        )
        # Private: TF-Agents gives them no other names. Beside each row lies its step's number.
        self._rows, self._numbers, self._last_row = self._data_table, self._id_table, self._last_id
        self._max_rows, self._num_environments = max_length, batch_size
        self._sampling_key = seeding.stream_key(seed, "replay/sampling")
        self.samples_drawn = tf.Variable(0, dtype=tf.int64, name="samples_drawn")

    @property
    def capacity_transitions(self) -> int:
        """Rows kept in all."""
        return self.num_environments * self.max_length

    @property
    def capacity_bytes(self) -> int:
        """Bytes that the buffer takes when it is full; an estimate where frames are compressed."""
        return self.capacity_transitions * row_bytes(self._observations.row_spec, self.table_fn)

    @property
    def max_length(self) -> int:
        """Rows kept per environment."""
        return self._max_rows

    @property
    def num_environments(self) -> int:
        """How many environments add side by side."""
        return self._num_environments

    @property
    def rows_added(self) -> int:
        """How many rows each environment has added so far, overwritten ones included."""
        return int(self._last_row.numpy()) + 1

    def state(self) -> dict[str, np.ndarray]:
        """The position of the random stream."""
        return {"samples_drawn": self.samples_drawn.numpy()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Goes back to what `state` gave."""
        self.samples_drawn.assign(state["samples_drawn"])

    def row_specs(self) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """Shape and type of each field of a row, by name."""
        return {
            spec.name: (tuple(spec.shape), np.dtype(spec.dtype.as_numpy_dtype))
            for spec in tf.nest.flatten(self.data_spec)
        }

    def read_rows(self, start: int, stop: int) -> dict[str, np.ndarray]:
        """The stored rows number `start` to `stop` (exclusive) of every environment, by field.

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
        rows = self._rows.read(self._places(np.arange(start, stop)))
        names = tf.nest.flatten(self._rows.slots)
        return dict(zip(names, [each.numpy() for each in tf.nest.flatten(rows)], strict=True))

    def write_rows(self, start: int, rows: Mapping[str, np.ndarray]) -> None:
        """Puts back rows that `read_rows` gave, from row number `start` on."""
        ids = np.arange(start, start + len(rows["action"]))
        places = tf.reshape(self._places(ids), [-1])
        flat = {name: each.reshape(-1, *each.shape[2:]) for name, each in rows.items()}
        values = tf.nest.map_structure(lambda name: flat[name], self._rows.slots)
        self._rows.write(places, values)
        self._numbers.write(places, np.repeat(ids, self._num_environments))
        self._last_row.assign(int(ids[-1]))

    def sample(self, number: int) -> Transitions:
        """Draws N transitions; see `Replay.sample`.

        Raises:
            InvalidArgumentError: Nothing was stored yet that makes a transition.
        """
        ids, offsets = self._draw(number)
        # No row comes before the run's first.
        window_ids = ids[:, None] + tf.range(-self._observations.history, 2, dtype=tf.int64)
        window = tf.maximum(window_ids, 0) % self._max_rows + offsets[:, None]
        observation, next_observation = self._observations.read(self._rows, window)
        places = window[:, -2]
        step = self._rows.read(places, self._rows.slots._replace(observation=()))
        return Transitions(
            observation=observation,
            action=tf.cast(step.action, self._action_dtype),
            reward=step.reward,
            discount=step.discount,
            next_observation=next_observation,
            # The step after LAST starts a new game: no transition.
            weight=tf.cast(step.step_type != int(ts.StepType.LAST), tf.float32),
            key=places,
        )

    def update_priorities(self, keys: tf.Tensor, priorities: tf.Tensor) -> None:
        """Nothing: each transition is as likely as any other."""

    def _places(self, ids: np.ndarray) -> tf.Tensor:
        """Row places of step numbers `(count,)` in every environment, int64 `(count, B)`."""
        first_places = np.arange(self._num_environments) * self._max_rows
        return tf.constant(ids[:, None] % self._max_rows + first_places, tf.int64)

    def _add_batch(self, items: trajectory_lib.Trajectory) -> tf.Operation:
        """Adds one step of every environment; see ReplayBuffer.add_batch."""
        spec = self.data_spec
        return super()._add_batch(
            items._replace(
                observation=self._observations.stored(items.observation),
                step_type=tf.cast(items.step_type, spec.step_type.dtype),
                action=tf.cast(items.action, spec.action.dtype),
                next_step_type=(),
            )
        )

    def _draw(self, number: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws step ids and block offsets, int64 `(number,)` each."""
        draw = self.samples_drawn.assign_add(1)
        seed = tf.stack([tf.constant(self._sampling_key, tf.int64), draw])
        last = self._last_row.read_value()
        oldest = tf.maximum(last - self._max_rows + 1, 0)
        # In a buffer that wraps, the first frames of the oldest stack are overwritten.
        history = tf.constant(self._observations.history, tf.int64)
        oldest += tf.where(oldest > 0, history, 0)
        message = "The replay buffer has no transition yet; collect before sampling."
        # The draw waits for it, or would fail before it, with words of its own.
        with tf.control_dependencies([tf.debugging.assert_greater(last, oldest, message)]):
            last = tf.identity(last)
        seeds = tf.random.split(seed, 2)
        shape = [number, _CANDIDATES]
        ids = tf.random.stateless_uniform(shape, seeds[0], oldest, last, tf.int64)
        blocks = tf.random.stateless_uniform(shape, seeds[1], 0, self._num_environments, tf.int64)
        offsets = blocks * self._max_rows
        step_types = self._rows.read(ids % self._max_rows + offsets, self._rows.slots.step_type)
        starts = tf.cast(step_types != int(ts.StepType.LAST), tf.int32)
        chosen = tf.argmax(starts, axis=1)
        return tf.gather(ids, chosen, batch_dims=1), tf.gather(offsets, chosen, batch_dims=1)

    def get_next(self, *arguments: Any, **named: Any) -> NoReturn:
        """Refused, as is `as_dataset`: they would give rows, which hold no whole observations."""
        raise NotImplementedError("ReplayBuffer gives transitions: call sample(number)")

    as_dataset = get_next


@configurable
def create_replay_buffer(
    data_spec: trajectory_lib.Trajectory,
    num_environments: int,
    seed: int,
    stacked: bool,
    ignore_memory: bool,
    *,
    frame_table: Any = gin.REQUIRED,
    capacity_transitions: PositiveInt = gin.REQUIRED,
) -> ReplayBuffer:
    """Builds the replay buffer that gin describes.

    Args:
        data_spec: The agent's `collect_data_spec`.
        num_environments: How many environments add side by side; they share the capacity.
        seed: The run's seed.
        stacked: Whether the last axis of an observation is time.
        ignore_memory: Whether to go on even if the buffer cannot fit this machine's memory.
        frame_table: `@plain_frames` or `@compressed_frames` (LZ4): the same samples, and memory
            against time.
        capacity_transitions: Transitions kept in all.

    Raises:
        UserError: The table is neither, or the capacity is no positive whole number, too small for
            the environments, or too large for this machine.
    """
    check_table(frame_table)
    name = "create_replay_buffer.capacity_transitions"
    observations = stored_observations(data_spec.observation, stacked)
    max_length = capacity_transitions // num_environments
    least = observations.history + 3
    require(
        max_length >= least,
        name,
        f"is {capacity_transitions}, which leaves {max_length} for each of {num_environments} "
        f"environments; give at least {least * num_environments}.",
    )
    needed = capacity_transitions * row_bytes(observations.row_spec, frame_table)
    memory = machine.memory_bytes()
    estimate = ", by an estimate from frames of Breakout" if frame_table.ESTIMATED else ""
    require(
        needed + OTHER_MEMORY_BYTES <= memory or ignore_memory,
        name,
        f"is {capacity_transitions:,}: the replay buffer would take {needed / 1e9:,.1f} GB when "
        f"full{estimate}, and training about {OTHER_MEMORY_BYTES / 1e9:.1f} GB beside it, but this "
        f"machine has {memory / 1e9:.1f} GB. Lower it, bind create_replay_buffer.frame_table = "
        "@compressed_frames, or go on all the same with --ignore_memory.",
    )
    return ReplayBuffer(data_spec, num_environments, max_length, seed, observations, frame_table)
