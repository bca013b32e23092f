"""A checkpoint from a stranger: whatever is in it, it is read or refused; no code of it runs.

Every checksum fits, since a stranger can compute them. `CHAOS_EXAMPLES=1000` tries as many.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import struct
import sys
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gin
import lz4.frame
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

# `experiment` defines what the configuration of an exported run binds.
from dqn_breakout import experiment  # noqa: F401
from dqn_breakout.environments.atari_environment import AtariEnvironment
from dqn_breakout.errors import UserError
from dqn_breakout.evaluation.saved_network import load_network
from dqn_breakout.export_network import export_network
from dqn_breakout.runs import checkpoint_files
from dqn_breakout.runs.checkpoint_files import DamagedCheckpoint
from dqn_breakout.runs.directory import RunDirectory
from tests.evaluation.conftest import CONFIG, random_weights
from tests.scripted_games import Move, Script, ScriptedGames

MANY = settings.get_profile("chaos")
SEGMENT = "rows-000000000000-000000000002.npz.lz4"
# What reading may take beside the files: Python's own objects, and some 20 MB that lz4 takes for a
# moment to make 2 MB of a piece.
SLACK_BYTES = 2**25
BOMB_BYTES = 2**27
# What a file of arrays may take.
LIMIT_BYTES = 2**20

# --- No code runs ---------------------------------------------------------------------------------

# What happens in a process that unpickles, or runs something else of what it reads.
CODE = ("pickle.find_class", "marshal.loads", "subprocess.Popen", "os.system", "os.exec", "socket")
ran: list[str] = []
watching = False


def audit(event: str, arguments: Any) -> None:
    if watching and event.startswith(CODE):
        # Python's own modules are marshalled; importing one is none of the stranger's doing.
        caller = sys._getframe(1).f_code.co_filename
        if not caller.startswith("<frozen importlib"):
            ran.append(event)


sys.addaudithook(audit)


BOMB: bytes = lz4.frame.compress(bytes(BOMB_BYTES))


class Payload:
    """Runs when it is unpickled."""

    def __reduce__(self) -> Any:
        return (os.system, ("true",))


# --- Strategies -----------------------------------------------------------------------------------

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**31, 2**63, -1, 10**400, float("nan"), float("inf"), 1e308])
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        [
            "../../../etc/passwd",
            "/dev/zero",
            "a\0b",
            "\ud800",
            "x" * 5000,
            "manifest.json",
            SEGMENT,
            "network.npz",
            "rows-000000000002-000000000001.npz.lz4",
            "rows-999999999998-999999999999.npz.lz4",
        ]
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3)
    ),
    max_leaves=6,
)
dtypes = st.sampled_from(
    ["<f4", "|u1", "<i8", "|O", "|V8", "|b1", "<U9", "|S0", "<M8[s]", ">f2", "<c16", "|V0", "<f4x",
     [("a", "<f4"), ("b", "|O")], "(3,)f4", "", "f4,O", None, 7]
)  # fmt: skip
shapes = st.lists(
    st.integers(-2, 5) | st.sampled_from([2**31, 2**40, 2**62, 2**64, 10**30]), max_size=34
).map(tuple) | st.sampled_from([(), None, 3, [2, 2], ("a",), (True,), (1.5,)])


@st.composite
def npy(draw: st.DrawFn) -> bytes:
    """A file in .npy format: sound, with a forged header, pickled, or cut short."""
    kind = draw(st.sampled_from(["sound", "header", "pickled", "bytes", "text"]))
    if kind == "sound":
        shape = draw(st.lists(st.integers(0, 3), max_size=3))
        content = io.BytesIO()
        np.lib.format.write_array(content, np.zeros(shape, draw(st.sampled_from("fbil"))))
    elif kind == "header":
        content = io.BytesIO()
        header = {
            "descr": draw(dtypes),
            "fortran_order": draw(st.sampled_from([False, True, 0, "no"])),
            "shape": draw(shapes),
        }
        text = repr(header)
        if draw(st.booleans()):
            text = draw(
                st.sampled_from(
                    ["(" * 3000, "{" * 99, "{}", "__import__('os')", "9" * 5000, "L" * 9]
                )
            )
        version = draw(st.sampled_from([(1, 0), (2, 0), (3, 0), (9, 9)]))
        content.write(b"\x93NUMPY" + bytes(version))
        length = draw(st.sampled_from([len(text), 0, 2**16 - 1]))
        content.write(struct.pack("<H" if version == (1, 0) else "<I", length))
        content.write(text.encode() + draw(st.binary(max_size=64)))
    elif kind == "pickled":
        content = io.BytesIO()
        np.lib.format.write_array(content, np.array([Payload()], object), allow_pickle=True)
    elif kind == "bytes":
        content = io.BytesIO(draw(st.binary(max_size=64)))
    else:
        content = io.BytesIO(b"\x93NUMPY\x01\x00" + draw(st.binary(max_size=64)))
    whole = content.getvalue()
    return whole[: draw(st.integers(0, len(whole)))] if draw(st.integers(0, 4)) == 0 else whole


@st.composite
def npz(draw: st.DrawFn) -> bytes:
    """A .npz file of such arrays; compressed, with forged sizes, or with bytes flipped."""
    buffer = io.BytesIO()
    members = draw(st.lists(st.tuples(st.text(max_size=6), npy()), max_size=4))
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members:
            how = draw(
                st.sampled_from([zipfile.ZIP_STORED] * 5 + [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
            )
            bomb = how != zipfile.ZIP_STORED
            # Numbered: zipfile warns of two members of one name.
            archive.writestr(
                f"{len(archive.namelist())}{name!a}.npy", bytes(2**20) if bomb else content, how
            )
    whole = bytearray(buffer.getvalue())
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 8]))):
        whole[draw(st.integers(0, len(whole) - 1))] = draw(st.integers(0, 255))
    return bytes(whole)


@st.composite
def lz4_segments(draw: st.DrawFn) -> bytes:
    """A compressed segment: of such arrays, of zeros without end, cut short or of anything."""
    kind = draw(st.sampled_from(["arrays", "arrays", "bomb", "bytes"]))
    if kind == "bomb":
        return BOMB
    content = draw(npz()) if kind == "arrays" else draw(st.binary(max_size=64))
    whole: bytes = lz4.frame.compress(content)
    if draw(st.integers(0, 3)) == 0:
        return whole[: draw(st.integers(0, len(whole)))]
    if draw(st.integers(0, 3)) == 0:
        # A frame that announces its size: any that the stranger likes.
        return whole[:4] + bytes([whole[4] | 8]) + draw(st.binary(max_size=24)) + whole[5:]
    return whole


def fingerprint(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def put_somewhere(draw: st.DrawFn, value: Any) -> Any:
    """The JSON value with something in it replaced, left out or added."""
    if isinstance(value, dict) and value and draw(st.integers(0, 3)):
        name = draw(st.sampled_from(sorted(value)))
        changed = dict(value)
        change = draw(st.sampled_from(["deeper", "deeper", "deeper", "leave out", "rename"]))
        if change == "deeper":
            changed[name] = put_somewhere(draw, value[name])
        elif change == "rename":
            changed[draw(st.text(max_size=12) | st.sampled_from(["../x", "/dev/zero", "a\0"]))] = (
                changed.pop(name)
            )
        else:
            del changed[name]
        return changed
    return draw(json_values)


@st.composite
def manifests(draw: st.DrawFn, sound: dict[str, Any]) -> bytes:
    """A manifest: the given one changed here and there, mostly with a checksum that fits."""
    if draw(st.integers(0, 9)) == 0:
        return draw(
            st.binary(max_size=64)
            | st.sampled_from(
                [b"[" * 100_000, b'{"a":' * 50_000, b"9" * 5000, b"null", b"\xff\xfe"]
            )
        )
    value: Any = {name: each for name, each in sound.items() if name != "sha256"}
    for _ in range(draw(st.integers(0, 3))):
        value = put_somewhere(draw, value)
    if isinstance(value, dict) and draw(st.integers(0, 9)):
        value["sha256"] = hashlib.sha256(json.dumps(value).encode()).hexdigest()
    return json.dumps(value).encode()


# --- Reading --------------------------------------------------------------------------------------


Files = dict[Path, bytes]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Files]:
    """The files of a sound checkpoint, and where they belong."""
    folder = tmp_path_factory.mktemp("malformed")
    rows: dict[str, np.ndarray] = {
        "frame": np.zeros((2, 2, 8, 8, 1), np.uint8),
        "action": np.zeros((2, 2), np.int32),
    }
    segments = {SEGMENT: checkpoint_files.write_segment(folder / "replay", SEGMENT, rows)}
    groups = {name: {"000": np.ones((2, 3), np.float32)} for name in ("network", "learner")}
    counters = {"env_steps": 4, "train_steps": 1, "replay_rows": 2}
    checkpoint_files.write_checkpoint(folder / "checkpoints", counters, groups, segments)
    yield {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    shutil.rmtree(folder)


@pytest.fixture
def checkpoint(sound: Files) -> Path:
    return put_back(sound)


def put_back(sound: Files) -> Path:
    """Makes the checkpoint sound again; the folder that it lies in."""
    for path, content in sound.items():
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        elif not path.is_file() or path.is_symlink():
            path.unlink(missing_ok=True)
        path.write_bytes(content)
    return next(path.parents[1] for path in sound if path.parent.name == "replay")


def newest(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The checkpoint in a folder, and its manifest."""
    (path,) = checkpoint_files.checkpoints(folder / "checkpoints")
    return path, json.loads((path / "manifest.json").read_bytes())


