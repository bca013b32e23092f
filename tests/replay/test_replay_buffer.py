"""The replay buffer, along the path that trains, against what the environment showed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from dqn_breakout.errors import UserError
from dqn_breakout.replay.compressed_frame_table import CompressedFrameTable
from dqn_breakout.replay.frame_table import FrameTable
from dqn_breakout.replay.replay_buffer import create_replay_buffer, row_bytes
from dqn_breakout.replay.stored_observations import StackedFrames
from tests.recorded_play import FRAME_SHAPE, LAST, Recording, same, sample
from tests.scripted_games import Move, Script, random_scripts

FRAME = tf.TensorSpec(FRAME_SHAPE, tf.uint8, "frame")


def create(spec: Any, environments: int, capacity: Any, **changes: Any) -> Any:
    arguments = {"stacked": True, "ignore_memory": False, "frame_table": FrameTable, **changes}
    return create_replay_buffer(spec, environments, 1, capacity_transitions=capacity, **arguments)


# --- What a sample holds --------------------------------------------------------------------------


@pytest.mark.parametrize("environments", [1, 4])
@pytest.mark.parametrize(
    ("table", "stacked"), [(FrameTable, True), (CompressedFrameTable, True), (FrameTable, False)]
)
def test_every_sample_is_what_the_environment_gave(
    environments: int, table: type[FrameTable], stacked: bool
) -> None:
    """Before and after the buffer wraps, with games of 1 to 14 steps."""
    recording = Recording([random_scripts(seed, 60, longest=14) for seed in range(environments)])
    buffer = recording.buffer(100, table=table, stacked=stacked)
    weightless = 0
    for steps in (2, 3, 30, 64, 1, 1, 1, 38, 100, 300):
        recording.play(steps, buffer)
        for _ in range(4):
            batch = sample(buffer, 256)
            _, numbers = recording.check(buffer, batch)
            stored = len(recording.steps)
            assert numbers.min() >= max(stored - buffer.max_length, 0)
            assert numbers.max() <= stored - 2
            weightless += int((batch.weight == 0).sum())
    # One step in eight ends a game; a sample starts there only if four draws in a row hit one.
    assert weightless < 20


def test_the_types_of_a_sample() -> None:
    recording = Recording([random_scripts(0, 5, 9)])
    buffer = recording.buffer(max_length=50)
    recording.play(20, buffer)
    batch = buffer.sample(7)
    spec = recording.data_spec
    for values, dtype, shape in (
        (batch.observation, tf.uint8, spec.observation.shape),
        (batch.action, spec.action.dtype, ()),
        (batch.reward, tf.float32, ()),
        (batch.discount, tf.float32, ()),
        (batch.next_observation, tf.uint8, spec.observation.shape),
        (batch.weight, tf.float32, ()),
        (batch.key, tf.int64, ()),
    ):
        assert (values.dtype, tuple(values.shape)) == (dtype, (7, *shape))


def test_a_picture_that_is_no_stack_keeps_its_channels() -> None:
    """Taken for a stack, it would be stored as its blue channel and rebuilt from three moments."""
    recording = Recording([random_scripts(0, 30, 9)])
    whole, stack = recording.buffer(50, stacked=False), recording.buffer(50)
    assert whole.row_specs()["observation"][0] == (*FRAME_SHAPE, 4)
    assert stack.row_specs()["frame"][0] == FRAME_SHAPE


@pytest.mark.parametrize("table", [FrameTable, CompressedFrameTable])
def test_observations_of_any_shape_and_type_are_kept_whole(table: type[FrameTable]) -> None:
    """In the smallest buffer that there can be, which wraps."""
    recording = Recording([random_scripts(0, 30, 9, shortest=9)])
    spec = recording.data_spec._replace(observation=tf.TensorSpec((5,), tf.float32))
    buffer = create(spec, 1, 3, stacked=False, frame_table=table)
    seen = np.random.default_rng(0).normal(size=(12, 1, 5)).astype(np.float32)
    recording.play(12)
    for number, step in enumerate(recording.steps):
        step = step._replace(observation=seen[number])
        buffer.add_batch(tf.nest.map_structure(tf.constant, step))
        if number:
            batch = sample(buffer, 30)
            starts = number - (number - batch.key) % 3
            assert set(starts) <= {number - 2, number - 1}
            np.testing.assert_array_equal(batch.observation, seen[starts, 0])
            np.testing.assert_array_equal(batch.next_observation, seen[starts + 1, 0])


def test_actions_beyond_a_byte_are_kept() -> None:
    spec = Recording([random_scripts(0, 3, 5)]).data_spec
    wide = spec._replace(
        action=type(spec.action)((), tf.int32, minimum=0, maximum=999, name="action")
    )
    assert create(wide, 1, 100).row_specs()["action"] == ((), np.dtype(np.int32))
    assert create(spec, 1, 100).row_specs()["action"] == ((), np.dtype(np.uint8))


def test_a_stack_that_reaches_before_the_first_row_repeats_that_row() -> None:
    """What is stored may begin in the middle of a game."""
    recording = Recording([[Script(1, [Move(0, 1)] * 40 + [Move(0, 0, "terminated")])]])
    buffer = recording.buffer(max_length=50)
    recording.play(5)
    recording.play(3, buffer)
    frames = [step.observation[0, ..., -1] for step in recording.steps[5:]]
    rebuilt = {0: [[0, 0, 0, 0], [0, 0, 0, 1]], 1: [[0, 0, 0, 1], [0, 0, 1, 2]]}
    batch = sample(buffer, 50)
    assert set(batch.key) == {0, 1}
    for *stacks, first in zip(batch.observation, batch.next_observation, batch.key, strict=True):
        for stack, expected in zip(stacks, rebuilt[int(first)], strict=True):
            np.testing.assert_array_equal(stack, np.stack([frames[n] for n in expected], axis=-1))


def test_where_all_draws_hit_ends_the_sample_weighs_nothing() -> None:
    recording = Recording([[Script(1, [Move(1, 0, "terminated")])]])
    buffer = recording.buffer(max_length=200)
    recording.play(150, buffer)
    batch = sample(buffer, 4_000)
    recording.check(buffer, batch)
    assert (batch.weight == 0).mean() == pytest.approx(0.5**4, abs=0.02)


def test_samples_are_uniform_over_steps_and_environments() -> None:
    scripts = [random_scripts(seed, 40, 25, shortest=10) for seed in range(3)]
    recording = Recording(scripts)
    buffer = recording.buffer(max_length=60)
    recording.play(137, buffer)
    counts = np.zeros((3, 137))
    for _ in range(10):
        np.add.at(counts, recording.check(buffer, sample(buffer, 4_000)), 1)
    # Sixty steps are stored; the stacks of the oldest three are no longer whole, and the newest
    # has no step after it yet.
    eligible = np.zeros_like(counts, bool)
    eligible[:, 137 - 60 + 3 : 137 - 1] = True
    for number, step in enumerate(recording.steps):
        eligible[:, number] &= step.step_type != LAST
    assert counts[~eligible].sum() == 0
    expected = counts.sum() / eligible.sum()
    chi_square = float(((counts[eligible] - expected) ** 2 / expected).sum())
    degrees = int(eligible.sum()) - 1
    assert degrees > 140
    assert abs(chi_square - degrees) < 5 * np.sqrt(2 * degrees)


def test_a_seed_decides_all_samples() -> None:
    recording = Recording([random_scripts(0, 30, 12), random_scripts(1, 30, 12)])
    one, same_seed, other = (recording.buffer(80, seed) for seed in (1, 1, 2))
    recording.play(120, one, same_seed, other)
    tf.random.set_seed(1)
    first = [sample(one, 50) for _ in range(3)]
    tf.random.set_seed(2)
    assert same([sample(same_seed, 50) for _ in range(3)], first)
    assert not same([sample(other, 50) for _ in range(3)], first)
    assert not same(first[0], first[1])


# --- Rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", [FrameTable, CompressedFrameTable])
def test_rows_that_were_read_and_written_make_the_same_buffer(table: type[FrameTable]) -> None:
    recording = Recording([random_scripts(seed, 40, 12) for seed in range(3)])
    original = recording.buffer(60, table=table)
    for steps in (40, 90):  # Before and after it wraps.
        recording.play(steps, original)
        sample(original, 10)
        start, stop = max(0, original.rows_added - 60), original.rows_added
        assert stop == len(recording.steps)
        restored = recording.buffer(60, table=table)
        for place in range(start, stop, 23):
            rows = original.read_rows(place, min(place + 23, stop))
            assert {name: (each.shape[2:], each.dtype) for name, each in rows.items()} == (
                original.row_specs()
            )
            restored.write_rows(place, rows)
        restored.samples_drawn.assign(original.samples_drawn)
        assert restored.rows_added == original.rows_added
        assert int(restored.num_frames()) == int(original.num_frames()) == 3 * (stop - start)
        for following in (0, 1, 25, 70):
            recording.play(following, original, restored)
            assert same(sample(restored, 200), sample(original, 200))


# --- Size -----------------------------------------------------------------------------------------


def test_row_bytes_is_what_the_variables_take() -> None:
    recording = Recording([random_scripts(0, 3, 5)] * 3)
    buffer = recording.buffer(max_length=11)
    taken = sum(
        variable.dtype.size * variable.shape.num_elements()
        for variable in buffer.variables()
        if variable.shape.rank
    )
    assert taken == 33 * row_bytes(FRAME) == buffer.capacity_bytes
    stack = StackedFrames(tf.TensorSpec((84, 84, 4), tf.uint8))
    assert row_bytes(stack.row_spec) == 84 * 84 + 18
    assert buffer.capacity_transitions == 33


def test_environments_share_the_capacity() -> None:
    recording = Recording([random_scripts(seed, 3, 5) for seed in range(3)])
    buffer = create(recording.data_spec, 3, 101)
    assert (buffer.max_length, buffer.num_environments) == (33, 3)
    assert buffer.capacity_transitions == 99
    recording.play(60, buffer)
    assert int(buffer.num_frames()) == 99
    assert buffer.rows_added == 60


def test_the_smallest_capacity_that_is_accepted_gives_right_samples() -> None:
    recording = Recording([random_scripts(seed, 30, 9) for seed in range(2)])
    buffer = create(recording.data_spec, 2, 12)
    for _ in range(40):
        recording.play(1, buffer)
        if len(recording.steps) > 1:
            recording.check(buffer, sample(buffer, 20))


@pytest.mark.parametrize(
    ("environments", "capacity", "changes", "message"),
    [
        (1, 0, {}, r"create_replay_buffer\.capacity_transitions must be a whole number of 1"),
        (1, "100", {}, r"create_replay_buffer\.capacity_transitions must be a whole number of 1"),
        (8, 40, {}, r"is 40, which leaves 5 for each of 8.*give at least 48\."),
        (1, 100, {"frame_table": "plain_frames"}, r"frame_table must be @plain_frames or "),
    ],
)
def test_what_cannot_be_is_refused(
    environments: int, capacity: Any, changes: dict[str, Any], message: str
) -> None:
    spec = Recording([random_scripts(0, 3, 5)]).data_spec
    with pytest.raises(UserError, match=message):
        create(spec, environments, capacity, **changes)


# --- What it cannot do ----------------------------------------------------------------------------


def test_tf_agents_ways_to_sample_are_refused() -> None:
    """They would give rows, whose observations are no stacks."""
    recording = Recording([random_scripts(0, 3, 5)])
    buffer = recording.buffer(20)
    recording.play(10, buffer)
    for sampling in (buffer.get_next, buffer.as_dataset):
        with pytest.raises(NotImplementedError, match=r"sample\(number\)"):
            sampling(sample_batch_size=4, num_steps=2)


@pytest.mark.parametrize("steps", [0, 1])
def test_a_buffer_without_a_transition_says_so(steps: int) -> None:
    recording = Recording([random_scripts(0, 3, 5)])
    buffer = recording.buffer(20)
    recording.play(steps, buffer)
    with pytest.raises(tf.errors.InvalidArgumentError, match="collect before sampling"):
        sample(buffer, 4)
