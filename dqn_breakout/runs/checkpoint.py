"""What a checkpoint of a run holds, and how a run goes on from one.

Everything that the future depends on: networks, optimizer, counters, the position of each random
stream, metrics, the replay buffer, and the games. Files are `checkpoint_files`' business.
"""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tf_agents.trajectories import time_step as ts

from dqn_breakout import errors
from dqn_breakout.collection.collector import Collector
from dqn_breakout.collection.metrics import CollectionMetrics
from dqn_breakout.errors import UserError
from dqn_breakout.replay.frame_replay_buffer import FrameReplayBuffer, FrameRow
from dqn_breakout.runs import checkpoint_files
from dqn_breakout.runs.checkpoint_files import Checkpoint, DamagedCheckpoint
from dqn_breakout.runs.directory import RunDirectory

# About 29 MB of frames. While a segment is written, its rows and the compressed file are held;
# while it is read, its decompressed bytes and its rows.
_SEGMENT_TRANSITIONS = 4_096
# No segment has more, whatever its name says.
_LARGEST_SEGMENT_TRANSITIONS = 16_384
# Of each environment: its frames, and a game's actions since its seeding. Four million are 77 hours
# of play.
_GAMES_BYTES = 2**22
# In a checkpoint's counters: how many rows each environment had added to the replay buffer, and the
# run's seed.
_ROWS = "replay_rows"
_SEED = "seed"
_SEGMENT_NAME = re.compile(r"rows-(\d{12})-(\d{12})\.npz\.lz4")