def read_all(folder: Path) -> str:
    """Reads everything of a checkpoint; how it was refused, or "" if it was read."""
    global watching
    ran.clear()
    replay = folder / "replay"
    (path,) = checkpoint_files.checkpoints(folder / "checkpoints")
    on_disk = sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())
    tracemalloc.start()
    watching = True
    said = ""
    try:
        opened = checkpoint_files.open_checkpoint(path)
        opened.verify(replay)
        for name in opened.manifest["files"]:
            opened.arrays(name.removesuffix(".npz"), LIMIT_BYTES)
        for name in opened.segments:
            opened.segment(replay, name, LIMIT_BYTES)
    except (DamagedCheckpoint, UserError) as error:
        said = str(error)
        assert said
        assert len(said) < 2000
    finally:
        watching = False
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert ran == []
    assert peak < SLACK_BYTES + 3 * on_disk + 2 * LIMIT_BYTES
    return said


@MANY
@given(data=st.data())
def test_any_file_of_arrays_is_read_or_refused(sound, data):
    checkpoint = put_back(sound)
    path, manifest = newest(checkpoint)
    content = data.draw(npz() | npy() | st.binary(max_size=200))
    (path / "network.npz").write_bytes(content)
    manifest["files"]["network.npz"] = fingerprint(content)
    put_manifest(path, manifest)
    read_all(checkpoint)


