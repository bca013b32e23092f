from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dqn_breakout.errors import UserError
from dqn_breakout.evaluation.saved_network import load_network
from dqn_breakout.runs import checkpoint_files
from tests.evaluation.conftest import CONFIG, WriteRun, random_weights


def test_a_network_comes_back_bit_for_bit(write_run: WriteRun):
    saved = random_weights(3)
    network = load_network(write_run(arrays=saved))
    for variable, name in zip(network.q_network.variables, sorted(saved), strict=True):
        np.testing.assert_array_equal(variable.numpy(), saved[name])
    assert network.checkpoint == "000000001200"
    assert (network.env_steps, network.train_steps) == (1200, 300)
    assert network.agent.final_epsilon == 0.01


def test_run_folder_and_checkpoint_are_all_accepted(
    write_run: WriteRun, monkeypatch: pytest.MonkeyPatch
):
    write_run(env_steps=400, arrays=random_weights(1))
    run = write_run(env_steps=800, arrays=random_weights(2))
    older = run / "checkpoints" / "000000000400"
    assert load_network(run).env_steps == 800
    assert load_network(run / "checkpoints").env_steps == 800
    assert load_network(older).env_steps == 400
    np.testing.assert_array_equal(
        load_network(older).q_network.variables[0].numpy(), random_weights(1)["000"]
    )
    monkeypatch.chdir(run / "checkpoints")
    assert load_network(".").env_steps == 800


def test_a_network_alone_needs_no_count_of_train_steps(write_run: WriteRun):
    run = write_run()
    checkpoint_files.write_checkpoint(
        run / "checkpoints", {"env_steps": 1300}, {"network": random_weights()}, {}
    )
    assert load_network(run).train_steps is None


def refused(checkpoint_dir: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_network(checkpoint_dir)
    return caught.value.message


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("Breakout", "Pong", "'006' is float32 (8, 4) there and float32 (8, 6) here"),
        ("Breakout", "Pong", "config.gin says for Pong and its 6 actions: "),
        ("(8,)", "(9,)", "'004' is float32 (64, 8) there and float32 (64, 9) here"),
        ("(8,)", "(8, 8)", "'006' is float32 (8, 4) there and float32 (8, 8) here"),
        ("(8,)", "()", "'004' is float32 (64, 8) there and float32 (64, 4) here"),
    ],
)
def test_another_game_and_another_network_are_told(
    write_run: WriteRun, old: str, new: str, words: str
):
    assert words in refused(write_run(config=CONFIG.replace(old, new)))


def test_missing_variables_and_other_types_are_told(write_run: WriteRun):
    arrays = random_weights()
    arrays["001"] = arrays["001"].astype(np.float64)
    assert "'001' is float64 (4,) there and float32 (4,) here" in refused(write_run(arrays=arrays))
    arrays = random_weights()
    del arrays["007"]
    assert "'007' is missing there and float32 (4,) here" in refused(write_run(arrays=arrays))


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


def test_a_saved_config_that_includes_another_file_is_refused(write_run: WriteRun, tmp_path: Path):
    (tmp_path / "secret").write_text("not for everyone\n")
    message = refused(write_run(config=f"include '{tmp_path / 'secret'}'\n{CONFIG}"))
    assert "no include and no import" in message
    assert "everyone" not in message


def test_a_run_of_another_version_is_told_before_its_config(write_run: WriteRun):
    run = write_run(config=f"build.q_network = @create_q_network\n{CONFIG}")
    (run / "checkpoints" / "000000001200" / "manifest.json").write_text('{"format": 1}')
    for folder in (run, run / "checkpoints", run / "checkpoints" / "000000001200"):
        assert "is of another version of this project (format 1, not 2)" in refused(folder)


def test_missing_and_empty_directories_are_told(write_run: WriteRun, tmp_path: Path):
    assert "There is no directory" in refused(tmp_path / "nowhere")
    assert "holds no run" in refused(tmp_path)
    run = tmp_path / "started"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.gin").write_text(CONFIG)
    assert "There is no checkpoint in" in refused(run)
