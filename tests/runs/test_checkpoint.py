"""Tests of how a run is saved, what stays on disk of it, and going on from there."""

from __future__ import annotations

import errno
import os
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dqn_breakout.export_network import export_network
from dqn_breakout.runs import checkpoint as checkpoint_module
from dqn_breakout.runs import checkpoint_files
from dqn_breakout.runs.checkpoint import RunCheckpointer
from dqn_breakout.runs.checkpoint_files import Checkpoint, DamagedCheckpoint
from dqn_breakout.runs.directory import RunDirectory
from dqn_breakout.runs.stateful import Variables
from tests.runs.small_run import (
    ENVIRONMENTS,
    MAX_LENGTH,
    ROW_BYTES,
    FullDisk,
    Ring,
    SmallRun,
    Variable,
    assert_equal,
    assert_restored,
    checkpoint_names,
    files_in,
    flip,
    refused,
    restored,
    saved_at,
    segment,
    segments_needed,
    segments_there,
)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "run")
    run.create()
    return run


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of two rows each."""
    monkeypatch.setattr(checkpoint_module, "_SEGMENT_BYTES", 2 * ROW_BYTES)


def raises(error: Exception) -> Callable[..., Any]:
    def fail(*arguments: Any, **named: Any) -> Any:
        raise error

    return fail


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

# --- Saving and restoring -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([1], id="one row"),
        pytest.param([7], id="part of the buffer"),
        pytest.param([MAX_LENGTH], id="just full"),
        pytest.param([MAX_LENGTH + 1], id="one row overwritten"),
        pytest.param([5 * MAX_LENGTH + 3], id="overwritten several times between two saves"),
        pytest.param([5, 10, 15, 20, 25, 30], id="more rows than are kept"),
        pytest.param([5, 6, 40, 41, 90], id="at odd times"),
        pytest.param([MAX_LENGTH, 2 * MAX_LENGTH], id="wholly new rows"),
        pytest.param([7, 7], id="twice at the same step"),
    ],
)
def test_a_restored_run_is_the_run_that_was_saved_and_goes_on_as_it_does(run, rows):
    small = saved_at(run, *rows)
    again, checkpointer, damage = restored(run)
    assert damage == []
    assert_equal(again, small.values())
    assert checkpointer.restored_counters["env_steps"] == small.env_steps
    for each in (small, again):
        each.play(9)
    again.save(checkpointer)
    assert_restored(run, small)


def test_without_checkpoints_nothing_is_restored(run):
    again, checkpointer, damage = restored(run)
    assert (damage, checkpointer.restored_counters) == ([], {})
    assert_equal(again, SmallRun().values())


def test_a_run_whose_replay_has_no_rows_written_once(run):
    small, again = SmallRun(), SmallRun()
    small.play(5)
    checkpointer = RunCheckpointer(run, small.parts, None, 7, 1)
    checkpointer.write_ahead()
    small.save(checkpointer)
    assert not run.replay.exists()
    assert RunCheckpointer(run, again.parts, None, 7, 1).restore_newest() == []
    assert again.env_steps == small.env_steps


def test_parts_are_restored_in_order_after_the_rows(run):
    saved_at(run, 5)
    small, order = SmallRun(), []

    class Watched:
        def __init__(self, name: str):
            self.name = name

        def state(self) -> dict[str, np.ndarray]:
            return {}

        def restore(self, state: Any) -> None:
            order.append((self.name, small.rows.rows_added))

    small.parts = {name: Watched(name) for name in ("counts", "network")}
    small.checkpointer(run).restore_newest()
    assert order == [("counts", 5), ("network", 5)]


@pytest.mark.parametrize(("row_bytes", "rows"), [(40, 5), (100, 2), (199, 1), (200, 1), (10**6, 1)])
def test_segments_are_sized_by_bytes(monkeypatch, row_bytes, rows):
    monkeypatch.setattr(checkpoint_module, "_SEGMENT_BYTES", 200)
    frame_bytes = row_bytes // ENVIRONMENTS - 4
    assert checkpoint_module._rows_per_segment(Ring((frame_bytes,))) == rows


def test_rows_come_in_segments_of_limited_size(run, small_segments):
    small = saved_at(run, 5, 8)
    assert segments_there(run) == {
        segment(*each) for each in [(0, 2), (2, 4), (4, 5), (5, 7), (7, 8)]
    }
    assert_restored(run, small)


def test_a_save_writes_new_rows_only(run):
    small = saved_at(run, 5)
    checkpointer = small.checkpointer(run)
    checkpointer.restore_newest()
    before = (run.replay / segment(0, 5)).stat()
    small.play(3)
    small.save(checkpointer)
    after = (run.replay / segment(0, 5)).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert segments_there(run) == {segment(0, 5), segment(5, 8)}


def test_one_segment_is_in_memory_at_a_time(run, monkeypatch):
    saved_at(run, 3, 6, 9, 12)
    read = Checkpoint.segment
    held: list[weakref.ref[np.ndarray]] = []

    def watched(self: Checkpoint, folder: Path, name: str) -> Any:
        assert all(reference() is None for reference in held)
        arrays = read(self, folder, name)
        held.extend(weakref.ref(values) for values in arrays.values())
        return arrays

    monkeypatch.setattr(Checkpoint, "segment", watched)
    restored(run)
    assert len(held) == 4 * 2


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_network_of_no_finite_numbers_is_not_saved(run, value):
    small = saved_at(run, 5)
    checkpointer = small.checkpointer(run)
    checkpointer.restore_newest()
    small.play(1)
    small.layers["001"].assign(np.array([1.0, value], np.float32))
    said = refused(run.path, small.save, checkpointer)
    assert said.startswith("At 12 environment steps the network has weights that are")


# --- Ahead of the next checkpoint -----------------------------------------------------------------


def test_whole_segments_are_written_ahead_and_a_save_writes_the_rest(run, small_segments):
    small = SmallRun()
    checkpointer = small.checkpointer(run)
    checkpointer.write_ahead()
    for rows in (1, 2, 2, 2):
        small.play(rows)
        checkpointer.write_ahead()
        checkpointer._wait()
    ahead = {segment(start, start + 2) for start in (0, 2, 4)}
    assert segments_there(run) == ahead
    assert checkpoint_names(run) == []
    before = {path.name: path.stat().st_mtime_ns for path in run.replay.iterdir()}
    small.play(1)
    small.save(checkpointer)
    assert segments_there(run) == ahead | {segment(6, 8)}
    for name in ahead:
        assert (run.replay / name).stat().st_mtime_ns == before[name]
    again, checkpointer, _ = restored(run)
    assert_equal(again, small.values())
    again.play(2)
    checkpointer.write_ahead()
    checkpointer.close()
    assert segment(8, 10) in segments_there(run)


@pytest.mark.parametrize(("rows", "ahead"), [(3, False), (4, True), (8, True), (9, False)])
def test_rows_that_come_next_to_be_overwritten_are_not_written_ahead(run, monkeypatch, rows, ahead):
    """Of 12 rows that are kept: less than a segment's 4 rows, just as many, 8; and 9 leave 3."""
    monkeypatch.setattr(checkpoint_module, "_SEGMENT_BYTES", 4 * ROW_BYTES)
    small = SmallRun()
    checkpointer = small.checkpointer(run)
    small.play(20)
    small.save(checkpointer)
    small.play(rows)
    checkpointer.write_ahead()
    assert (checkpointer._ahead is not None) == ahead
    small.save(checkpointer)
    assert_restored(run, small)


