"""Tests of checkpoints as files: whole or absent, every damage noticed, nothing in them runs."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import textwrap
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lz4.frame
import numpy as np
import pytest

from dqn_breakout.errors import UserError
from dqn_breakout.runs import checkpoint_files
from dqn_breakout.runs import directory as run_directory
from dqn_breakout.runs.checkpoint_files import Checkpoint, DamagedCheckpoint

REPOSITORY = Path(__file__).resolve().parent.parent

NETWORK: dict[str, Any] = {
    "000": np.arange(12, dtype=np.float32).reshape(3, 4),
    "001": np.array([-1, np.pi], np.float32),
}
METRICS: dict[str, Any] = {"env_steps": np.int64(1000), "returns": np.zeros(5, np.float32)}
ROWS: dict[str, Any] = {
    "frame": np.arange(2 * 3 * 8 * 8, dtype=np.uint8).reshape(2, 3, 8, 8),
    "reward": np.array([[0, 1, 0], [7, 0, -1]], np.float32),
}
SEGMENT = "rows-000000000000-000000000002.npz.lz4"


class Folders:
    """A run's two folders, and a checkpoint with one segment in them."""

    def __init__(self, path: Path):
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.replay = path / "replay"

    def write(self, env_steps: int = 1000) -> Checkpoint:
        fingerprint = checkpoint_files.write_segment(self.replay, SEGMENT, ROWS)
        return checkpoint_files.write_checkpoint(
            self.checkpoints,
            {"env_steps": env_steps, "train_steps": env_steps // 4},
            {"network": NETWORK, "metrics": METRICS},
            {SEGMENT: fingerprint},
        )

    def read(self, path: Path) -> dict[str, dict[str, np.ndarray]]:
        """Everything in a checkpoint, read as a resumed run reads it."""
        checkpoint = checkpoint_files.open_checkpoint(path)
        groups = {group: checkpoint.arrays(group) for group in ("network", "metrics")}
        segments = {name: checkpoint.segment(self.replay, name) for name in checkpoint.segments}
        return {**groups, **segments}

    def files(self) -> dict[str, bytes]:
        """All files with their content."""
        return {
            str(path.relative_to(self.path)): path.read_bytes()
            for path in sorted(self.path.rglob("*"))
            if path.is_file()
        }


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


def assert_same(found: dict[str, np.ndarray], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


# --- What was written comes back ------------------------------------------------------------------


def test_arrays_come_back_with_value_shape_and_type(folders):
    written = folders.write()
    found = folders.read(written.path)
    assert_same(found["network"], NETWORK)
    assert_same(found["metrics"], METRICS)
    assert_same(found[SEGMENT], ROWS)


def test_a_checkpoint_knows_its_counters_and_segments(folders):
    written = folders.write(250_000)
    assert written.path == folders.checkpoints / "000000250000"
    opened = checkpoint_files.open_checkpoint(written.path)
    assert opened.counters == written.counters == {"env_steps": 250_000, "train_steps": 62_500}
    assert opened.segments == written.segments == [SEGMENT]


def test_the_order_of_segments_is_kept(folders):
    names = [f"rows-{start:012d}-{start + 1:012d}.npz.lz4" for start in (8, 9, 10, 11)]
    segments = {name: {"bytes": 0, "sha256": ""} for name in names}
    written = checkpoint_files.write_checkpoint(
        folders.checkpoints, {"env_steps": 1}, {"network": NETWORK}, segments
    )
    assert checkpoint_files.open_checkpoint(written.path).segments == names


def test_a_checkpoint_is_manifest_and_plain_arrays_and_nothing_else(folders):
    folders.write()
    assert list(folders.files()) == [
        "checkpoints/000000001000/manifest.json",
        "checkpoints/000000001000/metrics.npz",
        "checkpoints/000000001000/network.npz",
        f"replay/{SEGMENT}",
    ]
    with np.load(folders.checkpoints / "000000001000/network.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["000"], NETWORK["000"])


def test_checkpoints_are_listed_newest_first_by_number(folders):
    for env_steps in (999_999_999_999, 50, 1_000, 9_000):
        folders.write(env_steps)
    # Wider than the names are padded: the number counts, not the spelling.
    shutil.copytree(folders.checkpoints / "000000000050", folders.checkpoints / "1000000000000")
    (folders.checkpoints / ".000000099999.1.tmp").mkdir()
    (folders.checkpoints / "notes").mkdir()
    (folders.checkpoints / "\N{SUPERSCRIPT TWO}").mkdir()
    (folders.checkpoints / "\N{ARABIC-INDIC DIGIT TWO}").mkdir()
    (folders.checkpoints / "77").write_text("a file, no checkpoint")
    found = checkpoint_files.checkpoints(folders.checkpoints)
    assert [path.name for path in found] == [
        "1000000000000",
        "999999999999",
        "000000009000",
        "000000001000",
        "000000000050",
    ]


def test_a_folder_that_is_not_there_holds_no_checkpoints(tmp_path):
    assert checkpoint_files.checkpoints(tmp_path / "missing") == []


def test_a_checkpoint_replaces_one_of_the_same_step(folders):
    folders.write()
    network = {"000": np.zeros(3, np.float32)}
    checkpoint_files.write_checkpoint(
        folders.checkpoints, {"env_steps": 1000}, {"network": network}, {}
    )
    (path,) = checkpoint_files.checkpoints(folders.checkpoints)
    assert_same(checkpoint_files.open_checkpoint(path).arrays("network"), network)
    assert not (path / "metrics.npz").exists()


# --- Every damage is noticed and named ------------------------------------------------------------


def every_file(folders: Folders) -> list[Path]:
    files = [folders.path / name for name in folders.files()]
    assert len(files) == 4
    return files


@pytest.mark.parametrize("name", ["manifest.json", "metrics.npz", "network.npz", SEGMENT])
@pytest.mark.parametrize("damage", ["removed", "empty", "one byte short", "one byte more", "half"])
def test_a_file_removed_or_of_another_length_is_named(folders, name, damage):
    written = folders.write()
    (path,) = [path for path in every_file(folders) if path.name == name]
    content = path.read_bytes()
    path.unlink()
    if damage != "removed":
        changed = {
            "empty": b"",
            "one byte short": content[:-1],
            "one byte more": content + b"}",
            "half": content[: len(content) // 2],
        }[damage]
        path.write_bytes(changed)
    if name == "manifest.json" and damage == "one byte short":
        # Only the line feed at the end is gone: the same manifest.
        folders.read(written.path)
        return
    with pytest.raises(DamagedCheckpoint) as caught:
        folders.read(written.path)
    assert str(path) in str(caught.value)
    if damage == "removed":
        assert "No such file" in str(caught.value)
    elif name != "manifest.json":
        assert str(len(content)) in str(caught.value)


@pytest.mark.parametrize("name", ["metrics.npz", "network.npz", SEGMENT])
def test_every_flipped_byte_of_an_array_file_is_named(folders, name):
    written = folders.write()
    (path,) = [path for path in every_file(folders) if path.name == name]
    content = path.read_bytes()
    generator = np.random.default_rng(1)
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= int(generator.integers(1, 256))
        path.write_bytes(changed)
        with pytest.raises(DamagedCheckpoint) as caught:
            folders.read(written.path)
        assert str(caught.value) == f"{path} was changed: its checksum does not match"


def flipped_manifests(folders: Folders, part: Callable[[str], bool]) -> Iterator[tuple[int, bytes]]:
    """The manifest with one bit flipped in the lines that `part` chooses.

    Bit 0 makes digits and letters others of their kind, bit 5 changes the case of letters and
    makes white space printable, bit 7 makes bytes that are no text.
    """
    written = folders.write()
    content = (written.path / "manifest.json").read_bytes()
    place = 0
    for line in content.splitlines(keepends=True):
        if part(line.decode()):
            for offset in range(len(line)):
                for bit in (0, 5, 7):
                    changed = bytearray(content)
                    changed[place + offset] ^= 1 << bit
                    (written.path / "manifest.json").write_bytes(changed)
                    yield place + offset, bytes(changed)
        place += len(line)


def in_counters(line: str) -> bool:
    return "_steps" in line


def assert_refused_or_the_same(folders: Folders, flipped: Iterator[tuple[int, bytes]]) -> None:
    path = folders.checkpoints / "000000001000"
    original = folders.write().manifest
    undetected = []
    damage = []
    for place, content in flipped:
        try:
            folders.read(path)
        except DamagedCheckpoint as error:
            damage.append(str(error))
            continue
        # White space may change without harm.
        if json.loads(content) != original:
            line = content[content.rfind(b"\n", 0, place) + 1 :].split(b"\n")[0]
            undetected.append(f"byte {place}: {line!r}")
    assert not undetected
    assert len(damage) > 50
    assert all(str(folders.path) in sentence for sentence in damage)


def test_every_flipped_bit_of_the_manifest_is_noticed(folders):
    flipped = flipped_manifests(folders, lambda line: not in_counters(line))
    assert_refused_or_the_same(folders, flipped)


def test_every_flipped_bit_of_the_counters_is_noticed(folders):
    assert_refused_or_the_same(folders, flipped_manifests(folders, in_counters))


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe not text",
        b"null",
        b"[]",
        b"{}",
        b'"text"',
        b"[" * 100_000,
        b'{"format": 1}',
        b'{"format": 1, "counters": [], "files": {}, "segments": {}}',
        b'{"format": 1, "counters": {}, "files": {}, "segments": {}}',
        b'{"format": 1, "counters": {"env_steps": "1"}, "files": {}, "segments": {}}',
        b'{"format": 1, "counters": {"env_steps": 1}, "files": [], "segments": {}}',
        b'{"format": 1, "counters": {"env_steps": 1}, "files": {}, "segments": null}',
        b'{"format": 1, "counters": {"env_steps": 1}, "files": {}, "segments": {}}',
    ],
)
def test_a_manifest_that_is_none_is_damaged(folders, content):
    path = folders.write().path
    (path / "manifest.json").write_bytes(content)
    with pytest.raises(DamagedCheckpoint) as caught:
        checkpoint_files.open_checkpoint(path)
    assert str(caught.value) == f"{path / 'manifest.json'} is damaged"


@pytest.mark.parametrize("other", [0, 2, "1", None, [1]])
def test_a_manifest_of_another_format_says_so(folders, other):
    path = folders.write().path
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "format": other}))
    with pytest.raises(DamagedCheckpoint) as caught:
        checkpoint_files.open_checkpoint(path)
    expected = f"{path / 'manifest.json'} is of format {other!r}; this version reads 1"
    assert str(caught.value) == expected


