"""Tests of checkpoints as files: whole or absent, every damage noticed, nothing in them runs."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lz4.frame
import numpy as np
import pytest

from dqn_breakout.errors import UserError
from dqn_breakout.runs import checkpoint_files
from dqn_breakout.runs.checkpoint_files import Checkpoint, DamagedCheckpoint
from tests.runs.small_run import FullDisk, files_in, refused

REPOSITORY = Path(__file__).resolve().parents[2]

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
FILES = ["manifest.json", "metrics.npz", "network.npz", SEGMENT]


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
        checkpoint.verify(self.replay)
        groups = {group: checkpoint.arrays(group) for group in ("network", "metrics")}
        segments = {name: checkpoint.segment(self.replay, name) for name in checkpoint.segments}
        return {**groups, **segments}

    def files(self) -> dict[str, bytes]:
        return files_in(self.path)


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
    written = folders.write(250_000)
    assert written.path == folders.checkpoints / "000000250000"
    found = folders.read(written.path)
    assert_same(found["network"], NETWORK)
    assert_same(found["metrics"], METRICS)
    assert_same(found[SEGMENT], ROWS)
    opened = checkpoint_files.open_checkpoint(written.path)
    assert opened == written
    assert opened.counters == {"env_steps": 250_000, "train_steps": 62_500}


def test_a_checkpoint_is_manifest_and_plain_arrays_and_nothing_else(folders):
    written = folders.write()
    assert list(folders.files()) == [
        "checkpoints/000000001000/manifest.json",
        "checkpoints/000000001000/metrics.npz",
        "checkpoints/000000001000/network.npz",
        f"replay/{SEGMENT}",
    ]
    with np.load(written.path / "network.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["000"], NETWORK["000"])
    stated = written.segments[SEGMENT]["uncompressed_bytes"]
    assert stated == len(lz4.frame.decompress((folders.replay / SEGMENT).read_bytes()))


def test_checkpoints_are_listed_newest_first_by_number(folders):
    assert checkpoint_files.checkpoints(folders.checkpoints) == []
    for env_steps in (999_999_999_999, 50, 1_000):
        folders.write(env_steps)
    # Wider than the names are padded: the number counts, not the spelling.
    shutil.copytree(folders.checkpoints / "000000000050", folders.checkpoints / "1000000000000")
    for name in (".000000099999.1.tmp", "notes", "\N{SUPERSCRIPT TWO}"):
        (folders.checkpoints / name).mkdir()
    (folders.checkpoints / "77").write_text("a file, no checkpoint")
    found = checkpoint_files.checkpoints(folders.checkpoints)
    names = ["1000000000000", "999999999999", "000000001000", "000000000050"]
    assert [path.name for path in found] == names


def test_a_checkpoint_replaces_one_of_the_same_step(folders):
    folders.write()
    network = {"000": np.zeros(3, np.float32)}
    written = checkpoint_files.write_checkpoint(
        folders.checkpoints, {"env_steps": 1000}, {"network": network}, {}
    )
    assert list(folders.checkpoints.iterdir()) == [written.path]
    assert_same(checkpoint_files.open_checkpoint(written.path).arrays("network"), network)
    assert not (written.path / "metrics.npz").exists()


@pytest.mark.parametrize("half_written", [True, False])
def test_of_a_link_the_link_alone_is_removed(tmp_path, half_written):
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "checkpoints"
    elsewhere.mkdir()
    folder.mkdir()
    link = folder / (".000000000001.4711.tmp" if half_written else "000000000001")
    link.symlink_to(elsewhere)
    if half_written:
        checkpoint_files.sweep(folder)
    else:
        checkpoint_files.remove_checkpoint(link)
    assert elsewhere.is_dir()
    assert list(folder.iterdir()) == []


def test_writing_and_reading_a_segment_takes_little_memory_beside_its_arrays(folders):
    rows = {"frame": np.zeros((2000, 4, 84, 84), np.uint8)}
    peaks = []
    tracemalloc.start()
    try:
        fingerprint = checkpoint_files.write_segment(folders.replay, SEGMENT, rows)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.reset_peak()
        Checkpoint(folders.path, {}, {}, {SEGMENT: fingerprint}).segment(folders.replay, SEGMENT)
        peaks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
    assert peaks[0] < rows["frame"].nbytes
    assert peaks[1] < 2.2 * rows["frame"].nbytes


# --- Every damage is noticed and named ------------------------------------------------------------


def path_of(folders: Folders, name: str) -> Path:
    return (folders.replay if name == SEGMENT else folders.checkpoints / "000000001000") / name


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["removed", "empty", "one byte short", "one byte more", "half"])
def test_a_file_removed_or_of_another_length_is_named(folders, name, damage):
    written = folders.write()
    path = path_of(folders, name)
    content = path.read_bytes()
    path.unlink()
    if damage != "removed":
        changed = {
            "empty": b"",
            "one byte short": content.rstrip()[:-1],
            "one byte more": content + b"}",
            "half": content[: len(content) // 2],
        }[damage]
        path.write_bytes(changed)
    with pytest.raises(DamagedCheckpoint) as caught:
        folders.read(written.path)
    said = str(caught.value)
    assert str(path) in said
    if damage == "removed":
        assert "No such file" in said
    elif name != "manifest.json":
        assert said.endswith(f"has {len(changed)} bytes and should have {len(content)}")


@pytest.mark.parametrize("name", FILES[1:])
def test_every_flipped_byte_of_an_array_file_is_named(folders, name):
    written = folders.write()
    path = path_of(folders, name)
    content = path.read_bytes()
    generator = np.random.default_rng(1)
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= int(generator.integers(1, 256))
        path.write_bytes(changed)
        with pytest.raises(DamagedCheckpoint) as caught:
            folders.read(written.path)
        assert str(caught.value) == f"{path} was changed: its checksum does not match"


def test_every_flipped_bit_of_the_manifest_is_noticed(folders):
    """Bit 0 makes letters and digits others, bit 5 changes case and white space, bit 7 is no text.

    White space may change without harm.
    """
    written = folders.write()
    path = path_of(folders, "manifest.json")
    content = path.read_bytes()
    damaged = 0
    for place in range(len(content)):
        for bit in (0, 5, 7):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            path.write_bytes(changed)
            try:
                found = checkpoint_files.open_checkpoint(written.path)
            except DamagedCheckpoint as error:
                assert str(error) == f"{path} is damaged"  # noqa: PT017
                damaged += 1
            except UserError as error:
                assert "(format 3, not 2)" in error.message  # noqa: PT017
                assert changed.startswith(b'{\n  "format": 3')
            else:
                assert found == written, f"byte {place}, bit {bit}"
    assert damaged > 2 * len(content)


@pytest.mark.parametrize(
    "content",
    [
        *(b"\xff\xfe not text", b"null", b"[]", b"{}", b'{"format": 2}', b'{"format": "3"}'),
        b"[" * 100_000,
    ],
    ids=range(7),
)
def test_a_manifest_that_is_none_is_damaged(folders, content):
    path = folders.write().path
    (path / "manifest.json").write_bytes(content)
    with pytest.raises(DamagedCheckpoint) as caught:
        checkpoint_files.open_checkpoint(path)
    assert str(caught.value) == f"{path / 'manifest.json'} is damaged"


@pytest.mark.parametrize(
    "read",
    [
        lambda folders, path: checkpoint_files.open_checkpoint(path),
        lambda folders, path: checkpoint_files.newest_arrays(folders.checkpoints, "network"),
        lambda folders, path: checkpoint_files.refuse_other_formats(folders.checkpoints),
        lambda folders, path: checkpoint_files.refuse_other_formats(path),
    ],
)
@pytest.mark.parametrize("other", [1, 3])
def test_a_checkpoint_of_another_version_is_refused_and_not_called_damaged(folders, read, other):
    checkpoint = folders.write()
    (checkpoint.path / "manifest.json").write_text(json.dumps({"format": other, "parts": []}))
    folders.write(2000)
    (folders.checkpoints / "000000002000" / "manifest.json").write_text("{")
    assert refused(folders.path, read, folders, checkpoint.path) == (
        f"The checkpoint {checkpoint.path} is of another version of this project (format {other}, "
        "not 2); it is neither damaged nor deleted. Go on with the version that began it (run.json "
        "names its revision), or start anew in another --run_dir."
    )


def test_a_newer_checkpoint_of_this_version_is_not_another_ones(folders):
    older = folders.write()
    with_manifest(older, format=1)
    folders.write(2000)
    checkpoint_files.refuse_other_formats(folders.checkpoints)
    checkpoint_files.refuse_other_formats(folders.path / "missing")


def test_a_group_that_the_manifest_does_not_name_is_not_read(folders):
    written = folders.write()
    shutil.copy(written.path / "network.npz", written.path / "extra.npz")
    with pytest.raises(DamagedCheckpoint) as caught:
        written.arrays("extra")
    assert str(caught.value) == f"{written.path / 'extra.npz'} is not in its manifest"


# --- A network from a stranger, whose checksums fit -----------------------------------------------


def with_manifest(checkpoint: Checkpoint, **changes: Any) -> None:
    """Writes another manifest, whose checksum fits."""
    path = checkpoint.path / "manifest.json"
    manifest = {**json.loads(path.read_bytes()), **changes}
    del manifest["sha256"]
    manifest["sha256"] = hashlib.sha256(json.dumps(manifest).encode()).hexdigest()
    path.write_text(json.dumps(manifest))


class Trap:
    """Pickled, it leaves a file behind when it is loaded."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def npz(array: Any, compression: int = zipfile.ZIP_STORED, cut: int = 0) -> bytes:
    member, archive = io.BytesIO(), io.BytesIO()
    np.save(member, array, allow_pickle=True)
    with zipfile.ZipFile(archive, "w", compression) as file:
        file.writestr("000.npy", member.getvalue()[: len(member.getvalue()) - cut])
    return archive.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(lambda trap: npz(np.array([trap], dtype=object)), id="a pickled array"),
        pytest.param(pickle.dumps, id="a bare pickle"),
        pytest.param(lambda trap: b"", id="empty"),
        pytest.param(lambda trap: b"PK\x03\x04 and no more", id="no archive"),
        pytest.param(lambda trap: npz(np.zeros(100), cut=9), id="data cut short"),
        pytest.param(
            lambda trap: npz(np.zeros(100_000_000, np.uint8), zipfile.ZIP_DEFLATED), id="a bomb"
        ),
    ],
)
def test_what_is_no_file_of_plain_arrays_is_damage_runs_nothing_and_takes_no_memory(
    folders, content, tmp_path
):
    written, trap = folders.write(), tmp_path / "trap sprung"
    network = content(Trap(trap))
    (written.path / "network.npz").write_bytes(network)
    fingerprint = {"bytes": len(network), "sha256": hashlib.sha256(network).hexdigest()}
    with_manifest(written, files={"network.npz": fingerprint})
    tracemalloc.start()
    try:
        with pytest.raises(DamagedCheckpoint, match=r"network\.npz is not a file of arrays"):
            checkpoint_files.open_checkpoint(written.path).arrays("network")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 10_000_000
    assert not trap.exists()


