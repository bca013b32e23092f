"""The replay buffer against what the environment showed, step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import psutil
import pytest
import tensorflow as tf
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step as ts

from dqn_breakout.errors import UserError
from dqn_breakout.replay.frame_replay_buffer import (
    OTHER_MEMORY_BYTES,
    FrameRow,
    create_replay_buffer,
    row_bytes,
)
from dqn_breakout.replay.frame_table import plain_frames
from tests.recorded_play import FRAME_SHAPE, Recording, same, sample
from tests.scripted_games import Move, Script, random_scripts

LAST = int(ts.StepType.LAST)


# --- What a sample holds --------------------------------------------------------------------------


@pytest.mark.parametrize("environments", [1, 4])
def test_every_sample_is_what_the_environment_gave(environments: int) -> None:
    """Before and after the buffer wraps, with games of 1 to 14 steps."""
    recording = Recording([random_scripts(seed, 60, longest=14) for seed in range(environments)])
    buffer = recording.buffer(max_length=300)
    ends = checked = starting_at_last = 0
    for steps in (2, 3, 45, 249, 1, 1, 1, 98, 300, 1_300):
        recording.play(steps, buffer)
        for _ in range(4):
            experience, ids, probabilities = sample(buffer, 256)
            recording.check(experience, ids)
            checked += len(ids)
            starting_at_last += int((experience.step_type[:, 0] == LAST).sum())
            ends += int((experience.next_step_type[:, 0] == LAST).sum())
            stored = len(recording.steps)
            oldest = max(stored - buffer.max_length, 0)
            assert ids.min() >= oldest
            assert ids.max() == ids[:, 1].max() <= stored - 1
            np.testing.assert_array_equal(ids[:, 1], ids[:, 0] + 1)
            transitions = stored - 1 if oldest == 0 else buffer.max_length - 4
            np.testing.assert_allclose(probabilities, 1 / (transitions * environments))
    assert checked == 10_240
    assert ends > 500
    # One step in eight ends a game; a sample starts there only if four draws in a row hit one.
    assert starting_at_last < 20
    all_ends = sum(int((step.step_type == LAST).sum()) for step in recording.steps)
    assert all_ends > 200 * environments


def test_the_types_of_a_sample_are_those_of_the_data_spec() -> None:
    recording = Recording([random_scripts(0, 5, 9)])
    buffer = recording.buffer(max_length=50)
    recording.play(20, buffer)
    experience, info = buffer.get_next(sample_batch_size=7, num_steps=2)
    spec = tensor_spec.add_outer_dims_nest(recording.data_spec, (7, 2))
    tf.nest.map_structure(
        lambda values, expected: (
            (values.shape, values.dtype) == (expected.shape, expected.dtype)
            or pytest.fail(f"{values} is no {expected}")
        ),
        experience,
        spec,
    )
    assert (info.ids.dtype, info.probabilities.dtype) == (tf.int64, tf.float32)


@pytest.mark.parametrize("environments", [1, 4])
def test_no_transition_starts_at_the_end_of_a_game(environments: int) -> None:
    """Games as short as 20 steps are already shorter than any real one."""
    scripts = [random_scripts(seed, 60, 30, shortest=20) for seed in range(environments)]
    recording = Recording(scripts)
    buffer = recording.buffer(max_length=500)
    recording.play(600, buffer)
    assert sum(int((step.step_type == LAST).sum()) for step in recording.steps) > 20
    for _ in range(10):
        experience, _, _ = sample(buffer, 2_000)
        assert not (experience.step_type[:, 0] == LAST).any()
        # The step after such an end never is a step of a transition.
        assert not (experience.step_type[:, 1] == int(ts.StepType.FIRST)).any()


def test_a_stack_that_reaches_before_the_first_row_repeats_that_row() -> None:
    """What is stored may begin in the middle of a game."""
    recording = Recording([[Script(1, [Move(0, 1)] * 40 + [Move(0, 0, "terminated")])]])
    buffer = recording.buffer(max_length=50)
    recording.play(5)
    recording.play(3, buffer)
    frames = [step.observation[0, ..., -1] for step in recording.steps[5:]]
    numbers = {0: [[0, 0, 0, 0], [0, 0, 0, 1]], 1: [[0, 0, 0, 1], [0, 0, 1, 2]]}
    experience, ids, _ = sample(buffer, 50)
    assert set(ids[:, 0]) == {0, 1}
    for stacks, first in zip(experience.observation, ids[:, 0], strict=True):
        for stack, expected in zip(stacks, numbers[int(first)], strict=True):
            np.testing.assert_array_equal(stack, np.stack([frames[n] for n in expected], axis=-1))


def test_where_all_draws_hit_ends_the_sample_is_one_that_the_agent_masks() -> None:
    one_step_games = [Script(1, [Move(1, 0, "terminated")])]
    recording = Recording([one_step_games])
    buffer = recording.buffer(max_length=200)
    recording.play(150, buffer)
    experience, ids, _ = sample(buffer, 4_000)
    recording.check(experience, ids)
    at_last = experience.step_type[:, 0] == LAST
    assert at_last.mean() == pytest.approx(0.5**4, abs=0.02)


def test_samples_are_uniform_over_steps_and_environments() -> None:
    scripts = [random_scripts(seed, 40, 25, shortest=10) for seed in range(3)]
    recording = Recording(scripts)
    buffer = recording.buffer(max_length=60)
    recording.play(137, buffer)
    counts = np.zeros((3, 137))
    for _ in range(10):
        experience, ids, _ = sample(buffer, 4_000)
        np.add.at(counts, (recording.check(experience, ids), ids[:, 0]), 1)
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


# --- Order of samples -----------------------------------------------------------------------------


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


def test_a_dataset_gives_what_get_next_gives_and_draws_nothing_ahead() -> None:
    recording = Recording([random_scripts(0, 30, 12), random_scripts(1, 30, 12)])
    directly, dataset_of = recording.buffer(80), recording.buffer(80)
    recording.play(10, directly, dataset_of)
    iterator = iter(dataset_of.as_dataset(sample_batch_size=30, num_steps=2))
    assert int(dataset_of.samples_drawn) == 0

    @tf.function
    def next_in_graph() -> Any:
        return next(iterator)

    for number in range(1, 9):
        recording.play(30, directly, dataset_of)  # Samples see what was stored meanwhile.
        experience, info = next(iterator) if number % 2 else next_in_graph()
        expected, ids, probabilities = sample(directly, 30)
        assert same(experience, expected)
        assert same(tuple(info), (ids, probabilities))
        assert ids.max() > len(recording.steps) - 40
        assert int(dataset_of.samples_drawn) == int(directly.samples_drawn) == number


def test_rows_that_were_read_and_written_make_the_same_buffer() -> None:
    recording = Recording([random_scripts(seed, 40, 12) for seed in range(3)])
    original = recording.buffer(100)
    for steps in (70, 160):  # Before and after it wraps.
        recording.play(steps, original)
        sample(original, 10)
        start, stop = max(0, original.rows_added - 100), original.rows_added
        assert stop == len(recording.steps)
        restored = recording.buffer(100)
        for place in range(start, stop, 33):
            rows = original.read_rows(place, min(place + 33, stop))
            _check_rows(rows, recording, place)
            restored.write_rows(place, rows)
        restored.samples_drawn.assign(original.samples_drawn)
        assert restored.rows_added == original.rows_added
        assert int(restored.num_frames()) == int(original.num_frames()) == 3 * (stop - start)
        for following in (0, 1, 40, 150):
            recording.play(following, original, restored)
            assert same(sample(restored, 200), sample(original, 200))


def _check_rows(rows: FrameRow, recording: Recording, start: int) -> None:
    assert rows.frame.shape[1:] == (3, *FRAME_SHAPE)
    for number, step in enumerate(recording.steps[start : start + len(rows.action)]):
        expected = FrameRow(
            frame=step.observation[..., -1],
            step_type=step.step_type,
            action=step.action,
            next_step_type=step.next_step_type,
            reward=step.reward,
            discount=step.discount,
        )
        assert same(tuple(values[number] for values in rows), tuple(expected))


# --- Size -----------------------------------------------------------------------------------------


def test_row_bytes_is_what_the_variables_take() -> None:
    recording = Recording([random_scripts(0, 3, 5)] * 3)
    buffer = recording.buffer(max_length=11)
    taken = sum(
        variable.dtype.size * variable.shape.num_elements()
        for variable in buffer.variables()
        if variable.shape.rank
    )
    assert taken == 33 * row_bytes(FRAME_SHAPE) == buffer.capacity_bytes
    assert row_bytes((84, 84)) == 84 * 84 + 19
    assert buffer.capacity_transitions == 33


def test_environments_share_the_capacity() -> None:
    recording = Recording([random_scripts(seed, 3, 5) for seed in range(3)])
    buffer = create_replay_buffer(
        recording.data_spec, 3, 1, False, frame_table=plain_frames, capacity_transitions=101
    )
    assert (buffer.max_length, buffer.num_environments) == (33, 3)
    assert buffer.capacity_transitions == 99
    recording.play(60, buffer)
    assert int(buffer.num_frames()) == 99
    assert buffer.rows_added == 60


def test_the_smallest_capacity_that_is_accepted_gives_right_samples() -> None:
    recording = Recording([random_scripts(seed, 30, 9) for seed in range(2)])
    buffer = create_replay_buffer(
        recording.data_spec, 2, 1, False, frame_table=plain_frames, capacity_transitions=12
    )
    for _ in range(40):
        recording.play(1, buffer)
        if len(recording.steps) > 1:
            experience, ids, _ = sample(buffer, 20)
            recording.check(experience, ids)


@pytest.mark.parametrize("capacity", [0, -1, 1.5, "100", None])
def test_a_capacity_that_is_no_number_of_transitions_is_refused(capacity: Any) -> None:
    spec = Recording([random_scripts(0, 3, 5)]).data_spec
    with pytest.raises(UserError, match=r"create_replay_buffer\.capacity_transitions must be"):
        create_replay_buffer(
            spec, 1, 1, False, frame_table=plain_frames, capacity_transitions=capacity
        )


def test_a_capacity_too_small_for_the_environments_is_refused() -> None:
    spec = Recording([random_scripts(0, 3, 5)]).data_spec
    message = r"capacity_transitions is 40, which leaves 5 for each of 8.*give at least 48\."
    with pytest.raises(UserError, match=message):
        create_replay_buffer(spec, 8, 1, False, frame_table=plain_frames, capacity_transitions=40)


def test_a_capacity_beyond_this_machines_memory_is_refused_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Memory:
        total = OTHER_MEMORY_BYTES + 100 * row_bytes(FRAME_SHAPE)

    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    spec = Recording([random_scripts(0, 3, 5)]).data_spec
    create_replay_buffer(spec, 1, 1, False, frame_table=plain_frames, capacity_transitions=100)
    message = r"capacity_transitions is 101: .* GB when full.*has 1\.5 GB\..*--ignore_memory"
    with pytest.raises(UserError, match=message):
        create_replay_buffer(spec, 1, 1, False, frame_table=plain_frames, capacity_transitions=101)
    assert (
        create_replay_buffer(
            spec, 1, 1, True, frame_table=plain_frames, capacity_transitions=101
        ).max_length
        == 101
    )


# --- What it cannot do ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {"sample_batch_size": 4},
        {"sample_batch_size": 4, "num_steps": 3},
        {"num_steps": 2},
        {"sample_batch_size": 4, "num_steps": 2, "time_stacked": False},
    ],
)
def test_only_stacked_batches_of_two_steps_are_sampled(arguments: dict[str, Any]) -> None:
    recording = Recording([random_scripts(0, 3, 5)])
    buffer = recording.buffer(20)
    recording.play(10, buffer)
    with pytest.raises(ValueError, match="num_steps=2"):
        buffer.get_next(**arguments)
    assert int(buffer.samples_drawn) == 0


def test_a_dataset_cannot_be_parallel() -> None:
    buffer = Recording([random_scripts(0, 3, 5)]).buffer(20)
    with pytest.raises(ValueError, match="one batch after the other"):
        buffer.as_dataset(sample_batch_size=4, num_steps=2, num_parallel_calls=2)


@pytest.mark.parametrize("steps", [0, 1])
def test_a_buffer_without_a_transition_says_so(steps: int) -> None:
    recording = Recording([random_scripts(0, 3, 5)])
    buffer = recording.buffer(20)
    recording.play(steps, buffer)
    with pytest.raises(tf.errors.InvalidArgumentError, match="collect before sampling"):
        sample(buffer, 4)
