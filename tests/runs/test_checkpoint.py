"""Tests of what a checkpoint of a run holds, and of going on from one."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import shutil
import tracemalloc
import types
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gin
import lz4.frame
import numpy as np
import pytest
import tensorflow as tf
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import trajectory as trajectory_lib

from dqn_breakout import config, experiment
from dqn_breakout.errors import UserError
from dqn_breakout.networks.fingerprint import weights_sha256
from dqn_breakout.replay.compressed_frame_table import CompressedFrameTable
from dqn_breakout.replay.frame_replay_buffer import FrameReplayBuffer
from dqn_breakout.replay.frame_table import FrameTable
from dqn_breakout.runs import checkpoint as checkpoint_module
from dqn_breakout.runs import checkpoint_files
from dqn_breakout.runs.checkpoint import RunCheckpointer
from dqn_breakout.runs.checkpoint_files import DamagedCheckpoint
from dqn_breakout.runs.directory import RunDirectory
from dqn_breakout.training.loop import iterations

ENVIRONMENTS = 2
MAX_LENGTH = 12
GAME_STEPS = 5


class SmallRun:
    """A run of few numbers: what is saved of it changes with every step in a known way."""

    def __init__(self, layers: tuple[int, ...] = (3, 2), table: type[FrameTable] = FrameTable):
        variables = [tf.Variable(tf.zeros([units])) for units in layers]
        self.q_network = types.SimpleNamespace(variables=variables)
        self.learner = {
            "train_step": tf.Variable(0, dtype=tf.int64),
            "target/000": tf.Variable(tf.zeros([3])),
        }
        self.counts = {"env_steps": tf.Variable(0, dtype=tf.int64)}
        self.calls = tf.Variable(0, dtype=tf.int64)
        self.game = np.zeros(3)
        self.replay = FrameReplayBuffer(data_spec(), ENVIRONMENTS, MAX_LENGTH, 1, table)
        self.action_spec = tensor_spec.BoundedTensorSpec([], tf.int32, 0, 3)

    def state_variables(self) -> dict[str, tf.Variable]:
        return self.learner

    @property
    def env_steps(self) -> int:
        return int(self.counts["env_steps"].numpy())

    def play(self, rows: int) -> None:
        """Adds rows to the replay buffer and moves everything else along."""
        for _ in range(rows):
            row = self.replay.rows_added
            step = row % GAME_STEPS
            kind = 0 if step == 0 else 2 if step == GAME_STEPS - 1 else 1
            following = 0 if kind == 2 else 2 if step == GAME_STEPS - 2 else 1
            frame = np.arange(ENVIRONMENTS * 64).reshape(ENVIRONMENTS, 8, 8, 1) + 7 * row
            self.replay.add_batch(
                trajectory_lib.Trajectory(
                    step_type=tf.fill([ENVIRONMENTS], kind),
                    observation=tf.constant(np.repeat(frame % 256, 4, axis=-1), tf.uint8),
                    action=tf.fill([ENVIRONMENTS], row % 4),
                    policy_info=(),
                    next_step_type=tf.fill([ENVIRONMENTS], following),
                    reward=tf.fill([ENVIRONMENTS], float(row)),
                    discount=tf.ones([ENVIRONMENTS]),
                )
            )
        self.counts["env_steps"].assign_add(rows * ENVIRONMENTS)
        self.calls.assign_add(rows)
        for variable in (*self.q_network.variables, *self.learner.values()):
            variable.assign_add(tf.ones_like(variable) * rows)
        self.game += rows

    def values(self) -> dict[str, Any]:
        """All that the run's future depends on."""
        replay = self.replay
        oldest = max(0, replay.rows_added - replay.max_length)
        rows = replay.read_rows(oldest, replay.rows_added)._asdict() if replay.rows_added else {}
        network = {f"q/{n}": each.numpy() for n, each in enumerate(self.q_network.variables)}
        learner = {name: each.numpy() for name, each in self.learner.items()}
        return {
            **rows,
            **network,
            **learner,
            "rows": replay.rows_added,
            "drawn": int(replay.samples_drawn.numpy()),
            "env_steps": self.env_steps,
            "calls": int(self.calls.numpy()),
            "game": self.game.copy(),
        }

    def checkpointer(self, run: RunDirectory, keep: int = 2, seed: int = 7) -> RunCheckpointer:
        collector: Any = types.SimpleNamespace(
            variables=lambda: {"policy_calls": self.calls},
            get_state=lambda: {"game": self.game.copy()},
            set_state=lambda state: setattr(self, "game", state["game"].copy()),
        )
        metrics: Any = types.SimpleNamespace(variables=lambda: self.counts)
        return RunCheckpointer(run, self, self.replay, collector, metrics, seed, keep)


def data_spec() -> trajectory_lib.Trajectory:
    scalar = tf.TensorSpec([], tf.int32)
    return trajectory_lib.Trajectory(
        step_type=scalar,
        observation=tf.TensorSpec([8, 8, 4], tf.uint8),
        action=scalar,
        policy_info=(),
        next_step_type=scalar,
        reward=tf.TensorSpec([], tf.float32),
        discount=tf.TensorSpec([], tf.float32),
    )


def assert_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "run")
    run.create()
    return run


def save(small: SmallRun, checkpointer: RunCheckpointer) -> None:
    train_steps = int(small.learner["train_step"].numpy())
    checkpointer.save({"env_steps": small.env_steps, "train_steps": train_steps})


def saved_at(run: RunDirectory, *rows: int, keep: int = 2) -> SmallRun:
    """A run that was saved after so many rows each time."""
    small = SmallRun()
    checkpointer = small.checkpointer(run, keep)
    for each in rows:
        small.play(each - small.replay.rows_added)
        save(small, checkpointer)
    return small


