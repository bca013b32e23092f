"""What a checkpoint of a run holds, and how a run goes on from one.

Everything that the future depends on: networks, optimizer, counters, the position of each random
stream, metrics, the replay buffer, and the games. Files are `checkpoint_files`' business.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from dqn_breakout import checkpoint_files
from dqn_breakout.checkpoint_files import Checkpoint, DamagedCheckpoint
from dqn_breakout.collection.collector import Collector
from dqn_breakout.collection.metrics import CollectionMetrics
from dqn_breakout.errors import UserError
from dqn_breakout.replay.frame_replay_buffer import FrameReplayBuffer, FrameRow
from dqn_breakout.run_directory import RunDirectory

# About 116 MB of frames: what is held twice in memory while a segment is written.
_SEGMENT_TRANSITIONS = 16_384
_SEGMENT_NAME = re.compile(r"rows-(\d{12})-(\d{12})\.npz\.lz4")


class RunCheckpointer:
    """Saves and restores one run."""

    def __init__(
        self,
        run: RunDirectory,
        agent: Any,
        replay_buffer: FrameReplayBuffer,
        collector: Collector,
        metrics: CollectionMetrics,
        keep: int,
    ):
        """Names what is saved; `keep` newest checkpoints stay on disk."""
        self._run = run
        self._agent = agent
        self._replay_buffer = replay_buffer
        self._collector = collector
        self._metrics = metrics
        self._keep = keep
        self._segments: dict[str, Mapping[str, Any]] = {}

    def save(self, counters: Mapping[str, Any]) -> Checkpoint:
        """Writes a checkpoint: new replay rows first, then the rest.

        Args:
            counters: Counts to record; must hold `env_steps`.

        Raises:
            OSError: It could not be written; earlier checkpoints are sound.
        """
        self._save_new_rows()
        groups = {
            "network": _named_values(self._agent.q_network.variables),
            "learner": _values(self._agent.state_variables()),
            "metrics": _values(self._metrics.variables()),
            "collection": _values(self._stream_variables()),
            "environment": self._collector.get_state(),
        }
        checkpoint = checkpoint_files.write_checkpoint(
            self._run.checkpoints, counters, groups, self._segments
        )
        self._drop_old()
        return checkpoint

    def restore_newest(self) -> list[str]:
        """Brings the run to its newest sound checkpoint, where there is any checkpoint.

        Returns:
            What was wrong with newer ones, a sentence each.

        Raises:
            UserError: There are checkpoints, but none is sound. Nothing is deleted.
        """
        damage: list[str] = []
        found = checkpoint_files.checkpoints(self._run.checkpoints)
        for path in found:
            try:
                checkpoint = checkpoint_files.open_checkpoint(path)
                self._restore(checkpoint)
            except DamagedCheckpoint as error:
                damage.append(str(error))
                continue
            return damage
        if found:
            raise UserError(
                f"No checkpoint in {self._run.checkpoints} is sound: {'; '.join(damage)}. "
                "Nothing was deleted. Restore the files, or start anew in another --run_dir."
            )
        return damage

    def _restore(self, checkpoint: Checkpoint) -> None:
        # Read and check all files before anything is assigned.
        groups = {
            group: checkpoint.arrays(group)
            for group in ("network", "learner", "metrics", "collection", "environment")
        }
        segments = [
            (name, checkpoint.segment(self._run.replay, name)) for name in checkpoint.segments
        ]
        network = {
            f"{place:03d}": variable
            for place, variable in enumerate(self._agent.q_network.variables)
        }
        assign = [
            (network, groups["network"]),
            (self._agent.state_variables(), groups["learner"]),
            (self._metrics.variables(), groups["metrics"]),
            (self._stream_variables(), groups["collection"]),
        ]
        for variables, arrays in assign:
            _check(checkpoint, variables, arrays)
        for variables, arrays in assign:
            for name, variable in variables.items():
                variable.assign(arrays[name])
        for name, arrays in segments:
            start, stop = _segment_range(name)
            first = max(start, stop - self._replay_buffer.max_length)
            rows = FrameRow(*(arrays[field][first - start :] for field in FrameRow._fields))
            self._replay_buffer.write_rows(first, rows)
        self._segments = dict(checkpoint.manifest["segments"])
        self._collector.set_state(groups["environment"])

    def _stream_variables(self) -> dict[str, tf.Variable]:
        return {
            **self._collector.variables(),
            "replay_samples_drawn": self._replay_buffer.samples_drawn,
        }

    def _save_new_rows(self) -> None:
        """Writes the rows added since the last checkpoint, and forgets overwritten segments."""
        replay = self._replay_buffer
        oldest = max(0, replay.rows_added - replay.max_length)
        self._segments = {
            name: fingerprint
            for name, fingerprint in self._segments.items()
            if _segment_range(name)[1] > oldest
        }
        saved = max((_segment_range(name)[1] for name in self._segments), default=oldest)
        step = max(1, _SEGMENT_TRANSITIONS // replay.num_environments)
        for start in range(max(saved, oldest), replay.rows_added, step):
            stop = min(start + step, replay.rows_added)
            name = f"rows-{start:012d}-{stop:012d}.npz.lz4"
            rows = replay.read_rows(start, stop)._asdict()
            self._segments[name] = checkpoint_files.write_segment(self._run.replay, name, rows)

    def _drop_old(self) -> None:
        """Removes checkpoints beyond the number to keep, and segments that none needs."""
        found = checkpoint_files.checkpoints(self._run.checkpoints)
        for path in found[self._keep :]:
            shutil.rmtree(path)
        needed = set(self._segments)
        for path in found[: self._keep]:
            try:
                needed.update(checkpoint_files.open_checkpoint(path).segments)
            except DamagedCheckpoint:
                # It may be mended by hand: keep every segment.
                return
        for path in self._run.replay.iterdir():
            if path.name not in needed and _SEGMENT_NAME.fullmatch(path.name):
                path.unlink()


def _segment_range(name: str) -> tuple[int, int]:
    match = _SEGMENT_NAME.fullmatch(name)
    if match is None:
        raise DamagedCheckpoint(f"{name!r} is not the name of a replay segment")
    return int(match[1]), int(match[2])


def _values(variables: Mapping[str, tf.Variable]) -> dict[str, np.ndarray]:
    return {name: variable.numpy() for name, variable in variables.items()}


def _named_values(variables: list[tf.Variable]) -> dict[str, np.ndarray]:
    return {f"{place:03d}": variable.numpy() for place, variable in enumerate(variables)}


def _check(
    checkpoint: Checkpoint, variables: Mapping[str, tf.Variable], arrays: Mapping[str, np.ndarray]
) -> None:
    """Raises UserError where a checkpoint's arrays are not of this run's shapes."""
    for name, variable in variables.items():
        if name not in arrays:
            raise UserError(f"The checkpoint {checkpoint.path} is of another network: no {name}.")
        if tuple(arrays[name].shape) != tuple(variable.shape):
            raise UserError(
                f"The checkpoint {checkpoint.path} is of another network: {name} has shape "
                f"{tuple(arrays[name].shape)} there and {tuple(variable.shape)} here."
            )
