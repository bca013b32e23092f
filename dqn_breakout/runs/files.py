"""How a file is written so that it is whole or absent, whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dqn_breakout import errors
from dqn_breakout.errors import UserError


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file.

    Raises:
        OSError: The disk is full, or the folder is gone; the file is as it was. `path` is the
            error's `filename`.
    """
    temporary = half_written(path)
    with naming(path):
        try:
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            # What failed first is what is to be told.
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        sync_folder(path.parent)


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
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
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
    """The path that a user gave, with the home directory in place of a `~` at its start.

    Raises:
        UserError: There is no such home directory.
    """
    try:
        return Path(path).expanduser()
    except (RuntimeError, ValueError) as error:  # ValueError: a zero byte in the name.
        raise UserError(
            f"The home directory that {errors.shown(os.fspath(path))} begins with is not known. "
            "Write the path out, or put ./ before it if ~ is part of a name."
        ) from error