class RunCheckpointer:
    """Saves and restores one run.

    The newest checkpoints stay on disk, as many as `keep` says. A damaged one is not among them: it
    is left alone, to be mended by hand, until the run has a newer sound one, or writes that very
    one anew; then it goes as all older ones do.

    Attributes:
        restored_counters: Those of the checkpoint that the run was restored from, if it was.
    """

    def __init__(
        self,
        run: RunDirectory,
        agent: Any,
        replay_buffer: FrameReplayBuffer,
        collector: Collector,
        metrics: CollectionMetrics,
        seed: int,
        keep: int,
    ):
        """Names what is saved, of a run with `seed`; `keep` sound checkpoints stay, at least 1."""
        self._run = run
        self._agent = agent
        self._replay_buffer = replay_buffer
        self._collector = collector
        self._metrics = metrics
        self._seed = seed
        self._keep = keep
        self.restored_counters: dict[str, Any] = {}
        self._segments: dict[str, Mapping[str, Any]] = {}
        self._saved_rows = 0  # All rows before this one are in segments, or were overwritten.
        self._damaged: set[Path] = set()
        self._rows_per_segment = max(1, _SEGMENT_TRANSITIONS // replay_buffer.num_environments)
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._ahead: Future[None] | None = None
        self._ahead_fails = False

    def write_ahead(self) -> None:
        """Writes the rows of a whole segment where there are as many new ones, beside training.

        A stored row never changes until it is overwritten, so that a checkpoint has only the rest
        to write. Without a checkpoint that names it, such a segment means nothing; where it cannot
        be written, the next checkpoint tries, and fails if there still is no room.
        """
        if self._ahead is not None:
            if not self._ahead.done():
                return
            self._wait()
        if self._ahead_fails:
            return
        start, replay = self._saved_rows, self._replay_buffer
        # Rows that come next to be overwritten are left to the checkpoint itself.
        if (
            self._rows_per_segment
            <= replay.rows_added - start
            <= replay.max_length - self._rows_per_segment
        ):
            self._ahead = self._thread.submit(
                self._save_ahead, start, start + self._rows_per_segment
            )

    def close(self) -> None:
        """Waits for a segment being written, so that nothing is written once the run is let go."""
        self._thread.shutdown(wait=True)

    def save(self, counters: Mapping[str, Any]) -> Checkpoint:
        """Writes a checkpoint: new replay rows first, then the rest.

        Args:
            counters: Counts and whatever else the manifest should say; must hold `env_steps` and
                `train_steps`, as the metrics and the agent count them.

        Raises:
            OSError: It could not be written; earlier checkpoints are sound.
            UserError: The network is not made of finite numbers; nothing was written.
        """
        if not all(np.isfinite(each.numpy()).all() for each in self._agent.q_network.variables):
            raise UserError(
                f"At {counters['env_steps']:,} environment steps the network has weights that are "
                "not finite numbers, so it was not saved. Checkpoints written before are sound. "
                "Try a lower create_optimizer.learning_rate in another --run_dir."
            )
        self._save_new_rows()
        groups: dict[str, Mapping[str, np.ndarray]] = {
            group: {name: variable.numpy() for name, variable in variables.items()}
            for group, variables in self._variables().items()
        }
        groups["environment"] = self._collector.get_state()
        counters = {**counters, _SEED: self._seed, _ROWS: self._replay_buffer.rows_added}
        checkpoint = checkpoint_files.write_checkpoint(
            self._run.checkpoints, counters, groups, self._segments
        )
        self._damaged.discard(checkpoint.path)
        self._drop_old(checkpoint)
        return checkpoint

    def restore_newest(self) -> list[str]:
        """Brings the run to its newest sound checkpoint, where there is any checkpoint.

        What dead processes left half-written is swept away first: the run must be locked.

        Returns:
            What was wrong with newer ones, a sentence each.

        Raises:
            UserError: There are checkpoints, but none is sound, or the newest sound one is of
                another network or replay buffer, or holds what no run saves. Nothing is deleted.
        """
        run = self._run
        for folder in (run.path, run.checkpoints, run.replay, run.evaluations, run.videos):
            checkpoint_files.sweep(folder)
        damage: list[str] = []
        found = checkpoint_files.checkpoints(self._run.checkpoints)
        for path in found:
            try:
                checkpoint = checkpoint_files.open_checkpoint(path)
                self._restore(checkpoint)
            except DamagedCheckpoint as error:
                damage.append(str(error))
                self._damaged.add(path)
                continue
            return damage
        if found:
            raise UserError(
                f"No checkpoint in {self._run.checkpoints} is sound: {'; '.join(damage)}. "
                "Nothing was deleted. Restore the files, or start anew in another --run_dir."
            )
        return damage

    def _restore(self, checkpoint: Checkpoint) -> None:
        saved_seed = checkpoint.counters.get(_SEED)
        if saved_seed != self._seed:
            raise UserError(
                f"{self._run.run_json} says that the seed is {self._seed}, and {checkpoint.path} "
                f"is of seed {errors.shown(saved_seed)}. Restore the file, or choose another "
                "--run_dir."
            )
        # All files are compared with their sizes and checksums before anything is assigned.
        self._check_segment_names(checkpoint)
        variables = self._variables()
        limits = {
            group: checkpoint_files.limit_bytes(_bytes(expected.values()))
            for group, expected in variables.items()
        }
        limits["environment"] = _GAMES_BYTES * self._replay_buffer.num_environments
        checkpoint.verify(
            self._run.replay,
            {f"{group}.npz": limit for group, limit in limits.items()}
            | {name: self._segment_bytes(name) for name in checkpoint.segments},
        )
        arrays = {group: checkpoint.arrays(group, limits[group]) for group in variables}
        games = checkpoint.arrays("environment", limits["environment"])
        for group, expected in variables.items():
            _check(checkpoint, group, expected, arrays[group])
        _check_count(checkpoint, "env_steps", "metrics", arrays["metrics"]["env_steps"])
        _check_count(checkpoint, "train_steps", "learner", arrays["learner"]["train_step"])
        for name in checkpoint.segments:
            self._restore_segment(checkpoint, name)
        for group, expected in variables.items():
            for name, variable in expected.items():
                variable.assign(arrays[group][name])
        self._segments = dict(checkpoint.manifest["segments"])
        self._saved_rows = self._replay_buffer.rows_added
        self.restored_counters = checkpoint.counters
        try:
            self._collector.set_state(games)
        except UserError as error:
            raise UserError(
                f"The checkpoint {checkpoint.path} cannot be used: {error.message}"
            ) from error

    def _check_segment_names(self, checkpoint: Checkpoint) -> None:
        """Compares the rows that a checkpoint says it has with those that this run needs."""
        path, environments = checkpoint.path, self._replay_buffer.num_environments
        ranges = [_segment_range(name) for name in checkpoint.segments]
        last = 0
        for place, (start, stop) in enumerate(ranges):
            if start >= stop or (place and start != last):
                raise DamagedCheckpoint(f"{path} lacks replay rows before row {start}")
            last = stop
            if stop - start > max(1, _LARGEST_SEGMENT_TRANSITIONS // environments):
                raise DamagedCheckpoint(f"{path} has {stop - start} replay rows in one segment")
        rows = checkpoint.counters.get(_ROWS)
        if rows != last:
            raise DamagedCheckpoint(
                f"{path} has {last} replay rows and should have {errors.shown(rows)}"
            )
        first = ranges[0][0] if ranges else 0
        if first > max(0, last - self._replay_buffer.max_length):
            raise UserError(
                f"The checkpoint {path} is of another replay buffer: it has {last - first} rows of "
                f"each environment, and this run needs {self._replay_buffer.max_length}."
            )

    def _segment_bytes(self, name: str) -> int:
        """The bytes that the rows of a segment take, whatever its manifest states."""
        start, stop = _segment_range(name)
        row_bytes = _bytes(self._replay_buffer.data_spec) * self._replay_buffer.num_environments
        return (stop - start) * row_bytes + checkpoint_files.HEADER_BYTES

    def _restore_segment(self, checkpoint: Checkpoint, name: str) -> None:
        """Puts one segment's rows into the replay buffer; they leave memory when it returns."""
        start, stop = _segment_range(name)
        try:
            arrays = checkpoint.segment(self._run.replay, name, self._segment_bytes(name))
        except DamagedCheckpoint as error:
            # It was sound a moment ago, or was written so; earlier rows are in place already.
            raise _unusable(checkpoint, str(error)) from error
        self._check_rows(checkpoint, name, arrays)
        first = max(start, stop - self._replay_buffer.max_length)
        rows = FrameRow(*(arrays[field][first - start :] for field in FrameRow._fields))
        self._replay_buffer.write_rows(first, rows)

    def _check_rows(
        self, checkpoint: Checkpoint, name: str, arrays: Mapping[str, np.ndarray]
    ) -> None:
        """Raises UserError where a segment's rows are not of this run's replay buffer, or none."""
        start, stop = _segment_range(name)
        spec = self._replay_buffer.data_spec
        difference = _difference(
            {
                field: (
                    (stop - start, self._replay_buffer.num_environments, *each.shape),
                    np.dtype(each.dtype.as_numpy_dtype),
                )
                for field, each in spec._asdict().items()
            },
            arrays,
        )
        if difference:
            raise UserError(
                f"The checkpoint {checkpoint.path} is of another replay buffer: in {name}, "
                f"{difference}. Remove its folder, or start anew in another --run_dir."
            )
        actions, last = self._agent.action_spec, int(ts.StepType.LAST)
        sound = {
            "step_type": arrays["step_type"] <= last,
            "action": (arrays["action"] >= actions.minimum) & (arrays["action"] <= actions.maximum),
            "next_step_type": arrays["next_step_type"] <= last,
            "reward": np.isfinite(arrays["reward"]),
            "discount": np.isfinite(arrays["discount"]),
        }
        for field, values in sound.items():
            if not values.all():
                raise _unusable(checkpoint, f"in {name} is a value of {field} that no game gives")

    def _variables(self) -> dict[str, Mapping[str, tf.Variable]]:
        """All variables that a checkpoint holds, by group and name."""
        network = self._agent.q_network.variables
        return {
            "network": {f"{place:03d}": variable for place, variable in enumerate(network)},
            "learner": self._agent.state_variables(),
            "metrics": self._metrics.variables(),
            "collection": {
                **self._collector.variables(),
                "replay_samples_drawn": self._replay_buffer.samples_drawn,
            },
        }

    def _save_new_rows(self) -> None:
        """Writes the rows added since the last checkpoint, and drops overwritten segments."""
        self._wait()
        replay = self._replay_buffer
        oldest = self._oldest_row()
        self._segments = {
            name: fingerprint
            for name, fingerprint in self._segments.items()
            if _segment_range(name)[1] > oldest
        }
        # Where checkpoints fail for want of room, what was written for them may give it back.
        self._drop_segments(checkpoint_files.checkpoints(self._run.checkpoints))
        for start in range(
            max(self._saved_rows, oldest), replay.rows_added, self._rows_per_segment
        ):
            stop = min(start + self._rows_per_segment, replay.rows_added)
            self._write_segment(start, stop, replay.read_rows(start, stop))
        self._ahead_fails = False

    def _save_ahead(self, start: int, stop: int) -> None:
        """Writes rows while training goes on, unless it overwrites them meanwhile."""
        try:
            rows = self._replay_buffer.read_rows(start, stop)
        except ValueError:
            if self._oldest_row() <= start:
                raise
            return
        # A row is counted before it is written: if the first is not counted out, all are whole.
        if self._oldest_row() <= start:
            try:
                self._write_segment(start, stop, rows)
            except OSError:
                self._ahead_fails = True

    def _write_segment(self, start: int, stop: int, rows: FrameRow) -> None:
        name = f"rows-{start:012d}-{stop:012d}.npz.lz4"
        self._segments[name] = checkpoint_files.write_segment(
            self._run.replay, name, rows._asdict()
        )
        self._saved_rows = stop

    def _oldest_row(self) -> int:
        return max(0, self._replay_buffer.rows_added - self._replay_buffer.max_length)

    def _wait(self) -> None:
        """Waits for the segment being written, if any; what stopped it is raised here."""
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            ahead.result()

    def _drop_old(self, written: Checkpoint) -> None:
        """Removes checkpoints beyond the number to keep, and segments that none needs."""
        kept, left = 0, []
        for path in checkpoint_files.checkpoints(self._run.checkpoints):
            # The run went back from a newer one, because it is damaged.
            newer = int(path.name) > int(written.path.name)
            sound = path not in self._damaged and _segments_of(path) is not None
            if newer or (sound and kept < self._keep):
                kept += not newer
                left.append(path)
            else:
                # Under its name a checkpoint is whole, also while it goes.
                going = path.with_name(f".{path.name}.{os.getpid()}.tmp")
                shutil.rmtree(going, ignore_errors=True)
                path.rename(going)
                shutil.rmtree(going)
        self._drop_segments(left)

    def _drop_segments(self, checkpoints: list[Path]) -> None:
        """Removes segments that neither the run nor any of these checkpoints needs."""
        needed = set(self._segments)
        for path in checkpoints:
            segments = _segments_of(path)
            if segments is None:
                return
            needed.update(segments)
        if self._run.replay.is_dir():
            for path in list(self._run.replay.iterdir()):
                if path.name not in needed and _SEGMENT_NAME.fullmatch(path.name):
                    path.unlink()


def _segments_of(path: Path) -> list[str] | None:
    """The segments that a checkpoint needs; None if that cannot be read."""
    try:
        return checkpoint_files.open_checkpoint(path).segments
    except DamagedCheckpoint:
        return None


def _segment_range(name: str) -> tuple[int, int]:
    match = _SEGMENT_NAME.fullmatch(name)
    if match is None:
        raise DamagedCheckpoint(f"{name!r} is not the name of a replay segment")
    return int(match[1]), int(match[2])


def _bytes(tensors: Iterable[tf.Variable | tf.TensorSpec]) -> int:
    return sum(math.prod(each.shape) * each.dtype.size for each in tensors)


def _unusable(checkpoint: Checkpoint, reason: str) -> UserError:
    return UserError(
        f"The checkpoint {checkpoint.path} cannot be used: {reason}. Nothing was deleted. Remove "
        "its folder to go on from the one before."
    )


def _check_count(checkpoint: Checkpoint, name: str, group: str, found: np.ndarray) -> None:
    """Raises UserError where a group counts otherwise than the manifest, whose counts are sound."""
    stated = checkpoint.counters.get(name)
    if int(found) != stated:
        raise _unusable(
            checkpoint,
            f"its manifest has {name} = {errors.shown(stated)}, and its {group} {int(found)}",
        )


def _check(
    checkpoint: Checkpoint,
    group: str,
    variables: Mapping[str, tf.Variable],
    arrays: Mapping[str, np.ndarray],
) -> None:
    """Raises UserError where a checkpoint's arrays are not those of this run's variables."""
    difference = _difference(
        {
            name: (tuple(variable.shape), np.dtype(variable.dtype.as_numpy_dtype))
            for name, variable in variables.items()
        },
        arrays,
    )
    if difference:
        raise UserError(
            f"The checkpoint {checkpoint.path} is of another run: in its {group}, {difference}."
        )


def _difference(
    expected: Mapping[str, tuple[tuple[int, ...], np.dtype]], arrays: Mapping[str, np.ndarray]
) -> str | None:
    """The first way in which arrays are not of the expected names, shapes and types."""
    for name, (shape, dtype) in expected.items():
        if name not in arrays:
            return f"no {name}"
        found = arrays[name]
        if tuple(found.shape) != tuple(shape):
            return f"{name} has shape {tuple(found.shape)} there and {tuple(shape)} here"
        if found.dtype != dtype:
            return f"{name} is of type {found.dtype} there and {dtype} here"
    unknown = sorted(arrays.keys() - expected.keys())
    return f"{errors.shown(unknown[0])} is there and not here" if unknown else None
