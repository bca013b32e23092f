"""Counts the file operations of a training process, and has one of them end badly.

Installed in a process before `train.py` runs. It sees every operation of Python code on a run
directory: files opened for writing, what is written to them, flushes to disk, renames, removals
and new folders. TensorFlow's event files are written by its C++ code and are not seen; `disk_full`
meets those with a file system that is really full.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Audit events: the operation that each announces, and which of its arguments are the path that
# changes and the open folder that this is relative to.
_EVENTS = {
    "os.mkdir": ("mkdir", 0, 2),
    "os.rename": ("rename", 1, 3),
    "os.remove": ("remove", 0, 1),
    "os.rmdir": ("rmdir", 0, 1),
}
# What a full disk, or one that has failed, refuses; removing always works.
NEED_ROOM = ("open", "write", "fsync", "mkdir", "rename")


class FileOperations:
    """Numbers the operations on a run directory, from 1, and asks `at` about each."""

    def __init__(self, folder: Path, at: Callable[[int, str, str], None]):
        """Names what is watched; nothing is watched before `install`.

        Args:
            folder: The run directory.
            at: Called before each operation with its number, its kind and the path. Where it
                raises, the operation does not happen; half of what was to be written does.
        """
        self._folder = os.path.abspath(folder)
        self._at = at
        self._count = 0

    def install(self) -> None:
        """Watches this process until it ends."""
        fsync, open_file = os.fsync, builtins.open

        def watched_fsync(file: Any) -> None:
            self._meet("fsync", _name_of(file if isinstance(file, int) else file.fileno()))
            fsync(file)

        def watched_open(file: Any, mode: str = "r", *arguments: Any, **more: Any) -> Any:
            if isinstance(file, int) or not set(mode) & set("wax+"):
                return open_file(file, mode, *arguments, **more)
            name = os.path.abspath(os.fspath(file))
            self._meet("open", name)
            opened = open_file(file, mode, *arguments, **more)
            return _Watched(opened, name, self._meet) if self._is_inside(name) else opened

        def audit(event: str, arguments: tuple[Any, ...]) -> None:
            if event in _EVENTS:
                kind, path, folder = _EVENTS[event]
                parent = _name_of(arguments[folder]) if arguments[folder] >= 0 else ""
                self._meet(
                    kind, os.path.abspath(os.path.join(parent, os.fsdecode(arguments[path])))
                )

        os.fsync = watched_fsync  # type: ignore[assignment]
        builtins.open = io.open = watched_open
        sys.addaudithook(audit)

    def _is_inside(self, name: str) -> bool:
        return name == self._folder or name.startswith(self._folder + os.sep)

    def _meet(self, kind: str, name: str) -> None:
        if self._is_inside(name):
            self._count += 1
            self._at(self._count, kind, os.path.relpath(name, self._folder))


class _Watched:
    """A file opened for writing that tells of each write; one that fails has written half."""

    def __init__(self, file: Any, name: str, meet: Callable[[str, str], None]):
        self._file, self._name, self._meet = file, name, meet

    def write(self, content: Any) -> int:
        try:
            self._meet("write", self._name)
        except OSError:
            self._file.write(content[: len(content) // 2])
            self._file.flush()
            raise
        written: int = self._file.write(content)
        return written

    def __enter__(self) -> _Watched:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __iter__(self) -> Any:
        return iter(self._file)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def listing(folder: Path, into: Path) -> Callable[[], None]:
    """Writes a line for each operation into a file, for a first look at what there is."""
    descriptor = os.open(into, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)

    def at(number: int, kind: str, name: str) -> None:
        os.write(descriptor, f"{number}\t{kind}\t{name}\n".encode())

    return FileOperations(folder, at).install


def killed_at(folder: Path, operation: int) -> Callable[[], None]:
    """The process kills itself before the given operation, as SIGKILL at that instant would."""

    def at(number: int, kind: str, name: str) -> None:
        if number == operation:
            os.kill(os.getpid(), signal.SIGKILL)

    return FileOperations(folder, at).install


def full_at(
    folder: Path, operation: int, number_of_error: int = errno.ENOSPC
) -> Callable[[], None]:
    """From the given operation on, every one that needs room fails: the disk stays full."""

    def at(number: int, kind: str, name: str) -> None:
        if number >= operation and kind in NEED_ROOM:
            raise OSError(number_of_error, os.strerror(number_of_error), os.path.join(folder, name))

    return FileOperations(folder, at).install


def _name_of(descriptor: int) -> str:
    """The path behind a descriptor, where the system tells."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""
