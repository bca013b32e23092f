"""Checkpoints as files: named arrays, written atomically, with checksums; no code in them.

    checkpoints/000000250000/
      manifest.json     format, counters, for each file its size and SHA-256, and its own SHA-256
      network.npz ...   groups of named arrays, plain NumPy, never pickled, never compressed
    replay/rows-<start>-<stop>.npz.lz4    segments named by the manifests that need them

What the arrays mean is not known here: `training/checkpoint.py` gives and takes them. Files may
come from a stranger: none makes reading take more memory than who reads it allows.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import io
import json
import math
import os
import re
import shutil
import stat
import struct
import tokenize
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import lz4.frame
import numpy as np

from dqn_breakout import errors
from dqn_breakout.errors import UserError
from dqn_breakout.runs.files import make_folder, naming, sync_folder, write_atomically

FORMAT = 1
_MANIFEST = "manifest.json"
_KEYS = {"format", "counters", "files", "segments", "sha256"}
_CHECKSUM = "sha256"  # The manifest's own.
# Far above any manifest: a segment takes some 200 bytes of it. Read, it takes twenty times as much.
_MANIFEST_BYTES = 2**24
# What names and headers take in a file of arrays, beside the arrays.
HEADER_BYTES = 2**16
# Where nobody says what to expect, a file may not hold more.
_MOST_BYTES = 2**30
# So many times the expected bytes are read, so that what is another network is told by its shapes.
_LARGER = 4
# Names of files in a manifest: none leads out of its folder.
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
# Compressed bytes read at a time; LZ4 makes at most 255 times as many of them.
_PIECE_BYTES = 2**13
# What zipfile and NumPy raise on bytes that are no arrays.
_MALFORMED = (
    AttributeError,
    EOFError,
    LookupError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
)
_STEPS = re.compile(r"[0-9]+")
# Videos keep their ending, which says how they are written.
_HALF_WRITTEN = re.compile(r"\..+\.\d+\.tmp(\.(mp4|gif))?")
_REPLACED = re.compile(r"\.(\d+)\.replaced")
Arrays = Mapping[str, np.ndarray]


class DamagedCheckpoint(Exception):
    """A checkpoint's file is missing, cut short or changed; the message names it and says how."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """One checkpoint on disk.

    Attributes:
        path: Its folder.
        manifest: The content of its manifest: `format`, `counters`, `files`, `segments`.
    """

    path: Path
    manifest: dict[str, Any]

    @property
    def counters(self) -> dict[str, Any]:
        """Counts at the time of the checkpoint, such as `env_steps` and `train_steps`."""
        return dict(self.manifest["counters"])

    @property
    def segments(self) -> list[str]:
        """File names of the replay segments that this checkpoint needs, oldest first."""
        return list(self.manifest["segments"])

    def arrays(self, group: str, limit_bytes: int = _MOST_BYTES) -> dict[str, np.ndarray]:
        """The arrays of one group, after size and checksum of their file were compared.

        Args:
            group: The group's name.
            limit_bytes: Bytes that they may take, headers included.

        Raises:
            DamagedCheckpoint: The file is not the one that was written, or not one of arrays, or
                larger.
        """
        path = self.path / f"{group}.npz"
        with _verified(path, self.manifest["files"].get(path.name), limit_bytes) as file:
            return _read_arrays(path, file)

    def segment(
        self, folder: Path, name: str, limit_bytes: int = _MOST_BYTES
    ) -> dict[str, np.ndarray]:
        """The arrays of one replay segment, after its file's size and checksum were compared.

        Args:
            folder: Where the replay segments lie.
            name: The segment's file name.
            limit_bytes: Bytes that it may decompress to; its manifest may state fewer.

        Raises:
            DamagedCheckpoint: The file is not the one that was written, or holds more.
        """
        path, fingerprint = folder / name, self.manifest["segments"][name]
        with _verified(path, fingerprint, _most_compressed(limit_bytes)) as file:
            stated = fingerprint.get("uncompressed_bytes")
            if type(stated) is not int:  # No size is over NaN.
                raise DamagedCheckpoint(
                    f"{path} is not a replay segment: {errors.shown(stated)} is no size"
                )
            return _read_arrays(path, _decompressed(path, file, min(stated, limit_bytes)))

    def verify(self, folder: Path, limits_bytes: Mapping[str, int] | None = None) -> None:
        """Compares every file with its checksum, a piece at a time; nothing is decompressed.

        Args:
            folder: Where the replay segments lie.
            limits_bytes: Bytes that a file's arrays may take, headers included, by its name.

        Raises:
            DamagedCheckpoint: A file is not the one that was written, or is larger.
        """
        limits = limits_bytes or {}
        for name, fingerprint in self.manifest["files"].items():
            with _verified(self.path / name, fingerprint, limits.get(name, _MOST_BYTES)):
                pass
        for name, fingerprint in self.manifest["segments"].items():
            limit = _most_compressed(limits.get(name, _MOST_BYTES))
            with _verified(folder / name, fingerprint, limit):
                pass


def write_segment(folder: Path, name: str, arrays: Arrays) -> dict[str, Any]:
    """Writes a replay segment.

    The arrays are compressed as they are read: beside them, only the compressed file is held.

    Args:
        folder: Where segments lie; made where there is none, but not what it lies in.
        name: The segment's name.
        arrays: Its content.

    Returns:
        Its size, its SHA-256 and its size before compression, for the manifest.

    Raises:
        OSError: It could not be written; nothing is left under its name.
    """
    make_folder(folder)
    buffer = io.BytesIO()
    with lz4.frame.open(buffer, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
        uncompressed_bytes = file.tell()
    content = buffer.getvalue()
    write_atomically(folder / name, content)
    return {**_fingerprint(content), "uncompressed_bytes": uncompressed_bytes}


def write_checkpoint(
    folder: Path,
    counters: Mapping[str, Any],
    groups: Mapping[str, Arrays],
    segments: Mapping[str, Mapping[str, Any]],
) -> Checkpoint:
    """Writes a checkpoint; it is whole under its final name or not there at all.

    Args:
        folder: Where checkpoints lie; made where there is none, but not what it lies in.
        counters: Must hold `env_steps`, which names the checkpoint.
        groups: Named arrays by group; each group becomes a file.
        segments: Fingerprints of the replay segments it needs, by file name.

    Raises:
        OSError: It could not be written; earlier checkpoints are untouched. The checkpoint's folder
            is the error's `filename`.
    """
    final = folder / f"{int(counters['env_steps']):012d}"
    temporary = folder / f".{final.name}.{os.getpid()}.tmp"
    replaced = folder / f".{final.name}.replaced"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with naming(final):
            make_folder(folder)
            temporary.mkdir()
            files = {}
            for group, arrays in groups.items():
                content = _to_bytes(arrays)
                write_atomically(temporary / f"{group}.npz", content)
                files[f"{group}.npz"] = _fingerprint(content)
            manifest: dict[str, Any] = {
                "format": FORMAT,
                "counters": dict(counters),
                "files": files,
                "segments": {name: dict(value) for name, value in segments.items()},
            }
            manifest[_CHECKSUM] = _manifest_checksum(manifest)
            text = json.dumps(manifest, indent=2, allow_nan=False) + "\n"
            if len(text) > _MANIFEST_BYTES:
                raise OSError(errno.EFBIG, "too many replay segments for a manifest")
            write_atomically(temporary / _MANIFEST, text.encode())
            if final.exists():
                shutil.rmtree(replaced, ignore_errors=True)
                os.replace(final, replaced)
            try:
                os.replace(temporary, final)
            except BaseException:
                if replaced.exists():
                    os.replace(replaced, final)
                raise
            sync_folder(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if final.exists():
            shutil.rmtree(replaced, ignore_errors=True)
    return Checkpoint(final, manifest)


def sweep(folder: Path) -> None:
    """Removes what dead processes left half-written in a folder, which no other may be writing.

    A checkpoint that was just being replaced by another of the same step gets its name back.
    """
    if not folder.is_dir():
        return
    for path in list(folder.iterdir()):
        replaced = _REPLACED.fullmatch(path.name)
        if replaced is not None and not (folder / replaced[1]).exists():
            os.replace(path, folder / replaced[1])
        elif replaced is not None or _HALF_WRITTEN.fullmatch(path.name):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def checkpoints(folder: Path) -> list[Path]:
    """The folders of all finished checkpoints, newest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _STEPS.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name), reverse=True)