@pytest.mark.parametrize(
    ("overwritten", "error", "written"),
    [
        pytest.param(MAX_LENGTH - 1, None, False, id="overwritten"),
        pytest.param(MAX_LENGTH - 1, ValueError("overwritten"), False, id="and noticed"),
        pytest.param(MAX_LENGTH - 2, None, True, id="not quite"),
    ],
)
def test_rows_overwritten_while_they_are_read_ahead_are_no_segment(
    run, monkeypatch, small_segments, overwritten, error, written
):
    small = SmallRun()
    checkpointer = small.checkpointer(run)
    small.play(2)
    read = small.rows.read_rows

    def read_while_playing(start: int, stop: int) -> Any:
        small.play(overwritten)
        if error is not None:
            raise error
        return read(start, stop)

    with monkeypatch.context() as patch:
        patch.setattr(small.rows, "read_rows", read_while_playing)
        checkpointer.write_ahead()
        checkpointer._wait()
    assert run.replay.exists() == written
    small.save(checkpointer)
    assert_restored(run, small)


def test_rows_that_cannot_be_read_ahead_though_they_are_there_are_an_error(
    run, monkeypatch, small_segments
):
    small = SmallRun()
    checkpointer = small.checkpointer(run)
    small.play(2)
    monkeypatch.setattr(small.rows, "read_rows", raises(ValueError("not written yet")))
    checkpointer.write_ahead()
    with pytest.raises(ValueError, match="not written yet"):
        checkpointer._wait()


