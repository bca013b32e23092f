"""Replay with compressed frames against replay with plain ones: the same to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
import pytest
import tensorflow as tf

from dqn_breakout import config
from dqn_breakout.errors import UserError
from dqn_breakout.replay.compressed_frame_table import CompressedFrameTable, compressed_frames
from dqn_breakout.replay.frame_replay_buffer import (
    OTHER_MEMORY_BYTES,
    FrameReplayBuffer,
    FrameRow,
    create_replay_buffer,
    row_bytes,
)
from dqn_breakout.replay.frame_table import FrameTable, plain_frames
from tests.recorded_play import FRAME_SHAPE, Recording, same, sample
from tests.scripted_games import random_scripts

SPEC = FrameRow(
    tf.TensorSpec([2, 3], tf.uint8, "frame"),
    *(tf.TensorSpec([], tf.float32, name) for name in FrameRow._fields[1:]),
)


def rows_of(rng: np.random.Generator, count: int) -> FrameRow:
    frames = rng.integers(0, 256, (count, 2, 3)).astype(np.uint8)
    return FrameRow(frames, *rng.random((5, count)).astype(np.float32))


def recorded(environments: int) -> Recording:
    return Recording([random_scripts(seed, 60, longest=14) for seed in range(environments)])


def plain_and_compressed(recording: Recording, max_length: int) -> list[FrameReplayBuffer]:
    return [recording.buffer(max_length, 1, table) for table in (FrameTable, CompressedFrameTable)]


# --- The table ------------------------------------------------------------------------------------


def test_reads_are_those_of_the_plain_table() -> None:
    rng = np.random.default_rng(0)
    plain, compressed = (table(SPEC, 9) for table in (FrameTable, CompressedFrameTable))
    everything = rows_of(rng, 9)
    for table in (plain, compressed):
        table.write(tf.range(9, dtype=tf.int64), everything)
    for _ in range(20):
        places = tf.constant(rng.choice(9, 3, replace=False))
        values = rows_of(rng, 3)
        for table in (plain, compressed):
            table.write(places, values)
            table.write(places[:1], [values.frame[1:2], [7.0]], ["frame", "reward"])
        for shape in ((), (4,), (5, 2, 4)):
            rows = tf.constant(rng.integers(0, 9, shape))
            for slots in (None, "frame", "reward", SPEC._replace(frame=()), ["reward", "frame"]):
                wanted = slots
                if isinstance(slots, FrameRow):
                    wanted = plain.slots._replace(frame=())
                found, expected = compressed.read(rows, wanted), plain.read(rows, wanted)
                assert same(found, expected)
                tf.nest.assert_same_structure(found, expected)


def test_frames_take_no_variable() -> None:
    table = CompressedFrameTable(SPEC, 9)
    assert [variable.shape for variable in table.variables()] == [[9]] * 5
    assert table.slots == FrameTable(SPEC, 9).slots


def test_shapes_are_known_before_anything_is_read() -> None:
    table = CompressedFrameTable(SPEC, 9)
    shapes = []

    @tf.function(input_signature=[tf.TensorSpec([None, 5], tf.int64)])
    def read(rows: tf.Tensor) -> tf.Tensor:
        shapes.append(table.read(rows, "frame").shape.as_list())
        return rows

    read.get_concrete_function()
    assert shapes == [[None, 5, 2, 3]]


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
        assert [int(each) for each in rounds(tf.constant(first, tf.uint8))] == list(
            range(first, first + 20)
        )


def test_a_row_that_was_never_written_is_not_read() -> None:
    table = CompressedFrameTable(SPEC, 4)
    table.write(tf.constant([1], tf.int64), rows_of(np.random.default_rng(0), 1))
    table.read(tf.constant([1], tf.int64))
    with pytest.raises(tf.errors.InvalidArgumentError, match="Nothing was written into row 3"):
        tf.function(table.read)(tf.constant([1, 3], tf.int64))


# --- The buffer -----------------------------------------------------------------------------------


@pytest.mark.parametrize("environments", [1, 3])
def test_samples_are_those_of_plain_replay(environments: int) -> None:
    """Before and after the buffers wrap, eagerly, as a dataset and as transitions."""
    recording = recorded(environments)
    plain, compressed = plain_and_compressed(recording, max_length=80)
    datasets = [
        iter(each.as_dataset(sample_batch_size=60, num_steps=2)) for each in (plain, compressed)
    ]
    in_graph = [tf.function(each.sample_transitions) for each in (plain, compressed)]
    for steps in (2, 5, 72, 1, 1, 1, 160, 37):
        recording.play(steps, plain, compressed)
        found, expected = sample(compressed, 100), sample(plain, 100)
        assert same(found, expected)
        recording.check(found[0], found[1])
        assert same(next(datasets[1]), next(datasets[0]))
        assert same(in_graph[1](60), in_graph[0](60))
    assert plain.rows_added > 3 * plain.max_length


def test_rows_move_between_plain_and_compressed_replay() -> None:
    recording = recorded(3)
    plain, compressed = plain_and_compressed(recording, 50)
    recording.play(130, plain, compressed)
    for source in (plain, compressed):
        rows = source.read_rows(80, 130)
        for table in (FrameTable, CompressedFrameTable):
            restored = recording.buffer(50, 1, table)
            restored.write_rows(80, rows)
            assert same(tuple(restored.read_rows(80, 130)), tuple(rows))
            restored.samples_drawn.assign(plain.samples_drawn)
            assert same(sample(restored, 200), sample(plain, 200))


def test_a_full_buffer_grows_no_more() -> None:
    recording = recorded(3)
    buffer = recording.buffer(40, 1, CompressedFrameTable)
    recording.play(60, buffer)
    store = buffer._data_table.frames
    stored, allocated = store.compressed_bytes, store.allocated_bytes
    recording.play(400, buffer)
    # Frames of six bytes that no other repeats: LZ4 stores each in seven.
    assert stored == store.compressed_bytes == 3 * 40 * 7
    assert store.allocated_bytes == allocated


# --- Choosing it ----------------------------------------------------------------------------------


def built(binding: str, **arguments: Any) -> FrameReplayBuffer:
    config.parse(
        [],
        [
            "create_replay_buffer.capacity_transitions = 1000",
            f"create_replay_buffer.frame_table = {binding}",
        ],
    )
    with config.building():
        return create_replay_buffer(
            Recording([random_scripts(0, 3, 5)]).data_spec, 1, 1, **arguments
        )


@pytest.mark.parametrize(
    ("binding", "table"),
    [("@plain_frames", FrameTable), ("@compressed_frames", CompressedFrameTable)],
)
def test_one_line_of_gin_chooses(clean_gin: None, binding: str, table: type[FrameTable]) -> None:
    buffer = built(binding, ignore_memory=True)
    assert type(buffer._data_table) is table
    assert buffer.capacity_bytes == 1_000 * row_bytes(FRAME_SHAPE, table)


@pytest.mark.parametrize(
    ("binding", "said"),
    [
        ("'compressed_frames'", r"is the text 'compressed_frames'; write @plain_frames or @com"),
        (
            "@compressed_frames()",
            r"frame_table = @compressed_frames\(\)': write @compressed_frames without brackets",
        ),
        ("None", r"is None; write @plain_frames or @compressed_frames\."),
        ("5", r"is 5; write"),
        ("@compresed_frames", r"did you mean compressed_frames\?"),
        ("@weights_of_nothing", r"No configurable matching"),
    ],
)
def test_what_is_no_frame_table_is_refused(clean_gin: None, binding: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as raised:
        built(binding, ignore_memory=True)
    assert "frame" in raised.value.message


def test_another_builder_is_refused() -> None:
    def nothing() -> Any:
        return None

    table: Callable[[], Any] = nothing
    spec = Recording([random_scripts(0, 3, 5)]).data_spec
    with pytest.raises(UserError, match=r"frame_table is bound to what makes no frame table; wri"):
        create_replay_buffer(spec, 1, 1, False, frame_table=table, capacity_transitions=100)


def test_a_compressed_transition_of_breakout_takes_275_bytes_by_the_estimate() -> None:
    # The frame, where it lies, the other fields and the id.
    assert row_bytes((84, 84), CompressedFrameTable) == 240 + 16 + 11 + 8


def test_compressed_frames_fit_where_plain_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    class Memory:
        total = OTHER_MEMORY_BYTES + 100 * row_bytes((84, 84), CompressedFrameTable)

    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    spec = Recording([random_scripts(0, 3, 5)]).data_spec
    spec = spec._replace(observation=tf.TensorSpec([84, 84, 4], tf.uint8))

    def build(table: Callable[[], type[FrameTable]], capacity: int, ignore: bool = False) -> Any:
        return create_replay_buffer(
            spec, 1, 1, ignore, frame_table=table, capacity_transitions=capacity
        )

    with pytest.raises(UserError, match=r"bind .*frame_table = @compressed_frames, or go on"):
        build(plain_frames, 100)
    build(compressed_frames, 100)
    with pytest.raises(
        UserError, match=r"when full \(an estimate from frames of .*Lower it, or go"
    ):
        build(compressed_frames, 101)
    assert build(compressed_frames, 101, ignore=True).max_length == 101
