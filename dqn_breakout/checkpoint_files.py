"""Checkpoints as files: named arrays, written atomically, with checksums; no code in them.

    checkpoints/000000250000/
      manifest.json     format, counters, and for each file its size and SHA-256
      network.npz ...   groups of named arrays, plain NumPy, never pickled
    replay/rows-<start>-<stop>.npz.lz4    segments named by the manifests that need them

What the arrays mean is not known here: `training/checkpoint.py` gives and takes them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lz4.frame
import numpy as np

from dqn_breakout.errors import UserError
from dqn_breakout.run_directory import sync_folder, write_atomically

FORMAT = 1
_MANIFEST = "manifest.json"
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

    def arrays(self, group: str) -> dict[str, np.ndarray]:
        """The arrays of one group, after their checksum was compared.

        Raises:
            DamagedCheckpoint: The file is not the one that was written.
        """
        name = f"{group}.npz"
        return _read_arrays(_verified(self.path / name, self.manifest["files"].get(name)))

    def segment(self, folder: Path, name: str) -> dict[str, np.ndarray]:
        """The arrays of one replay segment, after its checksum was compared.

        Raises:
            DamagedCheckpoint: The file is not the one that was written.
        """
        path = folder / name
        content = _verified(path, self.manifest["segments"][name])
        try:
            return _read_arrays(lz4.frame.decompress(content))
        except RuntimeError as error:
            raise DamagedCheckpoint(f"{path} is not a replay segment: {error}") from error


def write_segment(folder: Path, name: str, arrays: Arrays) -> dict[str, Any]:
    """Writes a replay segment.

    Returns:
        Its size and SHA-256, for the manifest.

    Raises:
        OSError: It could not be written; nothing is left under its name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = lz4.frame.compress(_to_bytes(arrays))
    write_atomically(folder / name, content)
    return _fingerprint(content)


def write_checkpoint(
    folder: Path,
    counters: Mapping[str, Any],
    groups: Mapping[str, Arrays],
    segments: Mapping[str, Mapping[str, Any]],
) -> Checkpoint:
    """Writes a checkpoint; it is whole under its final name or not there at all.

    Args:
        folder: Where checkpoints lie.
        counters: Must hold `env_steps`, which names the checkpoint.
        groups: Named arrays by group; each group becomes a file.
        segments: Fingerprints of the replay segments it needs, by file name.

    Raises:
        OSError: It could not be written; earlier checkpoints are untouched.
    """
    final = folder / f"{int(counters['env_steps']):012d}"
    temporary = folder / f".{final.name}.{os.getpid()}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        files = {}
        for group, arrays in groups.items():
            content = _to_bytes(arrays)
            write_atomically(temporary / f"{group}.npz", content)
            files[f"{group}.npz"] = _fingerprint(content)
        manifest = {
            "format": FORMAT,
            "counters": dict(counters),
            "files": files,
            "segments": {name: dict(value) for name, value in segments.items()},
        }
        text = json.dumps(manifest, indent=2, allow_nan=False) + "\n"
        write_atomically(temporary / _MANIFEST, text.encode())
        if final.exists():
            shutil.rmtree(final)
        os.replace(temporary, final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(folder)
    return Checkpoint(final, manifest)


def checkpoints(folder: Path) -> list[Path]:
    """The folders of all finished checkpoints, newest first."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.name.isdigit() and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name), reverse=True)


def open_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint's manifest.

    Raises:
        DamagedCheckpoint: The manifest is missing, no manifest, or of another format.
    """
    manifest_path = path / _MANIFEST
    try:
        manifest = json.loads(manifest_path.read_bytes())
        known = manifest["format"] == FORMAT
        complete = (
            isinstance(manifest["counters"]["env_steps"], int)
            and isinstance(manifest["files"], dict)
            and isinstance(manifest["segments"], dict)
        )
    except OSError as error:
        raise DamagedCheckpoint(f"{manifest_path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedCheckpoint(f"{manifest_path} is damaged") from error
    if not known:
        raise DamagedCheckpoint(
            f"{manifest_path} is of format {manifest['format']!r}; this version reads {FORMAT}"
        )
    if not complete:
        raise DamagedCheckpoint(f"{manifest_path} is damaged")
    return Checkpoint(path, manifest)


def open_newest(folder: Path) -> Checkpoint:
    """The newest checkpoint that has a manifest, for reading one group of arrays.

    Args:
        folder: Where checkpoints lie, or one checkpoint itself.

    Raises:
        UserError: There is none, or none that can be read.
    """
    found = [folder] if (folder / _MANIFEST).exists() else checkpoints(folder)
    if not found:
        raise UserError(f"There is no checkpoint in {folder}: train first, or give another folder.")
    damage = []
    for path in found:
        try:
            return open_checkpoint(path)
        except DamagedCheckpoint as error:
            damage.append(str(error))
    raise UserError(f"No checkpoint in {folder} can be used: {'; '.join(damage)}.")


def _to_bytes(arrays: Arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _read_arrays(content: bytes) -> dict[str, np.ndarray]:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, KeyError) as error:
        raise DamagedCheckpoint(f"not a file of arrays: {error}") from error


def _fingerprint(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _verified(path: Path, fingerprint: Any) -> bytes:
    if not isinstance(fingerprint, dict):
        raise DamagedCheckpoint(f"{path} is not in its manifest")
    try:
        size = path.stat().st_size
        if size != fingerprint.get("bytes"):
            raise DamagedCheckpoint(
                f"{path} has {size} bytes and should have {fingerprint.get('bytes')}"
            )
        content = path.read_bytes()
    except OSError as error:
        raise DamagedCheckpoint(f"{path} cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != fingerprint.get("sha256"):
        raise DamagedCheckpoint(f"{path} was changed: its checksum does not match")
    return content
