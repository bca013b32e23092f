"""A run of few numbers, in NumPy: what is saved of it changes with every step in a known way."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dqn_breakout.errors import UserError
from dqn_breakout.runs import checkpoint_files
from dqn_breakout.runs.checkpoint import RunCheckpointer
from dqn_breakout.runs.directory import RunDirectory
from dqn_breakout.runs.stateful import Specs, Stateful, Variables

ENVIRONMENTS = 2
ROW_BYTES = ENVIRONMENTS * (4 * 4 + 4)
MAX_LENGTH = 12
SEED = 7


class Variable:
    """As much of a tf.Variable as a checkpoint needs."""

    def __init__(self, value: Any, dtype: Any = np.float32):
        self.value = np.array(value, dtype)

    def numpy(self) -> np.ndarray:
        return self.value

    def assign(self, value: np.ndarray) -> None:
        assert (value.shape, value.dtype) == (self.value.shape, self.value.dtype)
        self.value = value.copy()


class Ring:
    """Rows of two environments: a frame of their number, and a reward."""

    num_environments = ENVIRONMENTS

    max_length = MAX_LENGTH

    def __init__(self, frame_shape: tuple[int, ...] = (4, 4)):
        self.rows_added = 0
        self._arrays: dict[str, np.ndarray] = {
            "frame": np.zeros((MAX_LENGTH, ENVIRONMENTS, *frame_shape), np.uint8),
            "reward": np.zeros((MAX_LENGTH, ENVIRONMENTS), np.float32),
        }

    def row_specs(self) -> Specs:
        return {name: (each.shape[2:], each.dtype) for name, each in self._arrays.items()}

    def add(self) -> None:
        place = self.rows_added % MAX_LENGTH
        self.rows_added += 1
        self._arrays["frame"][place] = self.rows_added % 251
        self._arrays["reward"][place] = self.rows_added

    def read_rows(self, start: int, stop: int) -> dict[str, np.ndarray]:
        places = np.arange(start, stop) % MAX_LENGTH
        return {name: each[places] for name, each in self._arrays.items()}

    def write_rows(self, start: int, rows: Mapping[str, np.ndarray]) -> None:
        count = len(rows["reward"])
        assert count <= MAX_LENGTH
        for name, each in self._arrays.items():
            each[np.arange(start, start + count) % MAX_LENGTH] = rows[name]
        self.rows_added = start + count


class SmallRun:
    """Parts, rows, and a checkpointer of them."""

    def __init__(self, layers: tuple[int, ...] = (3, 2)):
        self.layers = {f"{n:03d}": Variable(np.zeros(each)) for n, each in enumerate(layers)}
        self.counts = {"env_steps": Variable(0, np.int64), "train_steps": Variable(0, np.int64)}
        self.parts: dict[str, Stateful] = {
            "network": Variables(self.layers),
            "counts": Variables(self.counts),
        }
        self.rows = Ring()

    @property
    def env_steps(self) -> int:
        return int(self.counts["env_steps"].value)

    def play(self, rows: int) -> None:
        for _ in range(rows):
            self.rows.add()
        self.counts["env_steps"].value += rows * ENVIRONMENTS
        for variable in (self.counts["train_steps"], *self.layers.values()):
            variable.value += rows

    def values(self) -> dict[str, np.ndarray]:
        """All that its future depends on."""
        added = self.rows.rows_added
        parts = {
            f"{name}/{key}": value.copy()
            for name, part in self.parts.items()
            for key, value in part.state().items()
        }
        return {
            **parts,
            **self.rows.read_rows(max(0, added - MAX_LENGTH), added),
            "rows": np.array(added),
        }

    def checkpointer(self, run: RunDirectory, keep: int = 2, seed: int = SEED) -> RunCheckpointer:
        return RunCheckpointer(run, self.parts, self.rows, seed, keep)

    def save(self, checkpointer: RunCheckpointer) -> None:
        train_steps = int(self.counts["train_steps"].value)
        checkpointer.save({"env_steps": self.env_steps, "train_steps": train_steps})


def saved_at(run: RunDirectory, *rows: int, keep: int = 2) -> SmallRun:
    """A run that was saved after so many rows each time."""
    small = SmallRun()
    checkpointer = small.checkpointer(run, keep)
    for each in rows:
        small.play(each - small.rows.rows_added)
        small.save(checkpointer)
    return small


def restored(run: RunDirectory, keep: int = 2) -> tuple[SmallRun, RunCheckpointer, list[str]]:
    """A new process's run, its checkpointer, and what was said of damage."""
    small = SmallRun()
    checkpointer = small.checkpointer(run, keep)
    return small, checkpointer, checkpointer.restore_newest()


def assert_equal(found: SmallRun, expected: dict[str, np.ndarray]) -> None:
    values = found.values()
    assert values.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(values[name], value, err_msg=name)


def assert_restored(run: RunDirectory, saved: SmallRun, keep: int = 2) -> None:
    """A new process's run is the one that was saved, and no damage was found."""
    found, _, damage = restored(run, keep)
    assert damage == []
    assert_equal(found, saved.values())


def segment(start: int, stop: int) -> str:
    return f"rows-{start:012d}-{stop:012d}.npz.lz4"


def segments_there(run: RunDirectory) -> set[str]:
    return {path.name for path in run.replay.iterdir()}


def segments_needed(run: RunDirectory) -> set[str]:
    found = checkpoint_files.checkpoints(run.checkpoints)
    return {name for path in found for name in checkpoint_files.open_checkpoint(path).segments}


def checkpoint_names(run: RunDirectory) -> list[int]:
    return [int(path.name) for path in checkpoint_files.checkpoints(run.checkpoints)]


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def refused(folder: Path, ask: Callable[..., Any], *arguments: Any) -> str:
    """The sentence with which something is refused; no file in a folder has changed."""
    before = files_in(folder)
    with pytest.raises(UserError) as caught:
        ask(*arguments)
    assert files_in(folder) == before
    return caught.value.message


def flip(path: Path) -> None:
    """Changes a bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


class FullDisk:
    """Makes call number `fail_at` of `os.fsync` and `os.replace` fail, and counts them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fail_at: int):
        self.calls = 0
        for name in ("fsync", "replace"):
            monkeypatch.setattr(os, name, self._counting(getattr(os, name), fail_at))

    def _counting(self, function: Callable[..., Any], fail_at: int) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            self.calls += 1
            if self.calls == fail_at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return function(*arguments, **keywords)

        return call