def test_a_format_of_the_future_need_not_look_like_todays(folders):
    path = folders.write().path
    (path / "manifest.json").write_text('{"format": 2, "arrays": ["all new"]}')
    with pytest.raises(DamagedCheckpoint, match=r"is of format 2; this version reads 1"):
        checkpoint_files.open_checkpoint(path)


def test_a_group_that_the_manifest_does_not_name_is_not_read(folders):
    written = folders.write()
    shutil.copy(written.path / "network.npz", written.path / "extra.npz")
    with pytest.raises(DamagedCheckpoint) as caught:
        written.arrays("extra")
    assert str(caught.value) == f"{written.path / 'extra.npz'} is not in its manifest"


def test_files_swapped_with_one_another_are_noticed(folders):
    written = folders.write()
    network, metrics = written.path / "network.npz", written.path / "metrics.npz"
    content = network.read_bytes()
    network.write_bytes(metrics.read_bytes())
    metrics.write_bytes(content)
    with pytest.raises(DamagedCheckpoint, match=r"network\.npz"):
        written.arrays("network")
    with pytest.raises(DamagedCheckpoint, match=r"metrics\.npz"):
        written.arrays("metrics")


def test_a_folder_in_place_of_a_file_is_named(folders):
    written = folders.write()
    network = written.path / "network.npz"
    size = network.stat().st_size
    network.unlink()
    network.mkdir()
    written.manifest["files"]["network.npz"]["bytes"] = network.stat().st_size
    with pytest.raises(DamagedCheckpoint, match=r"network\.npz cannot be read: Is a directory"):
        written.arrays("network")
    assert size