@pytest.mark.parametrize("room_again", [False, True])
def test_a_segment_that_could_not_be_written_ahead_is_the_next_checkpoints(
    run, monkeypatch, small_segments, room_again
):
    small = SmallRun()
    checkpointer = small.checkpointer(run)
    small.play(3)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_files, "write_segment", raises(FULL))
        checkpointer.write_ahead()
        checkpointer._wait()
        checkpointer.write_ahead()
        assert checkpointer._ahead is None  # Not tried again with each turn.
        if not room_again:
            with pytest.raises(OSError, match="No space"):
                small.save(checkpointer)
    assert checkpoint_names(run) == []
    small.save(checkpointer)
    assert_restored(run, small)
    small.play(3)
    checkpointer.write_ahead()
    assert checkpointer._ahead is not None


def test_a_run_directory_that_is_gone_is_not_made_again(run, small_segments):
    small = SmallRun()
    checkpointer = small.checkpointer(run)
    small.play(3)
    run.path.rename(run.path.with_name("moved"))
    checkpointer.write_ahead()
    with pytest.raises(FileNotFoundError):
        small.save(checkpointer)
    assert not run.path.exists()


# --- What stays on disk ---------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_checkpoints_stay_and_the_segments_that_they_need(run, keep):
    small = SmallRun()
    checkpointer = small.checkpointer(run, keep)
    for saves in range(1, 13):
        small.play(4)
        small.save(checkpointer)
        assert checkpoint_names(run) == [8 * each for each in range(saves, 0, -1)][:keep]
        assert segments_there(run) == segments_needed(run)
        # Each of them, not only the newest, has all that it needs.
        for path in checkpoint_files.checkpoints(run.checkpoints):
            opened = checkpoint_files.open_checkpoint(path)
            stop = opened.counters["env_steps"] // ENVIRONMENTS
            read = [opened.segment(run.replay, name) for name in opened.segments]
            numbers = np.concatenate([each["reward"][:, 0] for each in read])
            first = int(numbers[0])
            assert list(numbers) == list(range(first, stop + 1))
            assert first <= max(0, stop - MAX_LENGTH) + 1
    # Rows of 48 in a buffer of 12: most segments went.
    assert len(segments_there(run)) <= 3 + keep


def test_what_is_no_segment_is_left_alone_and_one_that_a_killed_process_left_goes(run):
    small = saved_at(run, 4)
    strangers = {"notes.txt", "rows-1-2.npz.lz4", f"{segment(0, 4)}.copy"}
    for name in strangers:
        (run.replay / name).write_text("mine")
    checkpoint_files.write_segment(run.replay, segment(4, 6), small.rows.read_rows(2, 4))
    again, checkpointer, _ = restored(run)
    again.play(4)
    again.save(checkpointer)
    assert segments_there(run) == segments_needed(run) | strangers


def test_segments_of_checkpoints_that_failed_give_their_room_back(run, monkeypatch):
    small = SmallRun()
    checkpointer = small.checkpointer(run)
    small.play(5)
    small.save(checkpointer)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_files, "write_checkpoint", raises(FULL))
        for _ in range(3):
            small.play(MAX_LENGTH)
            with pytest.raises(OSError, match="No space"):
                small.save(checkpointer)
            assert len(segments_there(run)) == 2
            assert segments_needed(run) < segments_there(run)


