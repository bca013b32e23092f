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
import tokenize
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import lz4.frame
import numpy as np

from dqn_breakout import errors
from dqn_breakout.errors import UserError
from dqn_breakout.runs import files

FORMAT = 2
_MANIFEST = "manifest.json"
_CHECKSUM = "sha256"  # The manifest's own.
_KEYS = {"format", "counters", "files", "segments", _CHECKSUM}
_COUNTS = (("env_steps",), ("train_steps", 0))  # Counters, with what a missing one stands for.
_STEPS = re.compile(r"[0-9]+")
# Videos keep their ending, which says how they are written.
_HALF_WRITTEN = re.compile(r"\..+\.\d+\.tmp(\.(mp4|gif))?")
_REPLACED = re.compile(r"\.(\d+)\.replaced")
# What NumPy raises on bytes that are no arrays.
_NO_ARRAYS = (
    *(ValueError, TypeError, LookupError, ArithmeticError, EOFError, MemoryError, RuntimeError),
    *(SyntaxError, tokenize.TokenError, zipfile.BadZipFile),
)
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

    def arrays(self, group: str, limit_bytes: int | None = None) -> dict[str, np.ndarray]:
        """The arrays of one group, which may take so many bytes, headers included; None for any.

        Raises:
            DamagedCheckpoint: The file is not the one that was written, or is larger.
        """
        path = self.path / f"{group}.npz"
        with _verified(path, self.manifest["files"].get(path.name), limit_bytes) as file:
            return _read_arrays(path, file)

    def segment(self, folder: Path, name: str) -> dict[str, np.ndarray]:
        """The arrays of one replay segment in a folder.

        Raises:
            DamagedCheckpoint: The file is not the one that was written.
        """
        path, fingerprint = folder / name, self.manifest["segments"][name]
        with _verified(path, fingerprint) as file:
            decompressor = lz4.frame.LZ4FrameDecompressor()
            content = decompressor.decompress(file.read(), fingerprint["uncompressed_bytes"])
        return _read_arrays(path, io.BytesIO(content))

    def verify(self, folder: Path) -> None:
        """Compares every file with its size and checksum, replay segments in a folder included.

        Raises:
            DamagedCheckpoint: A file is not the one that was written.
        """
        for place, kind in ((self.path, "files"), (folder, "segments")):
            for name, fingerprint in self.manifest[kind].items():
                with _verified(place / name, fingerprint):
                    pass


def write_segment(folder: Path, name: str, arrays: Arrays) -> dict[str, Any]:
    """Writes a replay segment; beside its arrays, only the compressed file is held in memory.

    Returns:
        Its size, its SHA-256 and its size before compression, for the manifest.

    Raises:
        OSError: It could not be written, or there is nothing to make its folder in.
    """
    files.make_folder(folder)
    buffer = io.BytesIO()
    with lz4.frame.open(buffer, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
        uncompressed_bytes = file.tell()
    files.write_atomically(folder / name, buffer.getvalue())
    return {**_fingerprint(buffer.getvalue()), "uncompressed_bytes": uncompressed_bytes}


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
        segments: What `write_segment` returned of the replay segments that it needs, by file name.

    Raises:
        OSError: It could not be written; earlier checkpoints are untouched. The checkpoint's folder
            is the error's `filename`.
    """
    final = folder / f"{int(counters['env_steps']):012d}"
    temporary = files.half_written(final)
    written: dict[str, dict[str, Any]] = {}
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with files.naming(final):
            files.make_folder(folder)
            temporary.mkdir()
            for group, arrays in groups.items():
                buffer = io.BytesIO()
                np.savez(buffer, allow_pickle=False, **arrays)
                files.write_atomically(temporary / f"{group}.npz", buffer.getvalue())
                written[f"{group}.npz"] = _fingerprint(buffer.getvalue())
            rest = {"counters": dict(counters), "files": written, "segments": dict(segments)}
            manifest = {"format": FORMAT, **rest}
            manifest[_CHECKSUM] = _manifest_checksum(manifest)
            files.write_json(temporary / _MANIFEST, manifest)
            _give_name(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Checkpoint(final, manifest)


def _give_name(temporary: Path, final: Path) -> None:
    """Renames a folder; one that has that name already goes only after it."""
    replaced = final.with_name(f".{final.name}.replaced")
    if final.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        os.replace(final, replaced)
    try:
        os.replace(temporary, final)
        files.sync_folder(final.parent)
    finally:
        if replaced.exists() and not final.exists():
            os.replace(replaced, final)
        shutil.rmtree(replaced, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Removes what dead processes left half-written in a folder, which no other may be writing.

    A checkpoint that was just being replaced by another of the same step gets its name back.
    """
    for path in inside(folder):
        replaced = _REPLACED.fullmatch(path.name)
        if replaced and not (folder / replaced[1]).exists():
            os.replace(path, folder / replaced[1])
        elif path.is_dir() and (replaced or _HALF_WRITTEN.fullmatch(path.name)):
            shutil.rmtree(path)
        elif _HALF_WRITTEN.fullmatch(path.name):
            path.unlink()


def inside(folder: Path) -> list[Path]:
    """What is in a folder; nothing where there is none."""
    return list(folder.iterdir()) if folder.is_dir() else []


def checkpoints(folder: Path) -> list[Path]:
    """The folders of all finished checkpoints, newest first."""
    found = [path for path in inside(folder) if _STEPS.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name), reverse=True)


