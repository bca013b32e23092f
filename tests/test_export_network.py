"""A shared network: small, sound, and the run's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dqn_breakout.errors import UserError
from dqn_breakout.export_network import export_network, main
from dqn_breakout.runs import checkpoint_files
from dqn_breakout.runs.directory import RunDirectory


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "run")
    run.create()
    run.config_gin.write_text("create_environment.game = 'Pong'\n")
    run.run_json.write_text('{"seed": 3}\n')
    for env_steps in (100, 200):
        checkpoint_files.write_checkpoint(
            run.checkpoints,
            {"env_steps": env_steps, "train_steps": env_steps // 4},
            {
                "network": {"000": np.full((2, 3), env_steps, np.float32)},
                "learner": {"train_step": np.array(env_steps // 4)},
            },
            {"rows-000000000000-000000000001.npz.lz4": {"bytes": 1, "sha256": "0"}},
        )
    return run


def test_it_holds_the_newest_network_and_its_record(run: RunDirectory, tmp_path: Path) -> None:
    export_network(run.path, tmp_path / "shared")
    shared = RunDirectory(tmp_path / "shared")
    checkpoint = checkpoint_files.open_checkpoint(checkpoint_files.existing(shared.checkpoints)[0])
    assert checkpoint.counters == {"env_steps": 200, "train_steps": 50}
    np.testing.assert_array_equal(checkpoint.arrays("network")["000"], np.full((2, 3), 200.0))
    assert list(checkpoint.files) == ["network.npz"]
    assert checkpoint.segments == {}
    assert shared.config_gin.read_text() == run.config_gin.read_text()
    assert json.loads(shared.run_json.read_text()) == {"seed": 3}


def test_a_run_is_never_written_over(run: RunDirectory) -> None:
    with pytest.raises(UserError, match="holds a run already"):
        export_network(run.path, run.path)


def test_a_damaged_network_is_not_shared(
    run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("000000000200", "000000000100"):
        network = run.checkpoints / name / "network.npz"
        network.write_bytes(network.read_bytes()[:-1])
        if name == "000000000200":
            assert export_network(run.path, tmp_path / "older").name == "000000000100"
            assert f"left out: {network} has" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"network\.npz has \d+ bytes and should have"):
        export_network(run.path, tmp_path / "shared")
    assert not (tmp_path / "shared" / "checkpoints").exists()


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none"), str(tmp_path / "shared")]) == 2
    assert "There is no directory" in capsys.readouterr().err