# --- A file that its manifest vouches for may still be hostile ------------------------------------


def vouched_for(folders: Folders, content: bytes) -> Checkpoint:
    """A checkpoint whose network file has the given content and a checksum that fits."""
    checkpoint = folders.write()
    (checkpoint.path / "network.npz").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    changes = {"network.npz": {"bytes": len(content), "sha256": digest}}
    return with_manifest(checkpoint, files={**checkpoint.manifest["files"], **changes})


def with_manifest(checkpoint: Checkpoint, **changes: Any) -> Checkpoint:
    """The checkpoint with another manifest, whose checksum fits."""
    manifest = {**checkpoint.manifest, **changes}
    del manifest["sha256"]
    manifest["sha256"] = hashlib.sha256(json.dumps(manifest).encode()).hexdigest()
    (checkpoint.path / "manifest.json").write_text(json.dumps(manifest))
    return checkpoint_files.open_checkpoint(checkpoint.path)


def with_segment(folders: Folders, content: bytes, **stated: Any) -> Checkpoint:
    """A checkpoint whose segment has the given content and a checksum that fits."""
    checkpoint = folders.write()
    (folders.replay / SEGMENT).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    sizes = {"bytes": len(content), "uncompressed_bytes": 2**40, **stated}
    fingerprint = {"sha256": digest, **sizes}
    return with_manifest(checkpoint, segments={SEGMENT: fingerprint})


@contextlib.contextmanager
def little_memory(limit_bytes: int = 50_000_000) -> Iterator[None]:
    """Fails if more than so many bytes are taken at any time inside."""
    tracemalloc.start()
    try:
        yield
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < limit_bytes


