"""Checkpoints as files: named arrays, written atomically, with checksums; no code in them.

    checkpoints/000000250000/
      manifest.json     format, counters, for each file its size and SHA-256, and its own SHA-256
      network.npz ...   named arrays of each part, plain NumPy, never pickled, never compressed
    replay/rows-<start>-<stop>.npz.lz4    segments named by the manifests that need them

A network that was exported may come from a stranger: nothing in it runs, no name in it is a path,
and no more is read than its reader allows.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lz4.frame
import numpy as np

from dqn_breakout import errors
from dqn_breakout.errors import UserError
from dqn_breakout.runs import files

FORMAT = 2
_MANIFEST = "manifest.json"
_CHECKSUM = "sha256"  # The manifest's own.
_STEPS = re.compile(r"[0-9]+")
# Videos keep their ending, which says how they are written.
_HALF_WRITTEN = re.compile(r"\..+\.\d+\.tmp(\.(mp4|gif))?")
Arrays = Mapping[str, np.ndarray]
FileRecord = dict[str, Any]
"""A file's `bytes` and `sha256`; of a segment also its `uncompressed_bytes`."""


class DamagedCheckpoint(Exception):
    """A checkpoint's file is missing, cut short or changed; the message names it and says how."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """One checkpoint on disk.

    Attributes:
        path: Its folder.
        counters: Counts at the time of the checkpoint, such as `env_steps` and `train_steps`.
        files: Size and SHA-256 of its files of arrays, by name.
        segments: The same of the replay segments that it needs, oldest first.
    """

    path: Path
    counters: dict[str, Any]
    files: dict[str, FileRecord]
    segments: dict[str, FileRecord]

    def arrays(self, group: str, limit_bytes: int | None = None) -> dict[str, np.ndarray]:
        """The arrays of one group, which may take so many bytes, headers included; None for any.

        Raises:
            DamagedCheckpoint: The file is not the one that was written, or is larger.
        """
        path = self.path / f"{group}.npz"
        return _arrays(path, _content(path, self.files.get(path.name), limit_bytes))

    def segment(self, folder: Path, name: str) -> dict[str, np.ndarray]:
        """The arrays of one replay segment in a folder.

        Raises:
            DamagedCheckpoint: The file is not the one that was written.
        """
        path, file_record = folder / name, self.segments[name]
        decompressor = lz4.frame.LZ4FrameDecompressor()
        compressed = _content(path, file_record)
        return _arrays(path, decompressor.decompress(compressed, file_record["uncompressed_bytes"]))

    def verify(self, folder: Path) -> None:
        """Compares every file with its size and checksum, replay segments in a folder included.

        Raises:
            DamagedCheckpoint: A file is not the one that was written.
        """
        for place, file_records in ((self.path, self.files), (folder, self.segments)):
            for name, file_record in file_records.items():
                _content(place / name, file_record)


def write_segment(folder: Path, name: str, arrays: Arrays) -> FileRecord:
    """Writes a replay segment; beside its arrays, only the compressed file is held in memory.

    Raises:
        OSError: It could not be written, or there is nothing to make its folder in.
    """
    files.make_folder(folder)
    buffer = io.BytesIO()
    with lz4.frame.open(buffer, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
        uncompressed_bytes = file.tell()
    files.write_atomically(folder / name, buffer.getvalue())
    return {**_file_record(buffer.getvalue()), "uncompressed_bytes": uncompressed_bytes}


def write_checkpoint(
    folder: Path,
    counters: Mapping[str, Any],
    groups: Mapping[str, Arrays],
    segments: Mapping[str, FileRecord],
) -> Checkpoint:
    """Writes a checkpoint; it is whole under its final name or not there at all.

    One of the same step goes first: a run comes to a step again only where that one was damaged.

    Args:
        folder: Where checkpoints lie; made where there is none, but not what it lies in.
        counters: Must hold `env_steps`, which names the checkpoint.
        groups: Named arrays; each group becomes a file.
        segments: What `write_segment` returned of the segments that it needs, by file name.

    Raises:
        OSError: It could not be written; those of other steps are untouched. The checkpoint's
            folder is the error's `filename`.
    """
    final = folder / f"{int(counters['env_steps']):012d}"
    temporary = files.half_written(final)
    checkpoint = Checkpoint(final, dict(counters), {}, dict(segments))
    try:
        with files.naming(final):
            files.make_folder(folder)
            remove_checkpoint(final)
            temporary.mkdir()
            for group, arrays in groups.items():
                buffer = io.BytesIO()
                np.savez(buffer, allow_pickle=False, **arrays)
                files.write_atomically(temporary / f"{group}.npz", buffer.getvalue())
                checkpoint.files[f"{group}.npz"] = _file_record(buffer.getvalue())
            manifest: dict[str, Any] = {
                "format": FORMAT,
                "counters": checkpoint.counters,
                "files": checkpoint.files,
                "segments": checkpoint.segments,
            }
            manifest[_CHECKSUM] = _manifest_checksum(manifest)
            files.write_json(temporary / _MANIFEST, manifest)
            os.replace(temporary, final)
            files.sync_folder(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return checkpoint


def remove_checkpoint(path: Path) -> None:
    """Removes a checkpoint, if it is there; under its name it is whole until it is gone."""
    going = files.half_written(path)
    shutil.rmtree(going, ignore_errors=True)
    if path.exists():
        path.rename(going)
        _remove(going)


def _remove(path: Path) -> None:
    """Removes a file, a folder with what is in it, or a link alone."""
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def sweep(folder: Path) -> None:
    """Removes what dead processes left half-written in a folder, which no other may be writing."""
    for path in inside(folder):
        if _HALF_WRITTEN.fullmatch(path.name):
            _remove(path)


def inside(folder: Path) -> list[Path]:
    """What is in a folder; nothing where there is none."""
    return list(folder.iterdir()) if folder.is_dir() else []


def checkpoints(folder: Path) -> list[Path]:
    """The folders of all finished checkpoints, newest first."""
    found = [path for path in inside(folder) if _STEPS.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name), reverse=True)


def existing(folder: Path) -> list[Path]:
    """All checkpoints in a folder, or that one which it is itself, newest first.

    Raises:
        UserError: There is none.
    """
    found = _existing(folder)
    if not found:
        raise UserError(f"There is no checkpoint in {folder}: train first, or give another folder.")
    return found


def _existing(folder: Path) -> list[Path]:
    return [folder] if (folder / _MANIFEST).exists() else checkpoints(folder)


def refuse_other_formats(folder: Path) -> None:
    """Looks at the newest manifest that can be read, if any: a config of its time would mislead.

    Raises:
        UserError: Another version of this project wrote it.
    """
    for path in _existing(folder):
        with contextlib.suppress(DamagedCheckpoint):
            open_checkpoint(path)
            return


def open_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint's manifest.

    Raises:
        DamagedCheckpoint: The manifest is missing, or not the one that was written.
        UserError: Another version of this project wrote it.
    """
    manifest_path = path / _MANIFEST
    try:
        manifest = json.loads(manifest_path.read_bytes())
        found = manifest["format"]
        sound = found == FORMAT and _is_sound(manifest)
    except OSError as error:
        raise DamagedCheckpoint(f"{manifest_path} cannot be read: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedCheckpoint(f"{manifest_path} is damaged") from error
    # What another version wrote may have other keys and another checksum.
    if isinstance(found, int) and found != FORMAT:
        raise UserError(
            f"The checkpoint {path} is of another version of this project (format {found}, not "
            f"{FORMAT}); it is neither damaged nor deleted. Go on with the version that began it "
            "(run.json names its revision), or start anew in another --run_dir."
        )
    if not sound:
        raise DamagedCheckpoint(f"{manifest_path} is damaged")
    return Checkpoint(path, manifest["counters"], manifest["files"], manifest["segments"])


def _is_sound(manifest: dict[str, Any]) -> bool:
    """Whether a manifest is what was written, or raises what comes of using another as one.

    A stranger's checksum fits whatever its types are.
    """
    counters = manifest["counters"]
    file_records = [*manifest["files"].values(), *manifest["segments"].values()]
    counts = [counters["env_steps"], counters.get("train_steps", 0)]
    counts += [each["bytes"] for each in file_records]
    checksums = [each["sha256"] for each in file_records]
    return (
        manifest[_CHECKSUM] == _manifest_checksum(manifest)
        and all(type(each) is int for each in counts)
        and all(type(each) is str for each in checksums)
    )


def newest_arrays(
    folder: Path, group: str, limit_bytes: int | None = None
) -> tuple[Checkpoint, dict[str, np.ndarray], list[str]]:
    """One group of the newest sound checkpoint, while another process may write and remove some.

    See `existing` for the folder and `Checkpoint.arrays` for the limit.

    Returns:
        The checkpoint, its arrays, and what was wrong with newer ones, a sentence each.

    Raises:
        UserError: There is none that can be read.
    """
    looked_at: list[Path] = []
    damage: list[str] = []
    # Where one is gone by the time it is read, there is a newer one: look again.
    while (found := existing(folder)) != looked_at:
        looked_at, damage = found, []
        for path in found:
            try:
                checkpoint = open_checkpoint(path)
                return checkpoint, checkpoint.arrays(group, limit_bytes), damage
            except DamagedCheckpoint as error:
                damage.append(str(error))
    raise UserError(
        f"No checkpoint in {folder} can be used: {'; '.join(damage)}. Restore the files, or give "
        "another folder."
    )


def limit_bytes(expected_bytes: int) -> int:
    """Bytes to allow where so many are expected: what is another network is told by its shapes."""
    return 4 * expected_bytes + 2**16


def _arrays(path: Path, content: bytes) -> dict[str, np.ndarray]:
    """The arrays of a .npz file; they take no more memory than the file has bytes."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            if sum(member.file_size for member in arrays.zip.infolist()) > len(content):
                raise ValueError("the arrays in it are larger than the file")
            return dict(arrays)
    except Exception as error:  # NumPy raises anything on bytes that are no arrays.
        said = errors.shortened(errors.first_line(error))
        raise DamagedCheckpoint(f"{path} is not a file of arrays: {said}") from error


def _content(path: Path, file_record: FileRecord | None, limit_bytes: int | None = None) -> bytes:
    """What is in a file, once its size and then its checksum were compared."""
    if file_record is None:
        raise DamagedCheckpoint(f"{path} is not in its manifest")
    try:
        size, expected = path.stat().st_size, file_record["bytes"]
        if size != expected:
            raise DamagedCheckpoint(f"{path} has {size} bytes and should have {expected}")
        if limit_bytes is not None and size > limit_bytes:
            raise DamagedCheckpoint(f"{path} has {size:,} bytes, of at most {limit_bytes:,}")
        content = path.read_bytes()
    except OSError as error:
        raise DamagedCheckpoint(f"{path} cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != file_record["sha256"]:
        raise DamagedCheckpoint(f"{path} was changed: its checksum does not match")
    return content


def _file_record(content: bytes) -> FileRecord:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _manifest_checksum(manifest: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in manifest.items() if key != _CHECKSUM}
    return hashlib.sha256(json.dumps(rest).encode()).hexdigest()
