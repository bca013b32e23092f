"""Sees the file operations of a training process, and has one of them end badly.

Installed in a process before `train.py` runs. It sees every operation of Python code on a run
directory: files opened for writing, what is written to them, flushes to disk, renames, removals
and new folders; those of the thread that writes replay segments beside training too. TensorFlow's
event files are written by its C++ code and are not seen; `disk_full` meets those with a file system
that is really full.
"""

from __future__ import annotations

import builtins
import errno
import io
import json
import os
import re
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

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
KINDS = (*NEED_ROOM, "remove", "rmdir")
# Those whose error names a file: of the others the system knows no more than a number.
_ON_A_PATH = ("open", "mkdir", "rename")
_PROCESS_ID = re.compile(r"\.\d+\.tmp")


class Operation(NamedTuple):
    """One operation of a run, told by what it is, since two threads have no fixed order.

    Attributes:
        kind: What is done, such as `write`.
        name: The file below the run directory, without the number of the process.
        nth: The how manyth of this kind it is, from 1, on files whose names differ in numbers only.
        beside: Whether a thread beside training does it.
    """

    kind: str
    name: str
    nth: int
    beside: bool

    def __str__(self) -> str:
        return f"{self.kind} {self.name}{' beside training' if self.beside else ''}, {self.nth}"

    def is_like(self, other: Operation) -> bool:
        """Whether it is the same in another run.

        Which thread comes to it first does not matter; nor which rows its segment is of, since on a
        busy machine they are others.
        """
        ours, theirs = _without_numbers(self.name), _without_numbers(other.name)
        return (self.kind, ours, self.nth) == (other.kind, theirs, other.nth)


def list_all(folder: Path, into: Path) -> None:
    """From now on each operation becomes a line of a file, for `listed`."""
    descriptor = os.open(into, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)

    def at(operation: Operation) -> None:
        os.write(descriptor, (json.dumps(operation) + "\n").encode())

    _Watch(folder, at).install()


def signal_before(number: signal.Signals, folder: Path, when: Operation) -> None:
    """This process will send itself a signal before an operation."""

    def at(operation: Operation) -> None:
        if operation.is_like(when):
            os.kill(os.getpid(), number)

    _Watch(folder, at).install()


def fill_disk_at(folder: Path, when: Operation) -> None:
    """From that operation on, every one that needs room will fail: the disk stays full."""
    full = threading.Event()

    def at(operation: Operation) -> None:
        if operation.is_like(when):
            full.set()
        if full.is_set() and operation.kind in NEED_ROOM:
            error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if operation.kind in _ON_A_PATH:
                error.filename = os.path.join(folder, operation.name)
            raise error

    _Watch(folder, at).install()


def listed(path: Path) -> list[Operation]:
    """The operations that `list_all` has written into a file."""
    return [Operation(*json.loads(line)) for line in path.read_text().splitlines()]


def of_each_kind(operations: Sequence[Operation], kinds: Sequence[str]) -> list[Operation]:
    """The first and the second operation of each of the kinds on each file.

    Checkpoints, segments and evaluations differ in numbers only and count as one file; at the
    second there is an earlier one. A segment written beside training is another file than one that
    a checkpoint waits for.
    """
    seen: Counter[tuple[str, str, bool]] = Counter()
    chosen = []
    for operation in operations:
        like = (operation.kind, _without_numbers(operation.name), operation.beside)
        seen[like] += 1
        if operation.kind in kinds and seen[like] <= 2:
            chosen.append(operation)
    return chosen


class _Watch:
    """Asks `at` before each operation on a folder.

    Where that raises, the operation does not happen; half of what was to be written does.
    """

    def __init__(self, folder: Path, at: Callable[[Operation], None]):
        self._folder = os.path.abspath(folder)
        self._at = at
        self._seen: Counter[tuple[str, str]] = Counter()
        self._counting = threading.Lock()

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
                name = os.path.join(parent, os.fsdecode(arguments[path]))
                self._meet(kind, os.path.abspath(name))

        os.fsync = watched_fsync  # type: ignore[assignment]
        builtins.open = io.open = watched_open
        sys.addaudithook(audit)

    def _is_inside(self, name: str) -> bool:
        return name == self._folder or name.startswith(self._folder + os.sep)

    def _meet(self, kind: str, name: str) -> None:
        if not self._is_inside(name):
            return
        name = _PROCESS_ID.sub(".tmp", os.path.relpath(name, self._folder))
        with self._counting:
            like = (kind, _without_numbers(name))
            self._seen[like] += 1
            nth = self._seen[like]
        beside = threading.current_thread() is not threading.main_thread()
        self._at(Operation(kind, name, nth, beside))


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


def _without_numbers(name: str) -> str:
    return re.sub(r"\d+", "0", name)


def _name_of(descriptor: int) -> str:
    """The path behind a descriptor, where the system tells."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""