def existing(folder: Path) -> list[Path]:
    """All checkpoints in a folder, or the one that it is itself, newest first.

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
    """Looks at the newest manifest that can be read: a config of its time would mislead.

    Args:
        folder: Where checkpoints lie, or one checkpoint itself; there may be none.

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
        found = manifest.get("format") if isinstance(manifest, dict) else None
        sound = found == FORMAT and _is_sound(manifest)
    except OSError as error:
        raise DamagedCheckpoint(f"{manifest_path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
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
    return Checkpoint(path, manifest)


def _is_sound(manifest: dict[str, Any]) -> bool:
    """Whether a manifest is what was written; a stranger's checksum fits whatever its types are."""
    if manifest.keys() != _KEYS or manifest[_CHECKSUM] != _manifest_checksum(manifest):
        return False
    counters, *kinds = (manifest[key] for key in ("counters", "files", "segments"))
    if not all(isinstance(each, dict) for each in (counters, *kinds)):
        return False
    fingerprints = [each for kind in kinds for each in kind.values()]
    return all(type(counters.get(*each)) is int for each in _COUNTS) and all(
        isinstance(each, dict) and type(each.get("bytes")) is int and "sha256" in each
        for each in fingerprints
    )


def newest_arrays(
    folder: Path, group: str, limit_bytes: int | None = None
) -> tuple[Checkpoint, dict[str, np.ndarray], list[str]]:
    """One group of the newest sound checkpoint, while another process may write and remove some.

    Args:
        folder: Where checkpoints lie, or one checkpoint itself.
        group: The group's name.
        limit_bytes: Bytes that its arrays may take, headers included; None for any.

    Returns:
        The checkpoint, its arrays, and what was wrong with newer ones, a sentence each.

    Raises:
        UserError: There is none that can be read.
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


def limit_bytes(expected_bytes: int) -> int:
    """Bytes to allow where so many are expected: what is another network is told by its shapes."""
    return 4 * expected_bytes + 2**16


def _read_arrays(path: Path, file: IO[bytes]) -> dict[str, np.ndarray]:
    """The arrays of a .npz file; they take no more memory than the file has bytes."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    try:
        with np.load(file, allow_pickle=False) as arrays:
            members = arrays.zip.infolist()
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise ValueError("the arrays in it are compressed")
            if sum(member.file_size for member in members) > size:
                raise ValueError("the arrays in it are larger than the file")
            return dict(arrays)
    except _NO_ARRAYS as error:
        said = errors.shortened(errors.first_line(error))
        raise DamagedCheckpoint(f"{path} is not a file of arrays: {said}") from error


def _fingerprint(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _manifest_checksum(manifest: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in manifest.items() if key != _CHECKSUM}
    return hashlib.sha256(json.dumps(rest).encode()).hexdigest()


@contextlib.contextmanager
def _verified(
    path: Path, fingerprint: Mapping[str, Any] | None, limit_bytes: int | None = None
) -> Iterator[IO[bytes]]:
    """The file, open at its start, after its size and then its checksum were compared."""
    if fingerprint is None:
        raise DamagedCheckpoint(f"{path} is not in its manifest")
    try:
        with open(path, "rb") as file:
            size, expected = os.fstat(file.fileno()).st_size, fingerprint["bytes"]
            if size != expected:
                raise DamagedCheckpoint(f"{path} has {size} bytes and should have {expected}")
            if limit_bytes is not None and size > limit_bytes:
                raise DamagedCheckpoint(f"{path} has {size:,} bytes, of at most {limit_bytes:,}")
            if hashlib.file_digest(file, "sha256").hexdigest() != fingerprint["sha256"]:
                raise DamagedCheckpoint(f"{path} was changed: its checksum does not match")
            file.seek(0)
            yield file
    except OSError as error:
        raise DamagedCheckpoint(f"{path} cannot be read: {error.strerror}") from error