def test_half_written_files_that_a_killed_process_left_go_and_nothing_else(run):
    saved_at(run, 5)
    for folder in (run.evaluations, run.videos):
        folder.mkdir()
    for name in ("notes.tmp", ".notes.tmp", "some.json.4711.tmp", ".notes.1.tmp.txt"):
        (run.path / name).write_text("mine")
    before = files_in(run.path)
    for folder in (run.path, run.checkpoints, run.replay, run.evaluations, run.videos):
        (folder / ".some.json.4711.tmp").write_bytes(b"half")
        (folder / ".000000000014.4711.tmp.mp4").write_bytes(b"half")
        (folder / ".000000000014.4711.tmp").mkdir()
        (folder / ".000000000014.4711.tmp" / "network.npz").write_bytes(b"half")
    restored(run)
    assert files_in(run.path) == before
    assert not list(run.path.rglob(".0*"))
    assert checkpoint_names(run) == [10]


def test_a_save_that_fails_at_any_point_costs_no_checkpoint(run, tmp_path, monkeypatch):
    before = saved_at(run, 5, 10).values()
    copy = RunDirectory(tmp_path / "copy")

    def save_failing_at(place: int) -> tuple[SmallRun, RunCheckpointer, int]:
        shutil.rmtree(copy.path, ignore_errors=True)
        shutil.copytree(run.path, copy.path)
        twin, checkpointer, _ = restored(copy)
        assert_equal(twin, before)
        twin.play(10)
        with monkeypatch.context() as patch:
            disk = FullDisk(patch, place)
            if place < 0:
                twin.save(checkpointer)
            else:
                with pytest.raises(OSError, match="No space"):
                    twin.save(checkpointer)
        return twin, checkpointer, disk.calls

    _, _, steps = save_failing_at(-1)
    assert steps > 12
    for place in range(1, steps + 1):
        twin, checkpointer, _ = save_failing_at(place)
        assert len(sound(copy)) >= 2
        # There is room again: the same process saves, and another one goes on.
        twin.save(checkpointer)
        assert_restored(copy, twin)


# --- Damage ---------------------------------------------------------------------------------------


def sound(run: RunDirectory) -> list[int]:
    """Steps of the checkpoints that could be restored, newest first."""
    found = []
    for path in checkpoint_files.checkpoints(run.checkpoints):
        try:
            checkpoint_files.open_checkpoint(path).verify(run.replay)
        except DamagedCheckpoint:
            continue
        found.append(int(path.name))
    return found


@pytest.fixture
def two(run: RunDirectory) -> tuple[RunDirectory, dict[str, Any]]:
    """A run with checkpoints after 5 and 10 rows; the values at the first."""
    small = saved_at(run, 5)
    expected = small.values()
    checkpointer = small.checkpointer(run)
    checkpointer.restore_newest()
    small.play(5)
    small.save(checkpointer)
    return run, expected


@pytest.mark.parametrize("name", ["manifest.json", "network.npz", "counts.npz", segment(5, 10)])
@pytest.mark.parametrize("harm", [Path.unlink, flip, lambda path: path.write_bytes(b"")])
def test_of_a_damaged_checkpoint_nothing_is_used(two, name, harm):
    run, expected = two
    path = (run.replay if name.startswith("rows") else run.checkpoints / "000000000020") / name
    harm(path)
    again, _, (sentence,) = restored(run)
    assert str(path) in sentence
    assert_equal(again, expected)


def test_with_all_damaged_each_is_named_and_nothing_is_read_or_deleted(two, monkeypatch):
    run, _ = two
    flip(run.replay / segment(0, 5))
    (run.checkpoints / "000000000010" / "manifest.json").unlink()
    monkeypatch.setattr(Checkpoint, "segment", raises(AssertionError("read")))
    small = SmallRun()
    message = refused(run.path, small.checkpointer(run).restore_newest)
    assert message.startswith(f"No checkpoint in {run.checkpoints} is sound: ")
    assert f"{segment(0, 5)} was changed: its checksum does not match" in message
    assert "000000000010/manifest.json cannot be read" in message
    assert "Nothing was deleted." in message
    assert_equal(small, SmallRun().values())