def restored(run: RunDirectory, keep: int = 2) -> tuple[SmallRun, RunCheckpointer, list[str]]:
    small = SmallRun()
    checkpointer = small.checkpointer(run, keep)
    damage = checkpointer.restore_newest()
    return small, checkpointer, damage


def files(run: RunDirectory) -> dict[str, bytes]:
    return {
        str(path.relative_to(run.path)): path.read_bytes()
        for path in sorted(run.path.rglob("*"))
        if path.is_file()
    }


def checkpoint_names(run: RunDirectory) -> list[int]:
    return [int(path.name) for path in checkpoint_files.checkpoints(run.checkpoints)]


def segments_needed(run: RunDirectory) -> set[str]:
    found = checkpoint_files.checkpoints(run.checkpoints)
    return {name for path in found for name in checkpoint_files.open_checkpoint(path).segments}


def segments_there(run: RunDirectory) -> set[str]:
    return {path.name for path in run.replay.iterdir()}


def damage_file(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


# --- Saving and restoring -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([1], id="one row"),
        pytest.param([7], id="part of the buffer"),
        pytest.param([MAX_LENGTH], id="just full"),
        pytest.param([MAX_LENGTH + 1], id="one row overwritten"),
        pytest.param([5 * MAX_LENGTH + 3], id="overwritten several times between two saves"),
        pytest.param([3, 7, 11], id="several saves"),
        pytest.param([5, 10, 15, 20, 25, 30], id="more rows than are kept"),
        pytest.param([5, 6, 40, 41, 90], id="at odd times"),
        pytest.param([MAX_LENGTH, 2 * MAX_LENGTH], id="wholly new rows"),
    ],
)
def test_a_restored_run_is_the_run_that_was_saved(run, rows):
    small = saved_at(run, *rows)
    again, _, damage = restored(run)
    assert damage == []
    assert_equal(again.values(), small.values())


def test_a_restored_run_goes_on_as_the_run_that_was_saved(run):
    small = saved_at(run, 5, 17)
    again, checkpointer, _ = restored(run)
    for each in (small, again):
        each.play(9)
    assert_equal(again.values(), small.values())
    save(again, checkpointer)
    third, _, _ = restored(run)
    assert_equal(third.values(), small.values())


def test_a_restored_replay_buffer_gives_the_same_next_batches(run):
    small = SmallRun()
    checkpointer = small.checkpointer(run)
    small.play(17)
    small.replay.get_next(sample_batch_size=8, num_steps=2)
    save(small, checkpointer)
    again, _, _ = restored(run)
    for _ in range(3):
        expected, expected_info = small.replay.get_next(sample_batch_size=32, num_steps=2)
        found, info = again.replay.get_next(sample_batch_size=32, num_steps=2)
        tf.nest.map_structure(np.testing.assert_array_equal, found, expected)
        tf.nest.map_structure(np.testing.assert_array_equal, info, expected_info)


@pytest.mark.parametrize("saved", [FrameTable, CompressedFrameTable])
@pytest.mark.parametrize("here", [FrameTable, CompressedFrameTable])
def test_a_checkpoint_is_the_same_whether_frames_are_compressed_or_not(run, saved, here):
    small, again = SmallRun(table=saved), SmallRun(table=here)
    checkpointer = small.checkpointer(run)
    for _ in range(3):
        small.play(9)
        small.replay.get_next(sample_batch_size=8, num_steps=2)
        save(small, checkpointer)
    assert again.checkpointer(run).restore_newest() == []
    assert_equal(again.values(), small.values())
    for _ in range(2):
        for each in (small, again):
            each.play(5)
        expected = small.replay.get_next(sample_batch_size=32, num_steps=2)
        found = again.replay.get_next(sample_batch_size=32, num_steps=2)
        tf.nest.map_structure(np.testing.assert_array_equal, found, expected)


def test_without_checkpoints_nothing_is_restored(run):
    again, _, damage = restored(run)
    assert damage == []
    assert_equal(again.values(), SmallRun().values())


def test_rows_come_in_segments_of_limited_size(run, monkeypatch):
    # Two rows of two environments each.
    monkeypatch.setattr(checkpoint_module, "_SEGMENT_TRANSITIONS", 4)
    small = saved_at(run, 5, 8)
    assert sorted(segments_there(run)) == [
        f"rows-{start:012d}-{stop:012d}.npz.lz4"
        for start, stop in [(0, 2), (2, 4), (4, 5), (5, 7), (7, 8)]
    ]
    again, _, _ = restored(run)
    assert_equal(again.values(), small.values())


def test_whole_segments_are_written_ahead_and_a_save_writes_the_rest(run, monkeypatch):
    monkeypatch.setattr(checkpoint_module, "_SEGMENT_TRANSITIONS", 4)
    small = SmallRun()
    checkpointer = small.checkpointer(run)
    checkpointer.write_ahead()
    for rows in (1, 2, 2, 2):
        small.play(rows)
        checkpointer.write_ahead()
        checkpointer._wait()
    ahead = segments_there(run)
    assert sorted(ahead) == [f"rows-{start:012d}-{start + 2:012d}.npz.lz4" for start in (0, 2, 4)]
    assert checkpoint_names(run) == []
    before = {path.name: path.stat().st_mtime_ns for path in run.replay.iterdir()}
    small.play(1)
    save(small, checkpointer)
    assert segments_there(run) == ahead | {"rows-000000000006-000000000008.npz.lz4"}
    for path in run.replay.iterdir():
        assert path.stat().st_mtime_ns == before.get(path.name, path.stat().st_mtime_ns)
    again, checkpointer, _ = restored(run)
    assert_equal(again.values(), small.values())
    again.play(2)
    checkpointer.write_ahead()
    checkpointer._wait()
    assert "rows-000000000008-000000000010.npz.lz4" in segments_there(run)


