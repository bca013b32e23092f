"""An exported network from a stranger is played or refused in a sentence; no code of it runs."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dqn_breakout.errors import UserError
from dqn_breakout.evaluation.saved_network import load_network
from dqn_breakout.export_network import export_network
from tests.chaos import damage
from tests.chaos.tiny_run import reference

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("clean_gin")]


class Payload:
    """Makes a folder where it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.fixture
def network(work_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of an exported network's arrays."""
    monkeypatch.chdir(tmp_path)
    checkpoint = export_network(reference("fast", work_dir).path, tmp_path / "exported")
    return checkpoint / "network.npz"


def must_be_refused(network: Path, said: str) -> None:
    with pytest.raises(UserError) as caught:
        load_network(network.parents[2])
    assert re.search(said, caught.value.message)
    assert caught.value.message.isprintable()
    assert not Path("ran").exists()


@pytest.mark.parametrize("file", ["network.npz", "manifest.json"])
@pytest.mark.parametrize("how", damage.DAMAGES)
def test_a_damaged_file_is_named(network, how, file):
    assert load_network(network.parents[2]).env_steps == 400
    damage.apply(how, network.with_name(file))
    must_be_refused(network, file)


def write_forged(network: Path, content: bytes, **changes: Any) -> None:
    """Writes these bytes as the network's, and a manifest with changes; all checksums fit."""
    network.write_bytes(content)
    path = network.with_name("manifest.json")
    manifest = json.loads(path.read_text())
    fingerprint = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest["files"][network.name] = fingerprint
    manifest.update(changes)
    del manifest["sha256"]
    manifest["sha256"] = hashlib.sha256(json.dumps(manifest).encode()).hexdigest()
    path.write_text(json.dumps(manifest))


def changed(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[bytes], bytes]:
    """Makes a network's file with another first array."""

    def change_file(content: bytes) -> bytes:
        arrays = dict(np.load(io.BytesIO(content)))
        arrays[min(arrays)] = change(arrays[min(arrays)])
        file = io.BytesIO()
        np.savez(file, allow_pickle=True, **arrays)
        return file.getvalue()

    return change_file


def patched(place: int, value: int) -> Callable[[bytes], bytes]:
    """Changes a byte of each entry of the archive's directory, as counted from its signature."""

    def patch(content: bytes) -> bytes:
        found = bytearray(content)
        for match in re.finditer(rb"PK\x01\x02", content):
            found[match.start() + place] = value
        for match in re.finditer(rb"PK\x03\x04", content):
            found[match.start() + place - 2] = value
        return bytes(found)

    return patch


def renamed(content: bytes) -> bytes:
    file = io.BytesIO()
    np.savez(
        file, **{f"\x1b[2J{name}": each for name, each in np.load(io.BytesIO(content)).items()}
    )
    return file.getvalue()


@pytest.mark.parametrize(
    ("forge", "said"),
    [
        (changed(lambda values: values[1:]), r"another network .* is float32 \(7, 8, 4, 4\)"),
        (changed(lambda values: values.astype("f8")), "another network .* is float64"),
        (changed(lambda values: values * np.nan), "weights that are not finite numbers"),
        (changed(lambda values: np.array([Payload()], object)), "is not a file of arrays"),
        (changed(lambda values: np.zeros(10**7, "u1")), "of at most"),
        (renamed, "another network"),
        (patched(8, 1), "is not a file of arrays: .* encrypted"),
        (patched(10, 99), "is not a file of arrays"),
        (patched(10, 8), "is not a file of arrays"),
        (lambda content: content.replace(b"{'descr': ", b"'''escr': "), "is not a file of arrays"),
    ],
    ids=[
        *("another network's", "another type", "no numbers", "code", "too large", "control codes"),
        *("encrypted", "an unknown method", "a bad deflate", "a torn header"),
    ],
)
def test_arrays_with_a_checksum_that_fits_are_refused(network, forge, said):
    write_forged(network, forge(network.read_bytes()))
    must_be_refused(network, said)


@pytest.mark.parametrize(
    "changes",
    [
        {"files": ["network.npz"]},
        {"files": {"network.npz": {"sha256": ""}}},
        {"files": {"network.npz": {"bytes": 1}}},
        {"files": {"network.npz": [1]}},
        {"segments": None},
        {"counters": [400]},
        {"counters": {}},
        {"counters": {"env_steps": "400"}},
        {"counters": {"env_steps": 400, "train_steps": [1]}},
    ],
    ids=str,
)
def test_a_manifest_of_other_types_with_a_checksum_that_fits_is_refused(network, changes):
    write_forged(network, network.read_bytes(), **changes)
    must_be_refused(network, r"manifest\.json is damaged")


def test_a_manifest_too_deep_to_read_is_refused(network):
    network.with_name("manifest.json").write_text('{"format":' * 100_000)
    must_be_refused(network, r"manifest\.json is damaged")
