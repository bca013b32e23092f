"""How a file is written so that it is whole or absent, whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dqn_breakout import errors
from dqn_breakout.errors import UserError


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file, or the one that a link leads to; what is no plain file is written to.

    Raises:
        OSError: The disk is full, or the folder is gone; the file is as it was. `path` is the
            error's `filename`.
    """
    with naming(path):
        if _is_stream(path):
            with open(path, "ab") as stream:
                stream.write(content)
            return
        target = Path(os.path.realpath(path))
        temporary = half_written(target)
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            # What failed first is what is to be told.
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(target.parent)


def can_be_written(path: Path) -> bool:
    """Whether `write_atomically` may write there."""
    if _is_stream(path):
        return os.access(path, os.W_OK)
    target = Path(os.path.realpath(path))
    return not target.is_dir() and target.parent.is_dir() and os.access(target.parent, os.W_OK)


def _is_stream(path: Path) -> bool:
    """Whether a device or a pipe is there, or a file that is this process's own output.

    No other file may take its place: /dev/null would be one, and what was printed would be lost.
    """
    if not path.exists() or path.is_dir():
        return False
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):  # It is closed.
            if os.path.samestat(path.stat(), os.fstat(descriptor)):
                return True
    return not path.is_file()


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file atomically, indented, NaN refused."""
    write_atomically(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def half_written(path: Path) -> Path:
    """The name beside `path` under which this process writes what is to be there."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def make_folder(folder: Path) -> None:
    """Makes a folder where there is none, so that it survives a power cut.

    Raises:
        OSError: It cannot be made, or there is none to make it in.
    """
    if not folder.is_dir():
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Flushes a folder's entries to disk, so that a rename in it survives a power cut."""
    if sys.platform == "win32":
        return  # It opens no folder to flush it.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems have no such thing: WSL's, mounts of a network.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Has an OSError name `path`: of itself a flush names nothing, and a rename what is gone."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def expanded(path: str | os.PathLike[str]) -> Path:
    """The absolute path that a user gave, with the home directory in place of a `~` at its start.

    Raises:
        UserError: It is empty, a URL, or there is no such home directory.
    """
    text = os.fspath(path)
    if not text:
        raise UserError("A path is empty: give one, or leave out what it was given for.")
    if re.match(r"\w[\w+.-]+:/", text):
        raise UserError(
            f"{errors.shown(text)} is an address, and files are read and written on this machine "
            "alone. Give a path, such as that of a folder where it is mounted."
        )
    with contextlib.suppress(ValueError):  # A zero byte in the name.
        text = os.path.expanduser(text)
    if text.startswith("~"):
        raise UserError(
            f"The home directory that {errors.shown(text)} begins with is not known. "
            "Write the path out, or put ./ before it if ~ is part of a name."
        )
    return Path(text).absolute()