@MANY
@given(data=st.data())
def test_any_replay_segment_is_read_or_refused(sound, data):
    checkpoint = put_back(sound)
    path, manifest = newest(checkpoint)
    content = data.draw(lz4_segments())
    (checkpoint / "replay" / SEGMENT).write_bytes(content)
    stated = manifest["segments"][SEGMENT]["uncompressed_bytes"]
    manifest["segments"][SEGMENT] = {
        **fingerprint(content),
        "uncompressed_bytes": data.draw(
            st.sampled_from(
                [stated, 0, -1, 2**20, float("nan"), float("inf"), True, "9", None, 1.5]
            )
        ),
    }
    put_manifest(path, manifest)
    read_all(checkpoint)


@MANY
@given(data=st.data())
def test_any_manifest_is_read_or_refused(sound, data):
    checkpoint = put_back(sound)
    path, manifest = newest(checkpoint)
    (path / "manifest.json").write_bytes(data.draw(manifests(manifest)))
    read_all(checkpoint)


def put_manifest(path: Path, manifest: dict[str, Any]) -> None:
    value = {name: each for name, each in manifest.items() if name != "sha256"}
    value["sha256"] = hashlib.sha256(json.dumps(value).encode()).hexdigest()
    (path / "manifest.json").write_text(json.dumps(value))