class Trap:
    """Pickled, it leaves a file behind when it is loaded."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def npz(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def declared(shape: tuple[int, ...]) -> bytes:
    """A .npy member that declares an array of float64 and holds eight bytes of it."""
    buffer = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_2_0(buffer, header)
    return buffer.getvalue() + b"\0" * 8


def test_pickled_arrays_are_refused_and_not_run(folders, tmp_path):
    trap = tmp_path / "trap sprung"
    objects = np.empty(1, dtype=object)
    objects[0] = Trap(trap)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=True, **{"000": objects})
    checkpoint = vouched_for(folders, buffer.getvalue())
    with pytest.raises(DamagedCheckpoint, match="not a file of arrays"):
        checkpoint.arrays("network")
    assert not trap.exists()


def test_a_bare_pickle_is_refused_and_not_run(folders, tmp_path):
    trap = tmp_path / "trap sprung"
    checkpoint = vouched_for(folders, pickle.dumps(Trap(trap)))
    with pytest.raises(DamagedCheckpoint, match="not a file of arrays"):
        checkpoint.arrays("network")
    assert not trap.exists()


def test_objects_are_not_written_either(folders):
    objects = np.empty(1, dtype=object)
    with pytest.raises(ValueError, match="allow_pickle"):
        checkpoint_files.write_segment(folders.replay, SEGMENT, {"000": objects})
    assert folders.files() == {}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"PK\x03\x04 and no more", id="no archive"),
        pytest.param(npy(np.zeros(3)), id="one bare array"),
        pytest.param(npz(**{"000": b"text, no array"}), id="a member that is no array"),
        pytest.param(npz(**{"000": b"\x93NUMPY\x02\x00"}), id="a header cut short"),
        pytest.param(npz(**{"000": declared((2,))}), id="data cut short"),
        pytest.param(npz(**{"000": declared((-3,))}), id="a negative size"),
    ],
)
def test_content_that_is_no_file_of_arrays_is_damage(folders, content):
    checkpoint = vouched_for(folders, content)
    with pytest.raises(DamagedCheckpoint):
        checkpoint.arrays("network")


@pytest.mark.parametrize("items", [2**30, 2**40, 2**60, 2**80])
def test_a_huge_declared_array_takes_no_memory(folders, items):
    checkpoint = vouched_for(folders, npz(**{"000": declared((items,))}))
    with little_memory(), pytest.raises(DamagedCheckpoint, match="not a file of arrays"):
        checkpoint.arrays("network")


@pytest.mark.parametrize("shape", [(0, 2**40), (2**62, 2**62), (-1, -1)])
def test_a_strange_shape_is_damage_or_an_empty_array(folders, shape):
    checkpoint = vouched_for(folders, npz(**{"000": declared(shape)}))
    with little_memory(), pytest.raises(DamagedCheckpoint, match="not a file of arrays"):
        checkpoint.arrays("network")


def test_a_compressed_array_is_refused_before_it_takes_memory(folders):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("000.npy", npy(np.zeros(100_000_000, np.uint8)))
    checkpoint = vouched_for(folders, buffer.getvalue())
    with little_memory(), pytest.raises(DamagedCheckpoint, match="an array in it is compressed"):
        checkpoint.arrays("network")


def test_one_array_under_many_names_is_refused(folders):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("000.npy", npy(np.zeros(1_000_000, np.uint8)))
        for _ in range(100):
            file.filelist.append(file.filelist[0])
        file.writestr("001.npy", npy(np.zeros(1)))
    checkpoint = vouched_for(folders, buffer.getvalue())
    with little_memory(), pytest.raises(DamagedCheckpoint, match="larger than the file"):
        checkpoint.arrays("network")


def test_a_header_nested_without_end_is_damage(folders):
    text = ("{'descr': " + "(" * 4000 + "}").encode()
    header = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    with pytest.raises(DamagedCheckpoint, match="not a file of arrays"):
        vouched_for(folders, npz(**{"000": header})).arrays("network")


def test_whatever_the_bytes_they_are_arrays_or_damage(folders):
    content = npz(**{name: npy(values) for name, values in NETWORK.items()})
    generator = np.random.default_rng(1)
    refused = 0
    for _ in range(1500):
        changed = bytearray(content)
        for place in generator.integers(0, len(content), generator.integers(1, 4)):
            changed[place] = generator.integers(0, 256)
        checkpoint = vouched_for_in_memory(folders, bytes(changed))
        try:
            checkpoint.arrays("network")
        except DamagedCheckpoint:
            refused += 1
    assert refused > 500


def vouched_for_in_memory(folders: Folders, content: bytes) -> Checkpoint:
    """As `vouched_for`, without waiting for the disk."""
    folders.path.joinpath("network.npz").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    files = {"network.npz": {"bytes": len(content), "sha256": digest}}
    return Checkpoint(folders.path, {"files": files})


@pytest.mark.parametrize("size", [2**33, 2**62])
def test_a_huge_declared_segment_takes_no_memory(folders, size):
    content = bytearray(lz4.frame.compress(b"x" * 1000, store_size=True))
    # The frame's header: magic number, two bytes of flags, the content's size, a checksum.
    content[6:14] = size.to_bytes(8, "little")
    content[14] = header_checksum(bytes(content[4:14]))
    checkpoint = with_segment(folders, bytes(content))
    with little_memory(), pytest.raises(DamagedCheckpoint, match="not a replay segment"):
        checkpoint.segment(folders.replay, SEGMENT)


def test_a_segment_of_more_than_its_manifest_states_is_refused(folders):
    content = lz4.frame.compress(bytes(200_000_000))
    checkpoint = with_segment(folders, content, uncompressed_bytes=1000)
    with little_memory(), pytest.raises(DamagedCheckpoint) as caught:
        checkpoint.segment(folders.replay, SEGMENT)
    assert str(caught.value) == (
        f"{folders.replay / SEGMENT} is not a replay segment: it holds more than 1000 bytes"
    )


@pytest.mark.parametrize("stated", [{}, {"uncompressed_bytes": 2**40}])
def test_a_segment_of_more_than_its_reader_allows_is_refused(folders, stated):
    checkpoint = with_segment(folders, lz4.frame.compress(bytes(200_000_000)), **stated)
    with little_memory(), pytest.raises(DamagedCheckpoint, match="more than 1000000 bytes"):
        checkpoint.segment(folders.replay, SEGMENT, 1_000_000)


@pytest.mark.parametrize("stated", ["1000", None, []])
def test_a_stated_size_that_is_no_number_is_damage(folders, stated):
    content = (folders.write(), (folders.replay / SEGMENT).read_bytes())[1]
    checkpoint = with_segment(folders, content, uncompressed_bytes=stated)
    with pytest.raises(DamagedCheckpoint, match="not a replay segment"):
        checkpoint.segment(folders.replay, SEGMENT)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"not lz4, not at all", id="text"),
        pytest.param(lz4.frame.compress(bytes(1000))[:-6], id="cut short"),
        pytest.param(lz4.frame.compress(bytes(1000)), id="no arrays"),
        pytest.param(lz4.frame.compress(bytes(1000)) + b"more", id="with a tail"),
    ],
)
def test_content_that_is_no_segment_is_damage(folders, content):
    checkpoint = with_segment(folders, content)
    with pytest.raises(DamagedCheckpoint, match=f"{SEGMENT} is not a"):
        checkpoint.segment(folders.replay, SEGMENT)


@pytest.mark.parametrize("how", ["arrays", "verify", "segment", "verify segment"])
def test_a_file_larger_than_its_reader_allows_is_not_read_to_be_compared(folders, how, monkeypatch):
    segment = how.endswith("segment")
    written = folders.write()
    path = folders.replay / SEGMENT if segment else written.path / "network.npz"
    os.truncate(path, 2**40)  # It takes no room on the disk.
    place = "segments" if segment else "files"
    changed = {**written.manifest[place], path.name: {"bytes": 2**40, "sha256": "0" * 64}}
    checkpoint = with_manifest(written, **{place: changed})
    digest = hashlib.file_digest

    def watched(file: Any, algorithm: str) -> Any:
        assert file.name != str(path)
        return digest(file, algorithm)

    monkeypatch.setattr(hashlib, "file_digest", watched)
    read: dict[str, Callable[[], Any]] = {
        "arrays": lambda: checkpoint.arrays("network", 1000),
        "segment": lambda: checkpoint.segment(folders.replay, SEGMENT, 1000),
    }
    with pytest.raises(DamagedCheckpoint) as caught:
        read.get(how, lambda: checkpoint.verify(folders.replay, {path.name: 1000}))()
    # A segment's limit is for what is in it, which may have grown when it was compressed.
    limit = "66,539" if segment else "1,000"
    assert str(caught.value) == (
        f"{path} has 1,099,511,627,776 bytes, and what belongs there at most {limit}"
    )
    # Where no limit is given, there is one.
    with pytest.raises(DamagedCheckpoint, match="belongs there at most 1,0"):
        checkpoint.verify(folders.replay)


def test_rows_that_cannot_be_compressed_are_no_larger_than_allowed(folders):
    rows = {"frame": np.random.default_rng(1).integers(0, 256, 3_000_000, np.uint8)}
    stated = checkpoint_files.write_segment(folders.replay, SEGMENT, rows)
    assert stated["bytes"] > rows["frame"].nbytes
    checkpoint = checkpoint_files.write_checkpoint(
        folders.checkpoints, {"env_steps": 1}, {}, {SEGMENT: stated}
    )
    limit = stated["uncompressed_bytes"]
    checkpoint.verify(folders.replay, {SEGMENT: limit})
    assert_same(checkpoint.segment(folders.replay, SEGMENT, limit), rows)


def test_the_manifest_states_what_a_segment_holds(folders):
    stated = folders.write().manifest["segments"][SEGMENT]["uncompressed_bytes"]
    assert stated == len(lz4.frame.decompress((folders.replay / SEGMENT).read_bytes()))


@pytest.mark.parametrize(
    "counters",
    [
        {"env_steps": True},
        {"env_steps": -1},
        {"env_steps": 1, "train_steps": []},
        {"env_steps": 1, "train_steps": 0.5},
        [],
    ],
)
def test_counts_that_are_none_are_damage(folders, counters):
    with pytest.raises(DamagedCheckpoint, match=r"manifest\.json is damaged"):
        with_manifest(folders.write(), counters=counters)


def test_a_manifest_with_an_unknown_entry_is_damaged(folders):
    checkpoint = folders.write()
    with pytest.raises(DamagedCheckpoint, match="is damaged"):
        with_manifest(checkpoint, sha257="")


def test_writing_a_segment_takes_little_memory_beside_its_arrays(folders):
    rows = {"frame": np.zeros((4000, 4, 84, 84), np.uint8)}
    assert rows["frame"].nbytes > 100_000_000
    with little_memory():
        checkpoint_files.write_segment(folders.replay, SEGMENT, rows)


def test_verifying_decompresses_nothing_and_finds_every_damage(folders):
    content = lz4.frame.compress(bytes(200_000_000))
    checkpoint = with_segment(folders, content)
    with little_memory(5_000_000):
        checkpoint.verify(folders.replay)
    for path in every_file(folders):
        if path.name == "manifest.json":
            continue
        sound = path.read_bytes()
        path.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
        with pytest.raises(DamagedCheckpoint) as caught:
            checkpoint.verify(folders.replay)
        assert str(caught.value) == f"{path} was changed: its checksum does not match"
        path.write_bytes(sound)


def header_checksum(descriptor: bytes) -> int:
    """LZ4's check byte of a frame descriptor: bits 8 to 15 of its 32-bit xxHash."""
    prime = (2654435761, 2246822519, 3266489917, 668265263, 374761393)
    mask = 0xFFFFFFFF
    digest = (prime[4] + len(descriptor)) & mask
    words, rest = len(descriptor) // 4 * 4, descriptor[len(descriptor) // 4 * 4 :]
    for place in range(0, words, 4):
        word = int.from_bytes(descriptor[place : place + 4], "little")
        digest = (digest + word * prime[2]) & mask
        digest = ((digest << 17 | digest >> 15) & mask) * prime[3] & mask
    for byte in rest:
        digest = (digest + byte * prime[4]) & mask
        digest = ((digest << 11 | digest >> 21) & mask) * prime[0] & mask
    digest = (digest ^ digest >> 15) * prime[1] & mask
    digest = (digest ^ digest >> 13) * prime[2] & mask
    return (digest ^ digest >> 16) >> 8 & 0xFF


