"""Scalars for TensorBoard, written through TensorFlow."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from dqn_breakout import errors


class EventFile:
    """Scalars under one folder; whatever keeps them from being written is an OSError."""

    def __init__(self, folder: Path):
        """Opens no file before the first scalar."""
        self._folder = folder
        self._writer: Any = None

    def write(self, env_steps: int, scalars: dict[str, float]) -> None:
        """Writes scalars by tag, and flushes them."""
        with self._os_errors():
            if self._writer is None:
                self._writer = tf.summary.create_file_writer(str(self._folder))
            with self._writer.as_default(step=env_steps):
                for tag, value in scalars.items():
                    tf.summary.scalar(tag, value)
            self._writer.flush()

    def close(self) -> None:
        """Writes what is left, and closes the file."""
        with self._os_errors():
            if self._writer is not None:
                self._writer.close()

    @contextlib.contextmanager
    def _os_errors(self) -> Iterator[None]:
        """TensorFlow's own errors are no OSErrors even where the disk is full."""
        try:
            yield
        except tf.errors.OpError as error:
            reason = errors.first_line(error)
            raise OSError(errno.EIO, reason, str(self._folder)) from error