def test_a_checkpoint_of_another_seed_than_the_record_says_is_refused(run):
    """As after a flipped digit in run.json, where no --seed is given."""
    saved_at(run, 5)
    before = checkpoint_names(run)
    with pytest.raises(
        UserError, match=r"run\.json says that the seed is 8, and .* is of seed 7\."
    ):
        SmallRun().checkpointer(run, seed=8).restore_newest()
    assert checkpoint_names(run) == before


def test_a_run_directory_that_is_gone_is_not_made_again(run, monkeypatch):
    monkeypatch.setattr(checkpoint_module, "_SEGMENT_TRANSITIONS", 4)
    small = SmallRun()
    checkpointer = small.checkpointer(run)
    small.play(3)
    run.path.rename(run.path.with_name("moved"))
    checkpointer.write_ahead()
    with pytest.raises(FileNotFoundError):
        checkpointer.save({"env_steps": small.env_steps})
    assert not run.path.exists()


def test_writing_ahead_looks_at_no_segment_that_was_written(run, monkeypatch):
    small = saved_at(run, 5)
    checkpointer = small.checkpointer(run)
    checkpointer.restore_newest()
    monkeypatch.setattr(checkpoint_module, "_segment_range", raises(AssertionError("looked")))
    checkpointer.write_ahead()


@pytest.mark.parametrize(("rows", "ahead"), [(3, False), (4, True), (8, True), (9, False)])
def test_rows_that_come_next_to_be_overwritten_are_not_written_ahead(run, monkeypatch, rows, ahead):
    """Of 12 rows that are kept: less than a segment's 4 rows, just as many, 8; and 9 leave 3."""
    monkeypatch.setattr(checkpoint_module, "_SEGMENT_TRANSITIONS", 4 * ENVIRONMENTS)
    small = SmallRun()
    checkpointer = small.checkpointer(run)
    small.play(20)
    save(small, checkpointer)
    small.play(rows)
    checkpointer.write_ahead()
    assert (checkpointer._ahead is not None) == ahead
    save(small, checkpointer)
    again, _, _ = restored(run)
    assert_equal(again.values(), small.values())


def read_while_overwritten(small: SmallRun, rows: int, error: Exception | None) -> Any:
    """Reads as another thread does while the run plays on; then, of compressed frames, may fail."""
    read = small.replay.read_rows

    def read_rows(start: int, stop: int) -> Any:
        small.play(rows)
        if error is not None:
            raise error
        return read(start, stop)

    return read_rows


@pytest.mark.parametrize("error", [None, ValueError("overwritten")])
def test_rows_overwritten_while_they_are_read_ahead_are_no_segment(run, monkeypatch, error):
    monkeypatch.setattr(checkpoint_module, "_SEGMENT_TRANSITIONS", 4)
    small = SmallRun()
    checkpointer = small.checkpointer(run)
    small.play(2)
    with monkeypatch.context() as patch:
        reading = read_while_overwritten(small, MAX_LENGTH - 1, error)
        patch.setattr(small.replay, "read_rows", reading)
        checkpointer.write_ahead()
        checkpointer._wait()
    assert not run.replay.exists()
    save(small, checkpointer)
    again, _, _ = restored(run)
    assert_equal(again.values(), small.values())


def test_rows_that_are_not_overwritten_while_they_are_read_ahead_are_a_segment(run, monkeypatch):
    monkeypatch.setattr(checkpoint_module, "_SEGMENT_TRANSITIONS", 4)
    small = SmallRun()
    checkpointer = small.checkpointer(run)
    small.play(2)
    with monkeypatch.context() as patch:
        reading = read_while_overwritten(small, MAX_LENGTH - 2, None)
        patch.setattr(small.replay, "read_rows", reading)
        checkpointer.write_ahead()
        checkpointer._wait()
    assert segments_there(run) == {"rows-000000000000-000000000002.npz.lz4"}
    save(small, checkpointer)
    again, _, _ = restored(run)
    assert_equal(again.values(), small.values())


def test_rows_that_cannot_be_read_ahead_though_they_are_there_are_an_error(run, monkeypatch):
    monkeypatch.setattr(checkpoint_module, "_SEGMENT_TRANSITIONS", 4)
    small = SmallRun()
    checkpointer = small.checkpointer(run)
    small.play(2)
    reading = read_while_overwritten(small, 0, ValueError("not written yet"))
    monkeypatch.setattr(small.replay, "read_rows", reading)
    checkpointer.write_ahead()
    with pytest.raises(ValueError, match="not written yet"):
        checkpointer._wait()


@pytest.mark.parametrize("room_again", [False, True])
def test_a_segment_that_could_not_be_written_ahead_is_the_next_checkpoints(
    run, monkeypatch, room_again
):
    monkeypatch.setattr(checkpoint_module, "_SEGMENT_TRANSITIONS", 4)
    small = SmallRun()
    checkpointer = small.checkpointer(run)
    small.play(3)
    with monkeypatch.context() as patch:
        error = OSError(errno.ENOSPC, "No space left on device", "rows")
        patch.setattr(checkpoint_files, "write_segment", raises(error))
        checkpointer.write_ahead()
        checkpointer._wait()
        checkpointer.write_ahead()
        assert checkpointer._ahead is None  # Not tried again with each turn.
        if not room_again:
            with pytest.raises(OSError, match="No space"):
                checkpointer.save({"env_steps": small.env_steps})
    assert checkpoint_names(run) == []
    save(small, checkpointer)
    again, _, _ = restored(run)
    assert_equal(again.values(), small.values())
    small.play(3)
    checkpointer.write_ahead()
    assert checkpointer._ahead is not None


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_network_of_no_finite_numbers_is_not_saved(run, value):
    small = saved_at(run, 5)
    checkpointer = small.checkpointer(run)
    checkpointer.restore_newest()
    small.q_network.variables[1].assign([1.0, value])
    with pytest.raises(UserError, match="weights that are not finite numbers"):
        save(small, checkpointer)
    assert checkpoint_names(run) == [10]


