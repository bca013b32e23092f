from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

# `experiment` defines what the configurations below bind.
from dqn_breakout import experiment  # noqa: F401
from dqn_breakout.errors import UserError
from dqn_breakout.evaluation.saved_network import load_network
from tests.evaluation.conftest import CONFIG, WriteRun, random_weights


def test_a_network_comes_back_bit_for_bit(write_run: WriteRun):
    saved = random_weights(3)
    network = load_network(write_run(arrays=saved))
    for variable, name in zip(network.q_network.variables, sorted(saved), strict=True):
        np.testing.assert_array_equal(variable.numpy(), saved[name])
    assert (network.checkpoint, network.env_steps, network.train_steps) == (
        "000000001200",
        1200,
        300,
    )


def test_run_folder_and_checkpoint_are_all_accepted(
    write_run: WriteRun, monkeypatch: pytest.MonkeyPatch
):
    write_run(env_steps=400, arrays=random_weights(1))
    run = write_run(env_steps=800, arrays=random_weights(2))
    assert load_network(run).env_steps == 800
    assert load_network(run / "checkpoints").env_steps == 800
    older = load_network(run / "checkpoints" / "000000000400")
    assert older.env_steps == 400
    np.testing.assert_array_equal(older.q_network.variables[0].numpy(), random_weights(1)["000"])
    monkeypatch.chdir(run / "checkpoints")
    assert load_network(".").env_steps == 800


def test_a_network_alone_needs_no_count_of_train_steps(write_run: WriteRun):
    run = write_run()
    manifest = run / "checkpoints" / "000000001200" / "manifest.json"
    content = json.loads(manifest.read_text().replace('"train_steps"', '"something_else"'))
    del content["sha256"]
    content["sha256"] = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    manifest.write_text(json.dumps(content))
    assert load_network(run).train_steps is None


def refused(checkpoint_dir: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_network(checkpoint_dir)
    return caught.value.message


def test_another_number_of_actions_is_told(write_run: WriteRun):
    run = write_run(config=CONFIG.replace("Breakout", "Pong"))
    assert "its network has 4 actions, Pong has 6" in refused(run)


def test_another_network_is_told(write_run: WriteRun):
    message = refused(write_run(config=CONFIG.replace("dense_units = (8,)", "dense_units = (9,)")))
    assert (
        "variable 4 of its network has shape (64, 8), that of the configured one (64, 9)" in message
    )
    message = refused(
        write_run(config=CONFIG.replace("dense_units = (8,)", "dense_units = (8, 8)"))
    )
    assert "its network has 8 variables, the configured one has 10" in message


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none_are_told(write_run: WriteRun, value: float):
    arrays = random_weights()
    arrays["002"][0, 0, 0, 0] = value
    assert "array '002' does not hold finite float32 numbers" in refused(write_run(arrays=arrays))


def test_other_types_are_told(write_run: WriteRun):
    arrays = random_weights()
    arrays["001"] = arrays["001"].astype(np.float64)
    assert "array '001' does not hold finite float32 numbers" in refused(write_run(arrays=arrays))


def test_a_damaged_file_is_named_and_the_checkpoint_before_is_used(write_run: WriteRun):
    write_run(env_steps=400)
    run = write_run()
    file = run / "checkpoints" / "000000001200" / "network.npz"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    network = load_network(run)
    assert (network.env_steps, len(network.damage)) == (400, 1)
    assert str(file) in network.damage[0]
    assert "checksum" in network.damage[0]
    shutil.rmtree(run / "checkpoints" / "000000000400")
    message = refused(run)
    assert f"can be used: {network.damage[0]}. Restore the files" in message


def test_a_saved_config_that_includes_another_file_is_refused(write_run: WriteRun, tmp_path: Path):
    (tmp_path / "secret").write_text("not for everyone\n")
    message = refused(write_run(config=f"include '{tmp_path / 'secret'}'\n{CONFIG}"))
    assert "a saved configuration includes none" in message
    assert "everyone" not in message


def test_missing_and_empty_directories_are_told(write_run: WriteRun, tmp_path: Path):
    assert "There is no directory" in refused(tmp_path / "nowhere")
    assert "holds no run" in refused(tmp_path)
    run = tmp_path / "started"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.gin").write_text(CONFIG)
    assert "There is no checkpoint in" in refused(run)
