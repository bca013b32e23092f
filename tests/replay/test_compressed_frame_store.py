"""Compressed frames against frames kept as they are, in any order and over many rounds."""

from __future__ import annotations

from typing import Any

import lz4.block
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dqn_breakout.replay import compressed_frame_store
from dqn_breakout.replay.compressed_frame_store import CompressedFrameStore

SHAPE = (6, 7)


def allocated_bytes(store: CompressedFrameStore) -> int:
    """Bytes of all chunks, those between stored frames included."""
    return len(store._chunks) * store._chunk_bytes


def frames_of(rng: np.random.Generator, count: int) -> np.ndarray:
    """Frames that compress very well, a little, and not at all."""
    levels = rng.choice([1, 3, 256], size=(count, 1, 1))
    return rng.integers(0, levels, size=(count, *SHAPE)).astype(np.uint8)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that few frames already fill many."""
    monkeypatch.setattr(compressed_frame_store, "_CHUNK_BYTES", 100)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), capacity=st.integers(1, 20))
def test_what_is_read_is_what_was_written_last(seed: int, capacity: int) -> None:
    rng = np.random.default_rng(seed)
    store = CompressedFrameStore(SHAPE, capacity)
    kept: dict[int, np.ndarray] = {}
    read = np.zeros(0, np.uint8)
    for _ in range(30):
        places = rng.integers(0, capacity, rng.integers(1, 6))  # Some of them twice.
        frames = frames_of(rng, len(places))
        before = read.copy()
        store.write(places, frames)
        np.testing.assert_array_equal(read, before)  # What was read does not change.
        kept.update(zip(places.tolist(), frames, strict=True))
        wanted = rng.choice(list(kept), size=(rng.integers(1, 4), rng.integers(1, 9)))
        read = store.read(wanted)
        expected = np.stack([kept[place] for place in wanted.ravel().tolist()])
        np.testing.assert_array_equal(read, expected.reshape(*wanted.shape, *SHAPE))
        assert read.dtype == np.uint8


def test_a_read_is_sound_while_other_places_are_written(monkeypatch) -> None:
    """Another thread writes before each frame of a read; chunks are filled again and again."""
    rng = np.random.default_rng(0)
    store = CompressedFrameStore(SHAPE, 20)
    everything = frames_of(rng, 20)
    store.write(np.arange(20), everything)
    decompress, others = lz4.block.decompress, np.setdiff1d(np.arange(20), [3, 4, 11])
    chunks = allocated_bytes(store)

    def writing_before(*arguments: Any, **more: Any) -> bytes:
        for _ in range(5):
            store.write(others, frames_of(rng, len(others)))
        return decompress(*arguments, **more)

    monkeypatch.setattr(lz4.block, "decompress", writing_before)
    np.testing.assert_array_equal(store.read(np.array([11, 3, 4])), everything[[11, 3, 4]])
    assert allocated_bytes(store) < 3 * chunks


def test_a_place_overwritten_while_it_is_read_is_at_worst_a_value_error(monkeypatch) -> None:
    store = CompressedFrameStore(SHAPE, 4)
    store.write(np.arange(4), frames_of(np.random.default_rng(0), 4))
    decompress = lz4.block.decompress

    def another_frames(content: Any, size: int, **_: Any) -> bytes:
        return decompress(b"\xff" * len(content), size)

    monkeypatch.setattr(lz4.block, "decompress", another_frames)
    with pytest.raises(ValueError, match="overwritten while it was read"):
        store.read(np.arange(4))


def test_frames_may_lie_apart_in_memory() -> None:
    stacks = np.random.default_rng(0).integers(0, 256, (3, *SHAPE, 4)).astype(np.uint8)
    store = CompressedFrameStore(SHAPE, 3)
    store.write(np.arange(3), stacks[..., -1])
    np.testing.assert_array_equal(store.read(np.arange(3)), stacks[..., -1])
    assert store.read(np.zeros((0, 5), np.int64)).shape == (0, 5, *SHAPE)


def test_a_place_that_was_never_written_is_not_read_as_a_frame() -> None:
    store = CompressedFrameStore(SHAPE, 5)
    store.write(np.array([0, 3]), frames_of(np.random.default_rng(0), 2))
    with pytest.raises(ValueError, match="row 4 yet"):
        store.read(np.array([0, 3, 4, 2]))


@pytest.mark.parametrize("side_by_side", [1, 4])
def test_memory_stays_flat_once_all_places_were_written(side_by_side: int) -> None:
    """As a replay buffer writes: each environment round and round in its own block."""
    rng = np.random.default_rng(0)
    block = 100
    store = CompressedFrameStore(SHAPE, side_by_side * block)
    most_stored = most_allocated = 0
    for step in range(20 * block):
        places = step % block + block * np.arange(side_by_side)
        store.write(places, frames_of(rng, side_by_side))
        most_stored = max(most_stored, int(store._lengths.sum(dtype=np.int64)))
        if step == 2 * block:
            most_allocated = allocated_bytes(store)
    # A chunk's end stays empty where the next frame, of 44 bytes at most, no longer fits.
    chunks = most_stored / (100 - 44) + 2
    assert most_stored < most_allocated < allocated_bytes(store) + 300
    assert allocated_bytes(store) <= 100 * chunks


def test_neighbours_are_kept_as_what_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressed_frame_store, "_CHUNK_BYTES", 2**20)
    rng = np.random.default_rng(0)
    frames = np.repeat(rng.integers(0, 256, (1, 84, 84)).astype(np.uint8), 40, axis=0)
    frames[np.arange(40), np.arange(40), 7] ^= 255
    store = CompressedFrameStore((84, 84), 80)
    for step in range(40):  # Two games side by side, whose frames do not resemble each other.
        store.write(np.array([step, 40 + step]), np.stack([frames[step], frames[step] ^ 85]))
    # Keys, which are noise: places 0, 32 and 64, and 40, whose neighbour is another game's last.
    assert 4 * 84 * 84 < int(store._lengths.sum(dtype=np.int64)) < 4 * 84 * 84 + 80 * 100
    # The first key's place gets another frame; those that need the key are still there.
    store.write(np.array([0]), frames[39:])
    read = store.read(np.arange(80))
    np.testing.assert_array_equal(read[0], frames[39])
    np.testing.assert_array_equal(read[1:40], frames[1:])
    np.testing.assert_array_equal(read[40:], frames ^ 85)


def test_the_memory_of_large_frames_is_that_of_small_ones_afterwards() -> None:
    rng = np.random.default_rng(0)
    store = CompressedFrameStore(SHAPE, 100)
    large = rng.integers(0, 256, (100, *SHAPE)).astype(np.uint8)
    store.write(np.arange(100), large)
    allocated, stored = allocated_bytes(store), int(store._lengths.sum(dtype=np.int64))
    assert allocated >= stored > large.nbytes
    for _ in range(3):
        store.write(np.arange(100), np.zeros_like(large))
        assert int(store._lengths.sum(dtype=np.int64)) < stored / 2
        store.write(np.arange(100), large)
        assert int(store._lengths.sum(dtype=np.int64)) == stored
    assert allocated_bytes(store) <= allocated + 200