def raises(error: Exception) -> Callable[..., Any]:
    def fail(*arguments: Any, **named: Any) -> Any:
        raise error

    return fail


def test_a_save_writes_new_rows_only(run):
    small = saved_at(run, 5)
    checkpointer = small.checkpointer(run)
    checkpointer.restore_newest()
    (first,) = run.replay.iterdir()
    before = first.stat()
    small.play(3)
    save(small, checkpointer)
    after = first.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert segments_there(run) == {
        "rows-000000000000-000000000005.npz.lz4",
        "rows-000000000005-000000000008.npz.lz4",
    }


def test_saving_twice_without_playing_keeps_one_checkpoint(run):
    small = saved_at(run, 7, 7)
    assert checkpoint_names(run) == [14]
    again, _, _ = restored(run)
    assert_equal(again.values(), small.values())


# --- What stays on disk ---------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_checkpoints_stay(run, keep):
    saved_at(run, *range(4, 41, 4), keep=keep)
    assert checkpoint_names(run) == [80, 72, 64][:keep]


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_segments_stay_as_long_as_a_checkpoint_needs_them(run, keep):
    small = SmallRun()
    checkpointer = small.checkpointer(run, keep)
    dropped = set()
    for _ in range(12):
        small.play(4)
        save(small, checkpointer)
        there = segments_there(run)
        assert there == segments_needed(run)
        dropped |= {f"rows-{start:012d}-{start + 4:012d}.npz.lz4" for start in range(0, 48, 4)}
        dropped -= there
        # Each of them, not only the newest, has all that it needs.
        for path in checkpoint_files.checkpoints(run.checkpoints):
            opened = checkpoint_files.open_checkpoint(path)
            stop = opened.counters["env_steps"] // ENVIRONMENTS
            rows = [
                reward
                for name in opened.segments
                for reward in opened.segment(run.replay, name)["reward"][:, 0]
            ]
            assert rows == list(range(int(rows[0]), stop))
            assert rows[0] <= max(0, stop - MAX_LENGTH)
    # Rows of 48 in a buffer of 12: most segments went.
    assert len(there) <= 3 + keep
    assert "rows-000000000000-000000000004.npz.lz4" in dropped


def test_an_older_checkpoint_can_still_be_restored_after_its_rows_were_overwritten(run):
    small = saved_at(run, 6)
    expected = small.values()
    checkpointer = small.checkpointer(run)
    checkpointer.restore_newest()
    small.play(3 * MAX_LENGTH)
    save(small, checkpointer)
    damage_file(run.checkpoints / f"{small.env_steps:012d}" / "network.npz")
    again, _, damage = restored(run)
    assert len(damage) == 1
    assert_equal(again.values(), expected)


def test_what_is_no_segment_is_left_alone(run):
    run.replay.mkdir()
    strangers = ["notes.txt", "rows-1-2.npz.lz4", "rows-000000000000-000000000004.npz.lz4.copy"]
    for name in strangers:
        (run.replay / name).write_text("mine")
    saved_at(run, 4, 40, 80)
    assert set(strangers) < segments_there(run)


def test_a_segment_that_a_killed_process_left_goes(run):
    small = saved_at(run, 5)
    stale = "rows-000000000005-000000000007.npz.lz4"
    checkpoint_files.write_segment(run.replay, stale, small.replay.read_rows(3, 5)._asdict())
    again, checkpointer, _ = restored(run)
    again.play(4)
    save(again, checkpointer)
    assert stale not in segments_there(run)
    assert segments_there(run) == segments_needed(run)


def test_segments_of_checkpoints_that_failed_give_their_room_back(run, monkeypatch):
    small = SmallRun()
    checkpointer = small.checkpointer(run)
    small.play(5)
    save(small, checkpointer)
    with monkeypatch.context() as patch:
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        patch.setattr(checkpoint_files, "write_checkpoint", raises(full))
        for _ in range(3):
            small.play(MAX_LENGTH)
            with pytest.raises(OSError, match="No space"):
                save(small, checkpointer)
            assert len(segments_there(run)) == 2
            assert segments_needed(run) < segments_there(run)


def test_half_written_files_that_a_killed_process_left_go(run):
    saved_at(run, 5)
    half_checkpoint = run.checkpoints / ".000000000014.4711.tmp"
    half_checkpoint.mkdir()
    (half_checkpoint / "network.npz").write_bytes(b"half")
    half_segment = run.replay / ".rows-000000000005-000000000007.npz.lz4.4711.tmp"
    half_segment.write_bytes(b"half")
    half_summary = run.path / ".summary.json.4711.tmp"
    half_summary.write_bytes(b"half")
    half_video = run.videos / ".000000000014.4711.tmp.mp4"
    half_video.parent.mkdir()
    half_video.write_bytes(b"half")
    restored(run)
    assert not half_video.exists()
    assert not half_checkpoint.exists()
    assert not half_segment.exists()
    assert not half_summary.exists()


# --- Damage ---------------------------------------------------------------------------------------

FILES = [
    "manifest.json",
    "network.npz",
    "learner.npz",
    "metrics.npz",
    "collection.npz",
    "environment.npz",
]


@pytest.fixture
def two(run: RunDirectory) -> tuple[RunDirectory, dict[str, Any]]:
    """A run with checkpoints after 5 and 10 rows; the values at the first."""
    small = SmallRun()
    checkpointer = small.checkpointer(run)
    small.play(5)
    save(small, checkpointer)
    expected = small.values()
    small.play(5)
    save(small, checkpointer)
    return run, expected


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", [Path.unlink, damage_file, lambda path: path.write_bytes(b"")])
def test_of_a_damaged_checkpoint_nothing_is_used(two, name, harm):
    run, expected = two
    path = run.checkpoints / "000000000020" / name
    # In the middle of the manifest stand checksums.
    harm(path)
    again, _, (sentence,) = restored(run)
    assert str(path) in sentence or name == "manifest.json"
    assert "000000000020" in sentence
    assert_equal(again.values(), expected)