def test_the_checksum_of_frame_headers_is_lz4s():
    frame = lz4.frame.compress(b"x" * 1000, store_size=True)
    assert header_checksum(frame[4:14]) == frame[14]


# --- A write that fails leaves things as they were ------------------------------------------------


class DiskFull:
    """Makes call number `fail_at` of some functions of `os` fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, names: list[str], fail_at: int):
        self.calls = 0
        for name in names:
            monkeypatch.setattr(os, name, self._counting(getattr(os, name), fail_at))

    def _counting(self, function: Callable[..., Any], fail_at: int) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            self.calls += 1
            if self.calls == fail_at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return function(*arguments, **keywords)

        return call


def test_a_write_that_fails_at_any_point_leaves_the_earlier_checkpoint(folders, monkeypatch):
    folders.write(1000)
    before = folders.files()
    expected = folders.read(folders.checkpoints / "000000001000")
    with monkeypatch.context() as patch:
        steps = DiskFull(patch, ["fsync", "replace"], fail_at=-1)
        folders.write(2000)
    assert steps.calls > 10
    shutil.rmtree(folders.checkpoints / "000000002000")
    assert folders.files() == before
    unfinished = 0
    for fail_at in range(1, steps.calls + 1):
        with monkeypatch.context() as patch:
            DiskFull(patch, ["fsync", "replace"], fail_at)
            with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as caught:
                folders.write(2000)
        # The segment comes first: a flush, a rename, a flush.
        written = folders.replay / SEGMENT if fail_at <= 3 else folders.checkpoints / "000000002000"
        assert caught.value.filename == str(written)
        # Nothing half-written lies about, and what has a final name is whole.
        assert not list(folders.path.rglob("*.tmp"))
        found = checkpoint_files.checkpoints(folders.checkpoints)
        assert found[-1].name == "000000001000"
        for path in found:
            for group, arrays in folders.read(path).items():
                assert_same(arrays, expected[group])
        unfinished += len(found) == 1
        shutil.rmtree(folders.checkpoints / "000000002000", ignore_errors=True)
        assert folders.files() == before
    # Only the last flush comes after the rename that makes a checkpoint.
    assert unfinished == steps.calls - 1


def test_a_rewrite_that_fails_leaves_the_earlier_checkpoint_of_the_same_step(folders, monkeypatch):
    folders.write(1000)
    before = folders.files()
    with monkeypatch.context() as patch:
        steps = DiskFull(patch, ["fsync", "replace"], fail_at=-1)
        folders.write(1000)
    for fail_at in range(1, steps.calls + 1):
        with monkeypatch.context() as patch:
            DiskFull(patch, ["fsync", "replace"], fail_at)
            with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
                folders.write(1000)
        assert folders.files() == before, f"lost by a failure at step {fail_at} of {steps.calls}"


def test_a_segment_that_cannot_be_written_leaves_no_name(folders, monkeypatch):
    with monkeypatch.context() as patch:
        DiskFull(patch, ["replace"], fail_at=1)
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            checkpoint_files.write_segment(folders.replay, SEGMENT, ROWS)
    assert folders.files() == {}


def test_an_interrupt_while_writing_leaves_no_half_checkpoint(folders, monkeypatch):
    folders.write(1000)
    before = folders.files()

    def interrupted(path: Path, content: bytes) -> None:
        if path.name == "network.npz":
            raise KeyboardInterrupt
        run_directory.write_atomically(path, content)

    monkeypatch.setattr(checkpoint_files, "write_atomically", interrupted)
    with pytest.raises(KeyboardInterrupt):
        folders.write(2000)
    assert folders.files() == before


def test_counters_that_json_cannot_hold_leave_no_checkpoint(folders):
    with pytest.raises(ValueError, match="not JSON compliant"):
        checkpoint_files.write_checkpoint(
            folders.checkpoints, {"env_steps": 1, "loss": float("nan")}, {}, {}
        )
    assert folders.files() == {}
    assert checkpoint_files.checkpoints(folders.checkpoints) == []


# Writes a second checkpoint in a process that dies at its n-th change of a name, as by SIGKILL.
KILLED_WRITER = """
import os, sys
from pathlib import Path
import numpy as np
from dqn_breakout.runs import checkpoint_files

