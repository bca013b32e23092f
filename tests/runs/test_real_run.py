"""A run of the real parts: restored, it goes on to the last bit as if it had never stopped."""

from __future__ import annotations

from pathlib import Path

import gin
import numpy as np
import pytest

from dqn_breakout import config, experiment
from dqn_breakout.learning.learning import turns
from dqn_breakout.runs import checkpoint_files
from dqn_breakout.runs.checkpoint import RunCheckpointer
from dqn_breakout.runs.directory import RunDirectory

TINY = [
    "NUM_ENVIRONMENTS = 2",
    "REPLAY_TRANSITIONS = 120",
    "RANDOM_FILL_ENV_STEPS = 40",
    "BATCH_SIZE = 4",
    "TARGET_UPDATE_PERIOD_TRAIN_STEPS = 12",
    "create_environment.max_episode_steps = 25",
    "create_q_network.conv_layers = ((4, 8, 4), (4, 4, 2))",
    "create_q_network.dense_units = (16,)",
    "create_collector.env_steps_per_iteration = 16",
]


def build(frames: str) -> experiment.Experiment:
    table = f"create_replay_buffer.frame_table = @{frames}"
    config.parse(["breakout.gin", "smoke.gin"], [*TINY, table])
    try:
        return experiment.build(seed=7)
    finally:
        gin.clear_config()


def play_until(parts: experiment.Experiment, env_steps: int) -> None:
    for _ in turns(parts.learning, env_steps):
        pass


def everything(parts: experiment.Experiment) -> dict[str, np.ndarray]:
    """The state of every part, and every stored row."""
    rows = parts.learning.rows
    assert rows is not None
    stored = rows.read_rows(max(0, rows.rows_added - rows.max_length), rows.rows_added)
    return {
        **{f"rows/{name}": np.copy(values) for name, values in stored.items()},
        **{
            f"{group}/{name}": np.copy(values)
            for group, part in parts.learning.parts.items()
            for name, values in part.state().items()
        },
    }


@pytest.fixture(scope="module")
def stretches(tmp_path_factory: pytest.TempPathFactory) -> list[list[dict[str, np.ndarray]]]:
    """Where a run stands when it is saved and twice later, and a copy that was restored there.

    The copy keeps its frames compressed, which changes nothing else.
    """
    run = RunDirectory(tmp_path_factory.mktemp("real") / "run")
    run.create()
    found = []
    for restore in (False, True):
        parts = build("compressed_frames" if restore else "plain_frames")
        learning = parts.learning
        checkpointer = RunCheckpointer(run, learning.parts, learning.rows, seed=7, keep=1)
        if restore:
            assert checkpointer.restore_newest() == []
        else:
            for env_steps in (40, 100, 250, 400):
                play_until(parts, env_steps)
                checkpointer.save({"env_steps": learning.env_steps})
        stretch = [everything(parts)]
        for env_steps in (500, 600):
            play_until(parts, env_steps)
            stretch.append(everything(parts))
        found.append(stretch)
        learning.close()
    (newest,) = checkpoint_files.checkpoints(run.checkpoints)
    assert Path(newest).name == "000000000408"
    return found


@pytest.mark.slow
@pytest.mark.parametrize("later", [0, 1, 2])
def test_a_restored_run_is_and_goes_on_as_if_it_had_never_stopped(stretches, later):
    saved, restored = (stretch[later] for stretch in stretches)
    assert restored.keys() == saved.keys()
    for name, values in saved.items():
        np.testing.assert_array_equal(restored[name], values, err_msg=name)


@pytest.mark.slow
def test_between_the_stretches_it_learns_and_rows_were_overwritten(stretches):
    first, second, third = stretches[0]
    for one, other in ((first, second), (second, third)):
        assert not np.array_equal(one["network/000"], other["network/000"])
    assert first["learner/train_step"] > 50
    assert int(first["metrics/env_steps"]) > 3 * len(first["rows/reward"]) * 2