def test_of_a_checkpoint_with_a_damaged_segment_nothing_is_used(two):
    run, expected = two
    path = run.replay / "rows-000000000005-000000000010.npz.lz4"
    damage_file(path)
    again, _, damage = restored(run)
    assert damage == [f"{path} was changed: its checksum does not match"]
    assert_equal(again.values(), expected)


def test_a_segment_that_both_need_damages_both(two):
    run, _ = two
    damage_file(run.replay / "rows-000000000000-000000000005.npz.lz4")
    before = files(run)
    with pytest.raises(UserError) as caught:
        restored(run)
    message = caught.value.message
    assert message.startswith(f"No checkpoint in {run.checkpoints} is sound: ")
    assert message.count("rows-000000000000-000000000005.npz.lz4 was changed") == 2
    assert "Nothing was deleted." in message
    assert files(run) == before


def test_all_damaged_is_an_error_that_names_each_and_deletes_nothing(two):
    run, _ = two
    damage_file(run.checkpoints / "000000000010" / "learner.npz")
    (run.checkpoints / "000000000020" / "manifest.json").unlink()
    before = files(run)
    small = SmallRun()
    with pytest.raises(UserError) as caught:
        small.checkpointer(run).restore_newest()
    assert "000000000010/learner.npz was changed" in caught.value.message
    assert "000000000020/manifest.json cannot be read" in caught.value.message
    assert files(run) == before
    assert_equal(small.values(), SmallRun().values())


def sound(run: RunDirectory) -> list[int]:
    """Steps of the checkpoints that could be restored, newest first."""
    found = []
    for path in checkpoint_files.checkpoints(run.checkpoints):
        try:
            opened = checkpoint_files.open_checkpoint(path)
            for group in ("network", "learner", "metrics", "collection", "environment"):
                opened.arrays(group)
            for name in opened.segments:
                opened.segment(run.replay, name)
        except DamagedCheckpoint:
            continue
        found.append(int(path.name))
    return found


def test_a_run_that_went_back_writes_the_damaged_checkpoint_anew(two):
    run, _ = two
    damage_file(run.checkpoints / "000000000020" / "network.npz")
    again, checkpointer, damage = restored(run)
    assert len(damage) == 1
    again.play(5)
    save(again, checkpointer)
    assert sound(run) == [20, 10]
    third, _, damage = restored(run)
    assert damage == []
    assert_equal(third.values(), again.values())


@pytest.mark.parametrize("harmed", ["network.npz", "manifest.json"])
def test_a_damaged_checkpoint_takes_no_sound_ones_place(two, harmed):
    run, _ = two
    damage_file(run.checkpoints / "000000000020" / harmed)
    again, checkpointer, _ = restored(run, keep=2)
    for rows in (1, 1, 1):
        again.play(rows)
        save(again, checkpointer)
    # Still before the damaged one: the two newest of the run as it stands are there.
    assert sound(run) == [16, 14]


@pytest.mark.parametrize("harmed", ["network.npz", "manifest.json"])
def test_a_damaged_checkpoint_never_costs_the_newest_sound_one(two, harmed):
    run, _ = two
    damage_file(run.checkpoints / "000000000020" / harmed)
    again, checkpointer, _ = restored(run, keep=1)
    again.play(1)
    save(again, checkpointer)
    assert sound(run)[0] == 12
    third, _, _ = restored(run, keep=1)
    assert_equal(third.values(), again.values())


def test_a_damaged_checkpoint_stays_until_there_is_a_newer_sound_one(two):
    run, _ = two
    damage_file(run.checkpoints / "000000000020" / "network.npz")
    again, checkpointer, _ = restored(run, keep=2)
    for rows, names in [(2, [20, 14, 10]), (2, [20, 18, 14]), (2, [22, 18]), (2, [26, 22])]:
        again.play(rows)
        save(again, checkpointer)
        assert checkpoint_names(run) == names
    assert sound(run) == [26, 22]
    assert segments_there(run) == segments_needed(run)


def test_an_older_checkpoint_without_manifest_goes_with_the_rest(two):
    run, _ = two
    (run.checkpoints / "000000000010" / "manifest.json").unlink()
    again, checkpointer, _ = restored(run, keep=2)
    again.play(1)
    save(again, checkpointer)
    assert checkpoint_names(run) == [22, 20]
    assert segments_there(run) == segments_needed(run)


# --- Replay rows ----------------------------------------------------------------------------------


def rewrite(run: RunDirectory, change: Callable[[dict[str, Any]], Any], name: str = "") -> None:
    """Writes the newest checkpoint anew, after changing a segment, a group or the segments."""
    newest = checkpoint_files.open_checkpoint(checkpoint_files.checkpoints(run.checkpoints)[0])
    groups = {Path(each).stem: newest.arrays(Path(each).stem) for each in newest.manifest["files"]}
    segments = dict(newest.manifest["segments"])
    if name in groups:
        change(groups[name])
    elif name:
        arrays = newest.segment(run.replay, name)
        change(arrays)
        segments[name] = checkpoint_files.write_segment(run.replay, name, arrays)
    else:
        change(segments)
    checkpoint_files.write_checkpoint(run.checkpoints, newest.counters, groups, segments)


