"""An exported network from a stranger is played or refused in a sentence; no code of it runs."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

# `experiment` defines what the configuration of an exported run binds.
from dqn_breakout import experiment  # noqa: F401
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


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda values: values[1:], r"another network: .* is float32 \(7, 8, 4, 4\)"),
        (lambda values: values.astype("f8"), "another network: .* is float64"),
        (lambda values: np.array([Payload()], object), "is not a file of arrays"),
    ],
    ids=["another network's", "another type", "code"],
)
def test_arrays_with_a_checksum_that_fits_are_refused(network, change, said):
    arrays = dict(np.load(network))
    arrays[min(arrays)] = change(arrays[min(arrays)])
    content = io.BytesIO()
    np.savez(content, allow_pickle=True, **arrays)
    whole = content.getvalue()
    network.write_bytes(whole)
    path = network.with_name("manifest.json")
    manifest = json.loads(path.read_text())
    fingerprint = {"bytes": len(whole), "sha256": hashlib.sha256(whole).hexdigest()}
    manifest["files"][network.name] = fingerprint
    del manifest["sha256"]
    manifest["sha256"] = hashlib.sha256(json.dumps(manifest).encode()).hexdigest()
    path.write_text(json.dumps(manifest))
    must_be_refused(network, said)
