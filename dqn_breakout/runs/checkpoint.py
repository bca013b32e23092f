"""How a run is saved and goes on: its parts as groups of arrays, its replay as rows written once.

Which parts there are is the caller's business; how they become files is `checkpoint_files`'.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from dqn_breakout.errors import UserError
from dqn_breakout.runs import checkpoint_files
from dqn_breakout.runs.checkpoint_files import Checkpoint, DamagedCheckpoint, FileRecord
from dqn_breakout.runs.directory import RunDirectory
from dqn_breakout.runs.stateful import Rows, Stateful

# Of a replay segment, which is held twice while it is written or read.
_SEGMENT_BYTES = 29_000_000
_SEGMENT_NAME = re.compile(r"rows-(\d{12})-(\d{12})\.npz\.lz4")
_NETWORK = "network"  # The part whose weights must be finite numbers.
_ROWS = "replay_rows"  # The counter of the rows that the replay had added.
_SEED = "seed"  # The counter that is the run's seed.


@dataclasses.dataclass
class RunCheckpointer:
    """Saves and restores one run, whose directory is locked.

    The newest checkpoints stay on disk, as many as `keep` says. A damaged one is not among them: it
    is left alone, to be mended by hand, until the run has a newer sound one, or writes that very
    one anew; then it goes as all older ones do.

    Attributes:
        run: Where checkpoints and rows go.
        parts: What the run's future depends on; restored in this order, after the rows.
        rows: The replay's rows, where it has any that are written once.
        seed: The run's seed.
        keep: How many sound checkpoints stay, at least 1.
        restored_counters: Those of the checkpoint that the run was restored from, if it was.
    """

    run: RunDirectory
    parts: Mapping[str, Stateful]
    rows: Rows | None
    seed: int
    keep: int

    def __post_init__(self) -> None:
        self.restored_counters: dict[str, Any] = {}
        self._segments: dict[str, FileRecord] = {}
        self._saved_rows = 0  # All rows before this one are in segments, or were overwritten.
        self._damaged: set[Path] = set()
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
        if self.rows is None or self._ahead_fails:
            return
        count = _rows_per_segment(self.rows)
        # Rows that come next to be overwritten are left to the checkpoint itself.
        if count <= self.rows.rows_added - self._saved_rows <= self.rows.max_length - count:
            self._ahead = self._thread.submit(self._save_ahead, self.rows, count)

    def close(self) -> None:
        """Waits for a segment being written, so that nothing is written once the run is let go."""
        self._thread.shutdown(wait=True)

    def save(self, counters: Mapping[str, Any]) -> Checkpoint:
        """Writes a checkpoint: new rows first, then the rest.

        Args:
            counters: Whatever the manifest should say; must hold `env_steps`.

        Raises:
            OSError: It could not be written; earlier checkpoints are sound.
            UserError: The network is not made of finite numbers; nothing was written.
        """
        groups = {name: part.state() for name, part in self.parts.items()}
        weights = [each for each in groups.get(_NETWORK, {}).values() if each.dtype.kind == "f"]
        if not all(np.isfinite(each).all() for each in weights):
            raise UserError(
                f"At {counters['env_steps']:,} environment steps the network has weights that are "
                "not finite numbers, so it was not saved. Checkpoints written before are sound. "
                "Try a lower create_optimizer.learning_rate in another --run_dir."
            )
        counters = {**counters, _SEED: self.seed}
        if self.rows is not None:
            self._save_new_rows(self.rows)
            counters[_ROWS] = self.rows.rows_added
        checkpoint = checkpoint_files.write_checkpoint(
            self.run.checkpoints, counters, groups, self._segments
        )
        self._damaged.discard(checkpoint.path)
        self._drop_checkpoints(checkpoint)
        self._drop_segments()
        return checkpoint

    def restore_newest(self) -> list[str]:
        """Brings the run to its newest sound checkpoint, where there is any checkpoint.

        What dead processes left half-written is swept away first. All files of a checkpoint are
        compared with their sizes and checksums before anything is restored.

        Returns:
            What was wrong with newer ones, a sentence each.

        Raises:
            UserError: There are checkpoints, but none is sound, or the newest sound one is of
                another run or version. Nothing is deleted.
        """
        run = self.run
        for folder in (run.path, run.checkpoints, run.replay, run.evaluations, run.videos):
            checkpoint_files.sweep(folder)
        damage: list[str] = []
        for path in checkpoint_files.checkpoints(run.checkpoints):
            try:
                checkpoint = checkpoint_files.open_checkpoint(path)
                checkpoint.verify(run.replay)
                self._restore(checkpoint)
                return damage
            except DamagedCheckpoint as error:
                damage.append(str(error))
                self._damaged.add(path)
        if damage:
            raise UserError(
                f"No checkpoint in {run.checkpoints} is sound: {'; '.join(damage)}. "
                "Nothing was deleted. Restore the files, or start anew in another --run_dir."
            )
        return damage

    def _restore(self, checkpoint: Checkpoint) -> None:
        path, counters = checkpoint.path, checkpoint.counters
        if counters[_SEED] != self.seed:
            raise UserError(
                f"{self.run.run_json} says that the seed is {self.seed}, and {path} is of seed "
                f"{counters[_SEED]}. Restore the file, or choose another --run_dir."
            )
        here = {f"{name}.npz" for name in self.parts}
        if checkpoint.files.keys() == {f"{_NETWORK}.npz"} != here:
            raise UserError(
                f"The checkpoint {path} is an exported network: it can be played, by eval.py, but "
                "not trained any further. Choose another --run_dir."
            )
        if different := checkpoint.files.keys() ^ here:
            raise _another(path, f"only one of both has {min(different)}.")
        if self.rows is not None:
            for name in checkpoint.segments:
                start, _ = _segment_range(name)
                self.rows.write_rows(start, checkpoint.segment(self.run.replay, name))
            self._segments = dict(checkpoint.segments)
            self._saved_rows = counters[_ROWS]
        for name, part in self.parts.items():
            try:
                part.restore(checkpoint.arrays(name))
            except UserError as error:
                raise _another(path, f"in its {name}, {error.message}") from error
        self.restored_counters = counters

    def _save_new_rows(self, rows: Rows) -> None:
        """Writes the rows added since the last checkpoint, and forgets overwritten segments."""
        self._wait()
        oldest, count = _oldest_row(rows), _rows_per_segment(rows)
        for name in list(self._segments):
            if _segment_range(name)[1] <= oldest:
                del self._segments[name]
        # Where checkpoints fail for want of room, what was written for them may give it back.
        self._drop_segments()
        for start in range(max(self._saved_rows, oldest), rows.rows_added, count):
            stop = min(start + count, rows.rows_added)
            self._write_segment(start, stop, rows.read_rows(start, stop))
        self._ahead_fails = False

    def _save_ahead(self, rows: Rows, count: int) -> None:
        """Writes rows while training goes on, unless it overwrites them meanwhile."""
        start, stop = self._saved_rows, self._saved_rows + count
        try:
            arrays = rows.read_rows(start, stop)
            # A row is counted before it is written: if the first is not counted out, all are whole.
            if _oldest_row(rows) <= start:
                self._write_segment(start, stop, arrays)
        except OSError:
            self._ahead_fails = True
        except ValueError:
            if _oldest_row(rows) <= start:
                raise

    def _write_segment(self, start: int, stop: int, arrays: Mapping[str, np.ndarray]) -> None:
        name = f"rows-{start:012d}-{stop:012d}.npz.lz4"
        self._segments[name] = checkpoint_files.write_segment(self.run.replay, name, arrays)
        self._saved_rows = stop

    def _wait(self) -> None:
        """Waits for the segment being written, if any; what stopped it is raised here."""
        if self._ahead is not None:
            ahead, self._ahead = self._ahead, None
            ahead.result()

    def _drop_checkpoints(self, written: Checkpoint) -> None:
        """Removes the older ones beyond those to keep; newer ones are damaged, and left alone."""
        found = checkpoint_files.checkpoints(self.run.checkpoints)
        older = found[found.index(written.path) + 1 :]
        kept = [path for path in older if path not in self._damaged][: self.keep - 1]
        for path in older:
            if path not in kept:
                checkpoint_files.remove_checkpoint(path)

    def _drop_segments(self) -> None:
        """Removes those that no checkpoint needs; none where it cannot be read what one needs."""
        needed = set(self._segments)
        try:
            for path in checkpoint_files.checkpoints(self.run.checkpoints):
                needed.update(checkpoint_files.open_checkpoint(path).segments)
        except (DamagedCheckpoint, UserError):  # UserError: it is another version's.
            return
        for path in checkpoint_files.inside(self.run.replay):
            if path.name not in needed and _SEGMENT_NAME.fullmatch(path.name):
                path.unlink()


def _rows_per_segment(rows: Rows) -> int:
    specs = rows.row_specs().values()
    row_bytes = sum(math.prod(shape) * dtype.itemsize for shape, dtype in specs)
    return max(1, _SEGMENT_BYTES // (row_bytes * rows.num_environments))


def _oldest_row(rows: Rows) -> int:
    return max(0, rows.rows_added - rows.max_length)


def _segment_range(name: str) -> tuple[int, int]:
    """Numbers of a segment's first row and of the one after its last."""
    _, start, stop = name.split(".")[0].split("-")
    return int(start), int(stop)


def _another(path: Path, difference: str) -> UserError:
    return UserError(f"The checkpoint {path} is of another run: {difference} Nothing was deleted.")