FIRST = "rows-000000000000-000000000005.npz.lz4"
SECOND = "rows-000000000005-000000000010.npz.lz4"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows.pop("action"), "no action"),
        (lambda rows: rows.update(extra=np.zeros(1)), "'extra' is there and not here"),
        (
            lambda rows: rows.update(reward=rows["reward"].astype(np.float64)),
            "reward is of type float64 there and float32 here",
        ),
        (
            lambda rows: rows.update(frame=rows["frame"][:, :1]),
            "frame has shape (5, 1, 8, 8) there and (5, 2, 8, 8) here",
        ),
        (
            lambda rows: rows.update(discount=rows["discount"][1:]),
            "discount has shape (4, 2) there and (5, 2) here",
        ),
    ],
)
def test_rows_of_another_replay_buffer_are_refused(run, change, said):
    saved_at(run, 5, 10)
    rewrite(run, change, FIRST)
    before = files(run)
    small = SmallRun()
    with pytest.raises(UserError) as caught:
        small.checkpointer(run).restore_newest()
    path = run.checkpoints / "000000000020"
    assert caught.value.message.startswith(
        f"The checkpoint {path} is of another replay buffer: in {FIRST}, {said}. "
    )
    assert_equal(small.values(), SmallRun().values())
    assert files(run) == before


def assert_unusable(run: RunDirectory, reason: str) -> None:
    """The newest checkpoint is refused, nothing assigned, and no file changed."""
    before = files(run)
    small = SmallRun()
    with pytest.raises(UserError) as caught:
        small.checkpointer(run).restore_newest()
    assert caught.value.message == (
        f"The checkpoint {run.checkpoints / '000000000020'} cannot be used: {reason}. Nothing was "
        "deleted. Remove its folder to go on from the one before."
    )
    assert_equal(small.values(), SmallRun().values())
    assert files(run) == before


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("action", 4),
        ("action", 200),
        ("step_type", 3),
        ("next_step_type", 255),
        ("reward", np.nan),
        ("reward", -np.inf),
        ("discount", np.inf),
    ],
)
def test_rows_that_no_game_gives_are_refused(run, field, value):
    """One value of one row; the checkpoint before is sound, but rows of its own may be in place."""
    saved_at(run, 5, 10)
    rewrite(run, lambda rows: rows[field].__setitem__((3, 1), value), FIRST)
    assert_unusable(run, f"in {FIRST} is a value of {field} that no game gives")


@pytest.mark.parametrize("value", [-(10**9), 0, 19, 2**62])
@pytest.mark.parametrize(
    ("group", "name", "counter", "stated"),
    [("metrics", "env_steps", "env_steps", 20), ("learner", "train_step", "train_steps", 10)],
)
def test_counts_other_than_the_manifests_are_refused(run, group, name, counter, stated, value):
    """What is due is worked out from them: train steps without end, in one turn."""
    saved_at(run, 5, 10)
    rewrite(run, lambda arrays: arrays.update({name: np.array(value)}), group)
    assert_unusable(run, f"its manifest has {counter} = {stated}, and its {group} {value}")


def test_a_checkpoint_that_does_not_count_its_train_steps_is_refused(run):
    small = SmallRun()
    small.play(5)
    small.checkpointer(run).save({"env_steps": 10})
    with pytest.raises(UserError, match="its manifest has train_steps = None, and its learner 5"):
        restored(run)


def test_a_segment_written_without_arrays_is_an_error_and_not_passed_over(two):
    run, _ = two
    damage = b"no arrays"
    (run.replay / SECOND).write_bytes(damage)
    fingerprint = {"bytes": len(damage), "sha256": hashlib.sha256(damage).hexdigest()}
    rewrite(run, lambda segments: segments.update({SECOND: fingerprint}))
    small = SmallRun()
    with pytest.raises(UserError, match=r"000000000020 cannot be used: .*is not a replay segment"):
        small.checkpointer(run).restore_newest()
    assert small.env_steps == 0


@pytest.mark.parametrize(
    ("zeros", "said"),
    [(16_000_000, "holds more than"), (200_000_000, "what belongs there at most")],
)
def test_a_segment_takes_no_more_memory_than_its_rows_whatever_its_manifest_states(
    two, zeros, said
):
    run, expected = two
    bomb = lz4.frame.compress(bytes(zeros))
    (run.replay / SECOND).write_bytes(bomb)
    digest = hashlib.sha256(bomb).hexdigest()
    stated = {"bytes": len(bomb), "sha256": digest, "uncompressed_bytes": 2**40}
    rewrite(run, lambda segments: segments.update({SECOND: stated}))
    small = SmallRun()
    checkpointer = small.checkpointer(run)
    tracemalloc.start()
    try:
        # The larger one is told by its size already, so that no row was put in place.
        if zeros > 2**25:
            (sentence,) = checkpointer.restore_newest()
        else:
            with pytest.raises(UserError, match=r"000000000020 cannot be used") as caught:
                checkpointer.restore_newest()
            sentence = caught.value.message
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert f"{SECOND} " in sentence
    assert said in sentence
    # lz4 takes some 20 MB for a moment.
    assert peak_bytes < 30_000_000
    if zeros > 2**25:
        assert_equal(small.values(), expected)
    else:
        assert small.env_steps == 0