def open_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint's manifest.

    Raises:
        DamagedCheckpoint: The manifest is missing, no manifest, or of another format, or its
            counts of steps are none.
    """
    manifest_path = path / _MANIFEST
    try:
        with _opened(manifest_path) as file:
            if os.fstat(file.fileno()).st_size > _MANIFEST_BYTES:
                raise DamagedCheckpoint(f"{manifest_path} has more than {_MANIFEST_BYTES:,} bytes")
            manifest = json.loads(file.read())
        found = manifest["format"]
        if found != FORMAT:
            raise DamagedCheckpoint(
                f"{manifest_path} is of format {errors.shown(found)}; this version reads {FORMAT}"
            )
        complete = (
            manifest.keys() == _KEYS
            and _is_count(manifest["counters"]["env_steps"])
            and _is_count(manifest["counters"].get("train_steps", 0))
            and isinstance(manifest["files"], dict)
            and isinstance(manifest["segments"], dict)
            and all(map(_FILE_NAME.fullmatch, (*manifest["files"], *manifest["segments"])))
            and manifest[_CHECKSUM] == _manifest_checksum(manifest)
        )
    except OSError as error:
        raise DamagedCheckpoint(f"{manifest_path} cannot be read: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedCheckpoint(f"{manifest_path} is damaged") from error
    if not complete:
        raise DamagedCheckpoint(f"{manifest_path} is damaged")
    return Checkpoint(path, manifest)


def limit_bytes(expected_bytes: int) -> int:
    """Bytes of a file that are read where arrays of `expected_bytes` should be."""
    return _LARGER * expected_bytes + HEADER_BYTES


def newest_arrays(
    folder: Path, group: str, limit_bytes: int = _MOST_BYTES
) -> tuple[Checkpoint, dict[str, np.ndarray], list[str]]:
    """One group of arrays of the newest checkpoint whose manifest and group are sound.

    Another process may write and remove checkpoints meanwhile.

    Args:
        folder: Where checkpoints lie, or one checkpoint itself.
        group: The group's name.
        limit_bytes: Bytes that the arrays may take, headers included.

    Returns:
        The checkpoint, its arrays, and what was wrong with newer ones, a sentence each.

    Raises:
        UserError: There is none, or none that can be read.
    """
    looked_at: list[Path] = []
    damage: list[str] = []
    # Where one is gone by the time it is read, there is a newer one: look again.
    while (found := existing(folder)) != looked_at:
        damage = []
        for path in found:
            try:
                checkpoint = open_checkpoint(path)
                return checkpoint, checkpoint.arrays(group, limit_bytes), damage
            except DamagedCheckpoint as error:
                damage.append(str(error))
        looked_at = found
    raise UserError(
        f"No checkpoint in {folder} can be used: {'; '.join(damage)}. Restore the files, or give "
        "another folder."
    )


def existing(folder: Path) -> list[Path]:
    """The folders of all finished checkpoints, newest first; there is at least one.

    Args:
        folder: Where checkpoints lie, or one checkpoint itself.

    Raises:
        UserError: There is none.
    """
    found = [folder] if (folder / _MANIFEST).exists() else checkpoints(folder)
    if not found:
        raise UserError(f"There is no checkpoint in {folder}: train first, or give another folder.")
    return found


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0  # True is an int, too.


def _to_bytes(arrays: Arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _read_arrays(path: Path, file: IO[bytes]) -> dict[str, np.ndarray]:
    """The arrays of a .npz file; they take no more memory than the file has bytes."""
    size = file.seek(0, os.SEEK_END)
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise ValueError("an array in it is compressed")
            if sum(member.file_size for member in members) > size:
                raise ValueError("the arrays in it are larger than the file")
            arrays = {}
            for member in members:
                with archive.open(member) as content:
                    arrays[member.filename.removesuffix(".npy")] = _read_array(
                        content, member.file_size
                    )
            return arrays
    except _MALFORMED as error:
        raise DamagedCheckpoint(f"{path} is not a file of arrays: {error}") from error


def _read_array(content: IO[bytes], size: int) -> np.ndarray:
    """One array in .npy format, if it is of the size that its header says."""
    version = np.lib.format.read_magic(content)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    try:
        shape, _, dtype = read_header(content)
    except MemoryError as error:
        # Python's parser says so of brackets within brackets within brackets.
        raise ValueError("a header is nested too deeply") from error
    if min(shape, default=0) < 0 or not dtype.itemsize:
        raise ValueError(f"no array has shape {shape} and type {dtype}")
    if content.tell() + math.prod(shape) * dtype.itemsize != size:
        raise ValueError("an array in it is not of the size that it states")
    content.seek(0)
    return np.lib.format.read_array(content, allow_pickle=False)


def _decompressed(path: Path, file: IO[bytes], limit: int) -> io.BytesIO:
    """What was compressed into a file, if that is at most `limit` bytes."""
    decompressor = lz4.frame.LZ4FrameDecompressor()
    content = io.BytesIO()
    try:
        while piece := file.read(_PIECE_BYTES):
            content.write(decompressor.decompress(piece))
            if content.tell() > limit:
                raise ValueError(f"it holds more than {limit} bytes")
    except (RuntimeError, EOFError, ValueError, TypeError) as error:
        raise DamagedCheckpoint(f"{path} is not a replay segment: {error}") from error
    if not decompressor.eof:
        raise DamagedCheckpoint(f"{path} is not a replay segment: it is cut short")
    return content


def _most_compressed(limit: int) -> int:
    """What so many bytes take at most in an LZ4 frame: those that cannot be compressed grow."""
    return limit + limit // 255 + HEADER_BYTES


def _fingerprint(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _manifest_checksum(manifest: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in manifest.items() if key != _CHECKSUM}
    return hashlib.sha256(json.dumps(rest).encode()).hexdigest()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[io.BufferedReader]:
    """A file, open for reading, if it is one: a pipe would keep its reader waiting for ever."""

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | os.O_NONBLOCK)

    with open(path, "rb", opener=opener) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise DamagedCheckpoint(f"{path} is no ordinary file")
        yield file


@contextlib.contextmanager
def _verified(path: Path, fingerprint: Any, limit: int) -> Iterator[IO[bytes]]:
    """The file, open at its start, after its size and then its checksum were compared."""
    if not isinstance(fingerprint, dict):
        raise DamagedCheckpoint(f"{path} is not in its manifest")
    try:
        with _opened(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size != fingerprint.get("bytes"):
                raise DamagedCheckpoint(
                    f"{path} has {size} bytes and should have "
                    f"{errors.shown(fingerprint.get('bytes'))}"
                )
            if size > limit:
                raise DamagedCheckpoint(
                    f"{path} has {size:,} bytes, and what belongs there at most {limit:,}"
                )
            if hashlib.file_digest(file, "sha256").hexdigest() != fingerprint.get("sha256"):
                raise DamagedCheckpoint(f"{path} was changed: its checksum does not match")
            file.seek(0)
            yield file
    except OSError as error:
        raise DamagedCheckpoint(f"{path} cannot be read: {error.strerror}") from error