folder, die_at = Path(sys.argv[1]), int(sys.argv[2])
replace, calls = os.replace, 0

def dying(*arguments):
    global calls
    calls += 1
    if calls == die_at:
        os._exit(9)
    replace(*arguments)

os.replace = dying
arrays = {"000": np.full(1000, die_at, np.float32)}
checkpoint_files.write_checkpoint(
    folder, {"env_steps": 2000}, {"network": arrays, "learner": arrays}, {}
)
"""


def test_a_process_killed_while_writing_leaves_the_earlier_checkpoint(folders):
    folders.write(1000)
    codes = []
    for die_at in range(1, 6):
        command = [sys.executable, "-c", textwrap.dedent(KILLED_WRITER)]
        process = subprocess.run(
            [*command, str(folders.checkpoints), str(die_at)], cwd=REPOSITORY, check=False
        )
        codes.append(process.returncode)
        found = checkpoint_files.checkpoints(folders.checkpoints)
        finished = process.returncode == 0
        assert [path.name for path in found] == ["000000002000"] * finished + ["000000001000"]
        folders.read(found[-1])
    # Two files of arrays, the manifest, the folder itself; then it is done.
    assert codes == [9, 9, 9, 9, 0]
    written, _, _ = checkpoint_files.newest_arrays(folders.checkpoints, "network")
    np.testing.assert_array_equal(written.arrays("network")["000"], np.full(1000, 5, np.float32))


def test_sweeping_takes_what_is_half_written_and_nothing_else(folders):
    folders.write(1000)
    before = folders.files()
    for folder in (folders.path, folders.checkpoints, folders.replay):
        (folder / ".some.json.4711.tmp").write_bytes(b"half")
        (folder / ".000000002000.4711.tmp.mp4").write_bytes(b"half")
        (folder / ".000000002000.4711.tmp").mkdir()
        (folder / ".000000002000.4711.tmp" / "network.npz").write_bytes(b"half")
    mine = ["notes.tmp", ".notes.tmp", ".lock", "some.json.4711.tmp", ".notes.1.tmp.txt"]
    for name in mine:
        (folders.path / name).write_bytes(b"mine")
    for folder in (folders.path, folders.checkpoints, folders.replay, folders.path / "missing"):
        checkpoint_files.sweep(folder)
    assert folders.files() == {**before, **dict.fromkeys(mine, b"mine")}
    assert not list(folders.path.rglob(".0*"))


def test_a_process_killed_while_replacing_a_checkpoint_costs_none(folders):
    folders.write(2000)
    before = folders.files()
    codes = []
    for die_at in range(1, 7):
        command = [sys.executable, "-c", textwrap.dedent(KILLED_WRITER)]
        process = subprocess.run(
            [*command, str(folders.checkpoints), str(die_at)], cwd=REPOSITORY, check=False
        )
        codes.append(process.returncode)
        checkpoint_files.sweep(folders.checkpoints)
        if process.returncode:
            assert folders.files() == before, f"lost by a death at change {die_at}"
    assert codes == [9, 9, 9, 9, 9, 0]
    written, _, _ = checkpoint_files.newest_arrays(folders.checkpoints, "network")
    np.testing.assert_array_equal(written.arrays("network")["000"], np.full(1000, 6, np.float32))
    assert [path.name for path in folders.checkpoints.iterdir()] == ["000000002000"]


# --- Opening the newest ---------------------------------------------------------------------------


def test_newest_arrays_takes_a_folder_of_checkpoints_or_one_checkpoint(folders):
    folders.write(1000)
    folders.write(2000)
    checkpoint, arrays, damage = checkpoint_files.newest_arrays(folders.checkpoints, "network")
    assert (checkpoint.counters["env_steps"], damage) == (2000, [])
    assert_same(arrays, checkpoint.arrays("network"))
    one = folders.checkpoints / "000000001000"
    checkpoint, _, _ = checkpoint_files.newest_arrays(one, "network")
    assert checkpoint.counters["env_steps"] == 1000


@pytest.mark.parametrize("name", ["manifest.json", "network.npz"])
def test_newest_arrays_goes_back_from_a_damaged_checkpoint_and_says_so(folders, name):
    folders.write(1000)
    damaged = folders.write(2000).path / name
    damaged.unlink()
    checkpoint, _, damage = checkpoint_files.newest_arrays(folders.checkpoints, "network")
    assert checkpoint.counters["env_steps"] == 1000
    assert damage == [f"{damaged} cannot be read: No such file or directory"]


def test_newest_arrays_looks_again_where_a_checkpoint_goes_while_it_is_read(folders, monkeypatch):
    """Training that keeps one checkpoint writes another and removes it."""
    folders.write(1000)
    opened = checkpoint_files.open_checkpoint

    def overtaken(path):
        found = opened(path)
        if path.name == "000000001000":
            folders.write(2000)
            shutil.rmtree(path)
        return found

    monkeypatch.setattr(checkpoint_files, "open_checkpoint", overtaken)
    checkpoint, _, damage = checkpoint_files.newest_arrays(folders.checkpoints, "network")
    assert (checkpoint.counters["env_steps"], damage) == (2000, [])


def test_newest_arrays_without_any_checkpoint_says_what_to_do(folders):
    folders.checkpoints.mkdir()
    with pytest.raises(UserError) as caught:
        checkpoint_files.newest_arrays(folders.checkpoints, "network")
    assert caught.value.message == (
        f"There is no checkpoint in {folders.checkpoints}: train first, or give another folder."
    )


def test_newest_arrays_with_only_damaged_ones_names_each(folders):
    for env_steps in (1000, 2000):
        (folders.write(env_steps).path / "manifest.json").write_text("{}")
    with pytest.raises(UserError) as caught:
        checkpoint_files.newest_arrays(folders.checkpoints, "network")
    assert "000000001000/manifest.json is damaged" in caught.value.message
    assert "000000002000/manifest.json is damaged" in caught.value.message


def test_arrays_larger_than_they_may_be_are_not_read(folders):
    checkpoint = folders.write(1000)
    size = (checkpoint.path / "network.npz").stat().st_size
    checkpoint.arrays("network", size)
    with pytest.raises(DamagedCheckpoint, match="at most"):
        checkpoint.arrays("network", size - 1)