@pytest.mark.parametrize("name", [*(name for name in FILES if name.endswith(".npz")), SECOND])
def test_a_file_too_large_for_this_run_is_not_even_compared(two, name, monkeypatch):
    """It takes no room on the disk, and comparing it with its checksum would take minutes."""
    run, expected = two
    path = (run.replay if name == SECOND else run.checkpoints / "000000000020") / name
    os.truncate(path, 2**40)
    newest = checkpoint_files.open_checkpoint(run.checkpoints / "000000000020")
    place = "segments" if name == SECOND else "files"
    newest.manifest[place][name]["bytes"] = 2**40
    newest.manifest["sha256"] = checkpoint_files._manifest_checksum(newest.manifest)
    (newest.path / "manifest.json").write_text(json.dumps(newest.manifest))
    compared: list[str] = []
    file_digest = hashlib.file_digest

    def watched(file: Any, algorithm: str) -> Any:
        compared.append(Path(file.name).name)
        assert file.name != str(path)
        return file_digest(file, algorithm)

    monkeypatch.setattr(hashlib, "file_digest", watched)
    again, _, (sentence,) = restored(run)
    assert f"{path} has 1,099,511,627,776 bytes, and what belongs there at most" in sentence
    assert_equal(again.values(), expected)
    assert "network.npz" in compared


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda segments: segments.pop(SECOND), "has 5 replay rows and should have 10"),
        (lambda segments: segments.clear(), "has 0 replay rows and should have 10"),
        (
            lambda segments: segments.update({"rows.npz.lz4": segments.pop(SECOND)}),
            "'rows.npz.lz4' is not the name of a replay segment",
        ),
        (
            lambda segments: segments.update(
                {"rows-000000000005-999999999999.npz.lz4": segments.pop(SECOND)}
            ),
            "has 999999999994 replay rows in one segment",
        ),
        (
            lambda segments: segments.update(
                {"rows-000000000006-000000000010.npz.lz4": segments.pop(SECOND)}
            ),
            "lacks replay rows before row 6",
        ),
    ],
)
def test_a_checkpoint_that_lacks_rows_is_damaged(two, change, said):
    run, expected = two
    rewrite(run, change)
    again, _, (sentence,) = restored(run)
    assert said in sentence
    assert_equal(again.values(), expected)


def test_a_checkpoint_that_lacks_the_oldest_rows_is_refused(two):
    run, _ = two
    rewrite(run, lambda segments: segments.pop(FIRST))
    with pytest.raises(UserError, match="it has 5 rows of each environment, and this run needs 12"):
        restored(run)


@pytest.mark.parametrize(("counter", "error"), [("replay_rows", "damaged"), ("seed", "refused")])
def test_a_checkpoint_that_does_not_say_what_it_is_of_is_not_used(run, counter, error):
    saved_at(run, 5, 10)
    newest = checkpoint_files.open_checkpoint(run.checkpoints / "000000000020")
    counters = newest.counters
    del counters[counter]
    groups = {Path(each).stem: newest.arrays(Path(each).stem) for each in newest.manifest["files"]}
    checkpoint_files.write_checkpoint(
        run.checkpoints, counters, groups, newest.manifest["segments"]
    )
    if error == "refused":
        with pytest.raises(UserError, match="is of seed None"):
            restored(run)
    else:
        _, _, damage = restored(run)
        assert damage == [f"{newest.path} has 10 replay rows and should have None"]


def test_one_segment_is_in_memory_at_a_time(run, monkeypatch):
    saved_at(run, 3, 6, 9, 12)
    read = checkpoint_files.Checkpoint.segment
    held: list[weakref.ref[np.ndarray]] = []

    def watched(self: checkpoint_files.Checkpoint, folder: Path, name: str, limit: int) -> Any:
        assert all(reference() is None for reference in held)
        arrays = read(self, folder, name, limit)
        held.extend(weakref.ref(values) for values in arrays.values())
        return arrays

    monkeypatch.setattr(checkpoint_files.Checkpoint, "segment", watched)
    restored(run)
    assert len(held) == 4 * 6


def test_nothing_is_read_into_the_run_before_all_files_are_compared(run, monkeypatch):
    saved_at(run, 3, 6, 9)
    damage_file(run.replay / "rows-000000000006-000000000009.npz.lz4")
    (first, *older) = checkpoint_files.checkpoints(run.checkpoints)
    for path in older:
        shutil.rmtree(path)
    read: list[str] = []
    monkeypatch.setattr(
        checkpoint_files.Checkpoint, "segment", lambda self, folder, name, _: read.append(name)
    )
    small = SmallRun()
    with pytest.raises(UserError, match="was changed: its checksum does not match"):
        small.checkpointer(run).restore_newest()
    assert read == []
    assert_equal(small.values(), SmallRun().values())
    assert first.exists()


# --- Checkpoints of another network ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ((3, 5), "001 has shape (2,) there and (5,) here."),
        ((4, 2), "000 has shape (3,) there and (4,) here."),
        ((3, 2, 1), "no 002."),
    ],
)
def test_a_checkpoint_of_another_network_is_refused(run, layers, said):
    saved_at(run, 7)
    before = files(run)
    other = SmallRun(layers)
    untouched = other.values()
    with pytest.raises(UserError) as caught:
        other.checkpointer(run).restore_newest()
    path = run.checkpoints / "000000000014"
    assert (
        caught.value.message == f"The checkpoint {path} is of another run: in its network, {said}"
    )
    assert_equal(other.values(), untouched)
    assert files(run) == before


def test_a_checkpoint_of_a_larger_network_is_refused(run):
    saved_at(run, 7)
    other = SmallRun((3,))
    untouched = other.values()
    with pytest.raises(UserError, match=r"in its network, '001' is there and not here\."):
        other.checkpointer(run).restore_newest()
    assert_equal(other.values(), untouched)


def test_a_checkpoint_of_another_type_is_refused(run):
    saved_at(run, 7)
    other = SmallRun()
    other.q_network.variables[1] = tf.Variable(tf.zeros([2], tf.float64))
    with pytest.raises(UserError, match="001 is of type float32 there and float64 here"):
        other.checkpointer(run).restore_newest()
    assert other.env_steps == 0


# --- Writes that fail -----------------------------------------------------------------------------


def failing_at(function: Callable[..., Any], place: int, count: list[int]) -> Callable[..., Any]:
    def call(*arguments: Any, **keywords: Any) -> Any:
        count[0] += 1
        if count[0] == place:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return function(*arguments, **keywords)

    return call