def test_a_run_that_went_back_writes_the_damaged_checkpoint_anew(two):
    run, _ = two
    flip(run.checkpoints / "000000000020" / "network.npz")
    again, checkpointer, damage = restored(run)
    assert len(damage) == 1
    again.play(5)
    again.save(checkpointer)
    assert sound(run) == [20, 10]
    assert_restored(run, again)


@pytest.mark.parametrize("harmed", ["network.npz", "manifest.json"])
@pytest.mark.parametrize(
    ("keep", "saves"),
    [
        (2, [(2, [20, 14, 10]), (2, [20, 18, 14]), (2, [22, 18]), (2, [26, 22])]),
        (1, [(1, [20, 12]), (4, [20]), (1, [22])]),
    ],
)
def test_a_damaged_checkpoint_takes_no_sound_ones_place(two, harmed, keep, saves):
    """It stays until there is a newer sound one, or is written anew, and then goes."""
    run, _ = two
    flip(run.checkpoints / "000000000020" / harmed)
    again, checkpointer, _ = restored(run, keep)
    for rows, names in saves:
        again.play(rows)
        again.save(checkpointer)
        assert checkpoint_names(run) == names
        third, _, _ = restored(run, keep)
        assert_equal(third, again.values())
    assert segments_there(run) == segments_needed(run)


def test_an_older_checkpoint_is_whole_after_its_rows_were_overwritten(two):
    run, _ = two
    again, checkpointer, _ = restored(run)
    expected = again.values()
    again.play(3 * MAX_LENGTH)
    again.save(checkpointer)
    flip(run.checkpoints / f"{again.env_steps:012d}" / "network.npz")
    third, _, damage = restored(run)
    assert len(damage) == 1
    assert_equal(third, expected)


def test_an_older_checkpoint_without_manifest_goes_with_the_rest(two):
    run, _ = two
    (run.checkpoints / "000000000010" / "manifest.json").unlink()
    again, checkpointer, _ = restored(run, keep=2)
    again.play(1)
    again.save(checkpointer)
    assert checkpoint_names(run) == [22, 20]
    assert segments_there(run) == segments_needed(run)


# --- Checkpoints of another run -------------------------------------------------------------------


def with_another_type() -> SmallRun:
    small = SmallRun()
    small.parts["network"] = Variables({**small.layers, "001": Variable([0, 0], np.float64)})
    return small


def with_another_part() -> SmallRun:
    small = SmallRun()
    small.parts["optimizer"] = Variables({})
    return small


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (lambda: SmallRun((3, 5)), "'001' is float32 (2,) there and float32 (5,) here."),
        (lambda: SmallRun((3, 2, 1)), "'002' is missing there and float32 (1,) here."),
        (lambda: SmallRun((3,)), "'001' is float32 (2,) there and missing here."),
        (with_another_type, "'001' is float32 (2,) there and float64 (2,) here."),
        (with_another_part, "only one of both has optimizer.npz."),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_and_stays(run, other, said):
    saved_at(run, 7)
    small = other()
    message = refused(run.path, small.checkpointer(run).restore_newest)
    (path,) = checkpoint_files.checkpoints(run.checkpoints)
    assert message.startswith(f"The checkpoint {path} is of another run: ")
    assert message.endswith(f"{said} Nothing was deleted.")
    assert all((layer.value == 0).all() for layer in small.layers.values())


def test_an_exported_network_cannot_be_trained_on(tmp_path, run):
    saved_at(run, 7)
    run.config_gin.write_text("")
    shared = RunDirectory(tmp_path / "shared")
    exported = export_network(run.path, shared.path)
    message = refused(shared.path, SmallRun().checkpointer(shared).restore_newest)
    assert message == (
        f"The checkpoint {exported} is an exported network: it can be played, by eval.py, but not "
        "trained any further. Choose another --run_dir."
    )


def test_a_checkpoint_of_another_seed_than_the_record_says_is_refused(run):
    """As after a flipped digit in run.json, where no --seed is given."""
    saved_at(run, 5)
    said = refused(run.path, SmallRun().checkpointer(run, seed=8).restore_newest)
    assert said.startswith(f"{run.run_json} says that the seed is 8, and ")
    assert " is of seed 7." in said