def test_arrays_larger_than_their_reader_allows_are_not_even_read(folders, monkeypatch):
    written = folders.write()
    path = written.path / "network.npz"
    size = path.stat().st_size
    assert_same(written.arrays("network", size), NETWORK)
    monkeypatch.setattr(Path, "read_bytes", None)
    with pytest.raises(DamagedCheckpoint) as caught:
        written.arrays("network", size - 1)
    assert str(caught.value) == f"{path} has {size} bytes, of at most {size - 1}"


def test_objects_are_not_written_either(folders):
    with pytest.raises(ValueError, match="allow_pickle"):
        checkpoint_files.write_segment(folders.replay, SEGMENT, {"000": np.empty(1, dtype=object)})
    assert folders.files() == {}


# --- A write that fails leaves things as they were ------------------------------------------------


def test_a_write_that_fails_at_any_point_leaves_the_earlier_checkpoint(folders, monkeypatch):
    folders.write(1000)
    before = folders.files()
    new = folders.checkpoints / "000000002000"
    with monkeypatch.context() as patch:
        calls = FullDisk(patch, fail_at=-1)
        folders.write(2000)
    assert calls.calls > 10
    for fail_at in range(1, calls.calls + 1):
        shutil.rmtree(new, ignore_errors=True)
        with monkeypatch.context() as patch:
            FullDisk(patch, fail_at)
            with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as caught:
                folders.write(2000)
        # The segment comes first: a flush, a rename, a flush.
        assert caught.value.filename == str(folders.replay / SEGMENT if fail_at <= 3 else new)
        # Only the last flush comes after the rename that makes a checkpoint, and that one is whole.
        if fail_at == calls.calls:
            folders.read(new)
            shutil.rmtree(new)
        assert folders.files() == before
        # Nothing half-written lies about.
        assert not list(folders.path.rglob(".*"))


