"""Both kinds of tables: rows that are written are the rows that are read, to the last bit."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import psutil
import pytest
import tensorflow as tf

from dqn_breakout import config
from dqn_breakout.errors import UserError
from dqn_breakout.replay.compressed_frame_table import CompressedFrameTable
from dqn_breakout.replay.frame_table import FrameTable
from dqn_breakout.replay.replay_buffer import (
    OTHER_MEMORY_BYTES,
    ReplayBuffer,
    create_replay_buffer,
    row_bytes,
)
from tests.recorded_play import Recording, same, sample
from tests.scripted_games import random_scripts


class Row(NamedTuple):
    frame: Any
    action: Any
    reward: Any


SPEC = Row(
    tf.TensorSpec([2, 3], tf.uint8, "frame"),
    tf.TensorSpec([], tf.uint8, "action"),
    tf.TensorSpec([], tf.float32, "reward"),
)
FRAMES_OF_BREAKOUT = tf.TensorSpec([84, 84], tf.uint8, "frame")


def rows_of(rng: np.random.Generator, count: int) -> Row:
    frames = rng.integers(0, 256, (count, 2, 3)).astype(np.uint8)
    return Row(frames, frames[:, 0, 0].copy(), rng.random(count).astype(np.float32))


# --- The table ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [FrameTable, CompressedFrameTable])
def test_what_is_read_is_what_was_written_last(kind: type[FrameTable]) -> None:
    """In any order, whole rows and single fields."""
    rng = np.random.default_rng(0)
    table, kept = kind(SPEC, 9), rows_of(rng, 9)
    assert table.slots == Row("frame", "action", "reward")
    table.write(tf.range(9, dtype=tf.int64), kept)
    for _ in range(20):
        places, values = rng.choice(9, 3, replace=False), rows_of(rng, 3)
        table.write(tf.constant(places), values)
        table.write(tf.constant(places[:1]), [values.frame[1:2], [7.0]], ["frame", "reward"])
        for field, new in zip(kept, values, strict=True):
            field[places] = new
        kept.frame[places[0]], kept.reward[places[0]] = values.frame[1], 7.0
        for shape in ((), (4,), (5, 2, 4)):
            rows = rng.integers(0, 9, shape)
            for slots, expected in (
                (None, Row(*(field[rows] for field in kept))),
                ("frame", kept.frame[rows]),
                ("action", kept.action[rows]),
                (table.slots._replace(frame=()), Row((), kept.action[rows], kept.reward[rows])),
                (["reward", "frame"], [kept.reward[rows], kept.frame[rows]]),
            ):
                found = table.read(tf.constant(rows), slots)
                assert same(found, expected)
                tf.nest.assert_same_structure(found, expected)


def test_compressed_frames_take_no_variable_and_their_shapes_are_known_before_a_read() -> None:
    table = CompressedFrameTable(SPEC, 9)
    assert [variable.shape for variable in table.variables()] == [[9]] * 2
    read = tf.function(table.read, input_signature=[tf.TensorSpec([None, 5], tf.int64)])
    frames = read.get_concrete_function().structured_outputs.frame
    assert frames.shape.as_list() == [None, 5, 2, 3]


def test_reads_and_writes_of_one_function_happen_in_their_order() -> None:
    table = CompressedFrameTable(SPEC, 2)

    @tf.function(autograph=False)
    def rounds(first: tf.Tensor) -> list[tf.Tensor]:
        read = []
        row = tf.constant([0], tf.int64)
        for number in range(20):
            table.write(row, [tf.fill([1, 2, 3], first + number)], ["frame"])
            read.append(table.read(row, "frame")[0, 0, 0])
        return read

    for first in (0, 100):
        found = [int(each) for each in rounds(tf.constant(first, tf.uint8))]
        assert found == list(range(first, first + 20))


def test_a_row_that_was_never_written_is_not_read() -> None:
    table = CompressedFrameTable(SPEC, 4)
    table.write(tf.constant([1], tf.int64), rows_of(np.random.default_rng(0), 1))
    with pytest.raises(tf.errors.InvalidArgumentError, match="Nothing was written into row 3"):
        tf.function(table.read)(tf.constant([1, 3], tf.int64))


# --- The buffer -----------------------------------------------------------------------------------


def test_compressed_samples_and_rows_are_those_of_plain_replay() -> None:
    """Before and after the buffers wrap; rows may move from each to the other."""
    recording = Recording([random_scripts(seed, 60, longest=14) for seed in range(3)])
    kinds = (FrameTable, CompressedFrameTable)
    plain, compressed = (recording.buffer(80, table=table) for table in kinds)
    for steps in (2, 78, 1, 160, 37):
        recording.play(steps, plain, compressed)
        assert same(sample(compressed, 100), sample(plain, 100))
    end = plain.rows_added
    assert end > 3 * plain.max_length
    rows = [source.read_rows(end - 80, end) for source in (plain, compressed)]
    assert same(*rows)
    for table in kinds:
        restored = recording.buffer(80, table=table)
        restored.write_rows(end - 80, rows[table is FrameTable])
        restored.samples_drawn.assign(plain.samples_drawn)
        assert same(sample(restored, 100), sample(plain, 100))


def test_a_full_buffer_grows_no_more() -> None:
    recording = Recording([random_scripts(seed, 60, longest=14) for seed in range(3)])
    buffer = recording.buffer(40, table=CompressedFrameTable)
    recording.play(60, buffer)
    store = buffer._rows.frames
    stored, allocated = int(store._lengths.sum()), len(store._chunks)
    recording.play(200, buffer)
    # Frames of six bytes that no other repeats: LZ4 stores each in seven.
    assert stored == int(store._lengths.sum()) == 3 * 40 * 7
    assert len(store._chunks) == allocated


# --- Choosing it ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "table", "transition_bytes"),
    [
        ("plain_frames", FrameTable, 84 * 84 + 10 + 8),
        # By the estimate: the frame, where it lies, the other fields and the id.
        ("compressed_frames", CompressedFrameTable, 240 + 16 + 10 + 8),
    ],
)
def test_one_line_of_gin_chooses_and_what_does_not_fit_memory_is_refused(
    clean_gin: None,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    table: type[FrameTable],
    transition_bytes: int,
) -> None:
    class Memory:
        total = OTHER_MEMORY_BYTES + 100 * transition_bytes

    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    spec = Recording([random_scripts(0, 3, 5)]).data_spec
    spec = spec._replace(observation=tf.TensorSpec([84, 84, 4], tf.uint8))

    def build(capacity: int, ignore_memory: bool = False) -> ReplayBuffer:
        bound = {"frame_table": f"@{name}", "capacity_transitions": capacity}
        config.parse([], [f"create_replay_buffer.{each} = {bound[each]}" for each in bound])
        with config.building():
            return create_replay_buffer(spec, 1, 1, True, ignore_memory)

    assert row_bytes(FRAMES_OF_BREAKOUT, table) == transition_bytes
    buffer = build(100)
    assert isinstance(buffer._rows, table)
    assert isinstance(buffer._rows, CompressedFrameTable) == (name == "compressed_frames")
    assert buffer.capacity_bytes == 100 * transition_bytes
    with pytest.raises(UserError, match=r"is 101: .*GB when full.*, bind .*--ignore_memory"):
        build(101)
    assert build(101, ignore_memory=True).max_length == 101