@pytest.mark.parametrize("name", ["/dev/zero", "../../../../dev/zero", "a\0b", "\ud800", "", ".."])
@pytest.mark.parametrize("where", ["files", "segments"])
def test_a_name_that_leads_elsewhere_is_refused(checkpoint, where, name):
    path, manifest = newest(checkpoint)
    manifest[where][name] = {"bytes": 0, "sha256": "0" * 64}
    put_manifest(path, manifest)
    assert read_all(checkpoint) == f"{path / 'manifest.json'} is damaged"


@pytest.mark.parametrize("name", ["manifest.json", "network.npz"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_file_is_refused_at_once(checkpoint, name, kind):
    path, _ = newest(checkpoint)
    (path / name).unlink()
    if kind == "pipe":
        os.mkfifo(path / name)
    elif kind == "device":
        (path / name).symlink_to("/dev/zero")
    else:
        (path / name).mkdir()
    said = {"folder": "cannot be read: Is a directory"}.get(kind, "is no ordinary file")
    assert read_all(checkpoint) == f"{path / name} {said}"


def test_a_manifest_without_end_takes_no_memory(checkpoint):
    path, _ = newest(checkpoint)
    with open(path / "manifest.json", "wb") as file:
        file.truncate(2**34)  # It takes no room on the disk.
    tracemalloc.start()
    try:
        with pytest.raises(DamagedCheckpoint, match="has more than 16,777,216 bytes"):
            checkpoint_files.open_checkpoint(path)
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()


def test_a_pickle_is_noticed_by_these_tests():
    global watching
    import pickle

    content = pickle.dumps(Payload())
    ran.clear()
    watching = True
    try:
        pickle.loads(content)
    finally:
        watching = False
    assert "pickle.find_class" in ran
    assert "os.system" in ran


# --- A network to play ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    """A run that was made small enough to share, and its network."""
    folder = tmp_path_factory.mktemp("exported")
    run = RunDirectory(folder / "run")
    run.create()
    run.config_gin.write_text(CONFIG)
    counters = {"env_steps": 1200, "train_steps": 300}
    network = random_weights()
    checkpoint_files.write_checkpoint(run.checkpoints, counters, {"network": network}, {})
    export_network(run.path, folder / "exported")
    return folder / "exported", network


@st.composite
def networks(draw: st.DrawFn, sound: dict[str, np.ndarray]) -> bytes:
    """A file of a network's arrays: the given ones, one of them changed, or anything."""
    if draw(st.integers(0, 4)) == 0:
        return draw(npz())
    name = draw(st.sampled_from(sorted(sound)))
    renamed = draw(st.sampled_from([name, name, name, f"{name}x", "\x1b[2J", "0" * 3000, "é/../x"]))
    values, rest = sound[name], {other: sound[other] for other in sound if other != name}
    change = draw(st.sampled_from(["none", "none", "shape", "type", "value", "leave out", "bytes"]))
    if change == "shape":
        shape = draw(st.lists(st.sampled_from([0, 1, 2, 4, 8, 64]), max_size=4))
        values = np.zeros(shape, np.float32)
    elif change == "type":
        values = values.astype(
            draw(
                st.sampled_from([">f4", "<f8", "<f2", "<i4", "|b1", "<c8", "|S4", "<U2", "<M8[s]"])
            )
        )
    elif change == "value":
        values = np.full_like(values, draw(st.sampled_from([np.nan, np.inf, 3e38])))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for other, array in ((renamed, values), *rest.items()):
            if other != renamed or change not in ("leave out", "bytes"):
                with archive.open(f"{other}.npy", "w") as file:
                    np.lib.format.write_array(file, array)
        if change == "bytes":
            archive.writestr(f"{renamed}.npy", draw(npy()))
    return buffer.getvalue()


@MANY
@given(data=st.data())
def test_any_exported_network_is_played_or_refused(exported, data):
    global watching
    folder, network = exported
    checkpoint = folder / "checkpoints" / "000000001200"
    content = data.draw(networks(network))
    counters = {"env_steps": 1200, "train_steps": 300}
    if data.draw(st.booleans()):
        counters[data.draw(st.sampled_from(sorted(counters)))] = data.draw(json_values)
    manifest = {
        "format": checkpoint_files.FORMAT,
        "counters": counters,
        "files": {"network.npz": fingerprint(content)},
        "segments": {},
    }
    (checkpoint / "network.npz").write_bytes(content)
    if data.draw(st.integers(0, 3)):
        put_manifest(checkpoint, manifest)
    else:
        (checkpoint / "manifest.json").write_bytes(data.draw(manifests(manifest)))
    ran.clear()
    watching = True
    said, loaded = "", None
    try:
        loaded = load_network(folder)
    except UserError as error:
        said = error.message
    finally:
        watching = False
        gin.clear_config()
    assert ran == []
    assert said.isprintable()
    assert len(said) < 2000
    if loaded is not None:
        assert type(loaded.env_steps) is int
        assert loaded.train_steps is None or type(loaded.train_steps) is int
        assert all(np.isfinite(each).all() for each in loaded.q_network.get_weights())


# --- Games ----------------------------------------------------------------------------------------


def forged(**changes: Any) -> dict[str, np.ndarray]:
    """The state of two games, of which something is not as `get_state` gives it."""
    state: dict[str, Any] = {
        "seedings": np.array([1, 1]),
        "actions": np.array([0, 1, 2], np.uint8),
        "lengths": np.array([1, 2]),
        **changes,
    }
    return {name: values for name, values in state.items() if values is not None}


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(forged(seedings=None), id="no seedings"),
        pytest.param(forged(lengths=np.array([1])), id="one game"),
        pytest.param(forged(lengths=np.array([-1, 2])), id="less than none"),
        pytest.param(forged(lengths=np.array([1.5, 1.5])), id="half an action"),
        pytest.param(forged(lengths=np.array([50_000, 50_000])), id="actions that are not there"),
        pytest.param(
            forged(actions=np.zeros(100_002, np.uint8), lengths=np.array([2, 100_000])),
            id="games without end",
        ),
        pytest.param(forged(actions=np.array([0, 1, 200], np.uint8)), id="no such action"),
        pytest.param(forged(actions=np.zeros((3, 1), np.uint8)), id="actions of actions"),
        pytest.param(forged(seedings=np.array(["1", "1"])), id="words"),
    ],
)
def test_the_games_of_a_stranger_are_refused(state):
    script = Script(3, [Move(0, 3)] * 9 + [Move(0, 0, "terminated")])
    games = ScriptedGames([[script], [script]])
    environment = AtariEnvironment(
        games,
        0,
        "collection",
        terminal_on_life_loss=True,
        fire_on_reset=False,
    )
    environment.reset()
    with pytest.raises(UserError, match="does not hold the state of these games"):
        environment.set_state(state)
    # A game of ten steps is seeded anew once 5,000 have passed.
    assert len(games.actions) <= 5_010