def test_counters_that_json_cannot_hold_leave_no_checkpoint(folders):
    counters = {"env_steps": 1, "loss": float("nan")}
    with pytest.raises(ValueError, match="not JSON compliant"):
        checkpoint_files.write_checkpoint(folders.checkpoints, counters, {}, {})
    assert list(folders.checkpoints.iterdir()) == []


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


def killed_writers(folders: Folders, anew: bool) -> Iterator[tuple[int, int]]:
    """Kills a writer at each change of a name in turn; gives which, and its exit code.

    What it writes may be there already, to be written anew.
    """
    for die_at in range(1, 20):
        if anew:
            folders.write(2000)
        command = [sys.executable, "-c", KILLED_WRITER, str(folders.checkpoints), str(die_at)]
        code = subprocess.run(command, cwd=REPOSITORY, check=False).returncode
        yield die_at, code
        if code == 0:
            return


@pytest.mark.parametrize("anew", [False, True])
def test_a_process_killed_while_writing_leaves_the_earlier_checkpoint(folders, anew):
    """At each of two files of arrays, the manifest, and the folder itself."""
    folders.write(1000)
    before = folders.files()
    for die_at, code in killed_writers(folders, anew):
        checkpoint_files.sweep(folders.checkpoints)
        if code:
            assert code == 9
            assert folders.files() == before, f"lost by a death at change {die_at}"
    assert die_at == 5
    found, arrays, _ = checkpoint_files.newest_arrays(folders.checkpoints, "network")
    assert found.path.name == "000000002000"
    np.testing.assert_array_equal(arrays["000"], np.full(1000, die_at, np.float32))
    assert len(list(folders.checkpoints.iterdir())) == 2


# --- Opening the newest ---------------------------------------------------------------------------


def test_newest_arrays_takes_a_folder_of_checkpoints_or_one_checkpoint(folders):
    folders.write(1000)
    folders.write(2000)
    for folder, env_steps in (
        (folders.checkpoints, 2000),
        (folders.checkpoints / "000000001000", 1000),
    ):
        checkpoint, arrays, damage = checkpoint_files.newest_arrays(folder, "network")
        assert (checkpoint.counters["env_steps"], damage) == (env_steps, [])
        assert_same(arrays, NETWORK)


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


def test_newest_arrays_without_any_sound_one_says_what_to_do(folders):
    newest = (checkpoint_files.newest_arrays, folders.checkpoints, "network")
    assert refused(folders.path, *newest) == (
        f"There is no checkpoint in {folders.checkpoints}: train first, or give another folder."
    )
    for env_steps in (1000, 2000):
        (folders.write(env_steps).path / "manifest.json").write_text("{}")
    said = refused(folders.path, *newest)
    assert "000000001000/manifest.json is damaged" in said
    assert "000000002000/manifest.json is damaged" in said