def test_a_save_that_fails_at_any_point_costs_no_checkpoint(run, tmp_path, monkeypatch):
    small = saved_at(run, 5, 10)
    before = small.values()
    # Counts the steps of a save on a copy.
    copy = RunDirectory(tmp_path / "copy")
    shutil.copytree(run.path, copy.path)
    count = [0]
    twin, checkpointer, _ = restored(copy)
    twin.play(10)
    with monkeypatch.context() as patch:
        for name in ("fsync", "replace"):
            patch.setattr(os, name, failing_at(getattr(os, name), -1, count))
        save(twin, checkpointer)
    steps = count[0]
    assert steps > 20
    for place in range(1, steps + 1):
        shutil.rmtree(copy.path)
        shutil.copytree(run.path, copy.path)
        twin, checkpointer, _ = restored(copy)
        assert_equal(twin.values(), before)
        twin.play(10)
        count[0] = 0
        with monkeypatch.context() as patch:
            for name in ("fsync", "replace"):
                patch.setattr(os, name, failing_at(getattr(os, name), place, count))
            with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
                save(twin, checkpointer)
        assert len(sound(copy)) >= 2
        # There is room again: the same process saves, and another one goes on.
        save(twin, checkpointer)
        again, _, damage = restored(copy)
        assert damage == []
        assert_equal(again.values(), twin.values())


# --- A real run -----------------------------------------------------------------------------------

TINY = [
    "create_environment.num_environments = 2",
    "create_environment.max_episode_steps = 25",
    "create_q_network.conv_layers = ((4, 8, 4), (4, 4, 2))",
    "create_q_network.dense_units = (16,)",
    "create_agent.target_update_period_train_steps = 12",
    "create_replay_buffer.capacity_transitions = 120",
    "create_collector.random_fill_env_steps = 40",
    "create_collector.env_steps_per_iteration = 16",
    "create_learner.batch_size = 4",
]


@dataclasses.dataclass
class Stretch:
    """What two copies of a run do from the same point on."""

    batches: list[Any]
    values: dict[str, np.ndarray]
    time_step: Any
    weights: list[str]


def build() -> experiment.Experiment:
    config.parse(["breakout.gin", "smoke.gin"], TINY)
    try:
        return experiment.build(seed=7)
    finally:
        gin.clear_config()


def play_until(parts: experiment.Experiment, env_steps: int) -> None:
    turns = iterations(parts.collector, parts.learner, lambda: parts.metrics.env_steps, env_steps)
    for _ in turns:
        pass


def everything(parts: experiment.Experiment) -> dict[str, np.ndarray]:
    variables = {
        **{f"q/{n:03d}": each for n, each in enumerate(parts.agent.q_network.variables)},
        **parts.agent.state_variables(),
        **parts.metrics.variables(),
        **parts.collector.variables(),
        "samples_drawn": parts.replay_buffer.samples_drawn,
    }
    replay = parts.replay_buffer
    rows = replay.read_rows(max(0, replay.rows_added - replay.max_length), replay.rows_added)
    return {
        **{name: variable.numpy() for name, variable in variables.items()},
        **{f"replay/{name}": values for name, values in rows._asdict().items()},
        "epsilon": np.float32(parts.agent.epsilon),
    }


def go_on(parts: experiment.Experiment) -> Stretch:
    values = everything(parts)
    time_step = tf.nest.map_structure(lambda value: value.numpy(), parts.collector.time_step)
    weights = [weights_sha256(parts.agent.q_network.variables)]
    batches = [parts.replay_buffer.get_next(sample_batch_size=16, num_steps=2) for _ in range(2)]
    for env_steps in (500, 600):
        play_until(parts, env_steps)
        weights.append(weights_sha256(parts.agent.q_network.variables))
    batches.append(parts.replay_buffer.get_next(sample_batch_size=64, num_steps=2))
    return Stretch(batches, values, time_step, weights)


@pytest.fixture(scope="module")
def stretches(tmp_path_factory) -> tuple[Stretch, Stretch]:
    """A run that went on, and a copy of it restored from its checkpoint."""
    run = RunDirectory(tmp_path_factory.mktemp("real") / "run")
    run.create()
    found = []
    for restore in (False, True):
        parts = build()
        checkpointer = RunCheckpointer(
            run, parts.agent, parts.replay_buffer, parts.collector, parts.metrics, seed=7, keep=1
        )
        if restore:
            assert checkpointer.restore_newest() == []
        else:
            for env_steps in (40, 100, 250, 400):
                play_until(parts, env_steps)
                train_steps = int(parts.agent.train_step_counter.numpy())
                checkpointer.save(
                    {"env_steps": parts.metrics.env_steps, "train_steps": train_steps}
                )
            # Rows went out of the buffer, and their segments with them.
            assert parts.replay_buffer.rows_added > 3 * parts.replay_buffer.max_length
            assert "rows-000000000000-000000000020.npz.lz4" not in segments_there(run)
        found.append(go_on(parts))
        parts.environment.close()
    return found[0], found[1]


@pytest.mark.slow
def test_a_real_run_is_restored_to_the_last_bit(stretches):
    saved, restored = stretches
    assert_equal(restored.values, saved.values)
    assert saved.values["train_step"] > 50
    assert saved.values["games"] > 5
    assert 0.01 < saved.values["epsilon"] < 1
    assert any(name.startswith("optimizer/") for name in saved.values)


@pytest.mark.slow
def test_a_real_run_has_its_games_stand_where_they_stood(stretches):
    saved, restored = stretches
    tf.nest.map_structure(
        np.testing.assert_array_equal, tuple(restored.time_step), tuple(saved.time_step)
    )


@pytest.mark.slow
def test_a_real_run_samples_the_same_next_batches(stretches):
    saved, restored = stretches
    for found, expected in zip(restored.batches, saved.batches, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, found, expected)


@pytest.mark.slow
def test_a_real_run_learns_on_as_if_it_had_never_stopped(stretches):
    saved, restored = stretches
    assert restored.weights == saved.weights
    assert len(set(saved.weights)) == 3
