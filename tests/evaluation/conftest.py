from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import gin
import numpy as np
import pytest

from dqn_breakout.runs.checkpoint_files import write_checkpoint

# The whole of what evaluation reads of a run's config; the network is a small one.
CONFIG = """
build.q_network = @create_q_network
create_environment.game = 'Breakout'
create_environment.games = @python_games
create_environment.num_environments = 4
create_environment.frame_skip = 4
create_environment.noop_max = 30
create_environment.sticky_action_probability = 0.0
create_environment.max_episode_steps = 27000
create_environment.terminal_on_life_loss = True
create_environment.fire_on_reset = True
create_q_network.conv_layers = ((4, 8, 8), (4, 4, 2))
create_q_network.dense_units = (8,)
create_q_network.convolution_lanes = 1
create_agent.epsilon_final = 0.01
"""

# Of the network above for Breakout's four actions.
SHAPES = ((8, 8, 4, 4), (4,), (4, 4, 4, 4), (4,), (64, 8), (8,), (8, 4), (4,))

WriteRun = Callable[..., Path]


@pytest.fixture(autouse=True)
def clear_gin() -> Iterator[None]:
    yield
    gin.clear_config()


@pytest.fixture
def write_run(tmp_path: Path) -> WriteRun:
    """Writes run directories, as training leaves them."""

    def write(
        name: str = "run",
        config: str = CONFIG,
        env_steps: int = 1200,
        arrays: dict[str, np.ndarray] | None = None,
    ) -> Path:
        run = tmp_path / name
        run.mkdir(exist_ok=True)
        (run / "config.gin").write_text(config)
        counters = {"env_steps": env_steps, "train_steps": env_steps // 4}
        network = random_weights() if arrays is None else arrays
        write_checkpoint(run / "checkpoints", counters, {"network": network}, {})
        return run

    return write


def random_weights(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        f"{place:03d}": rng.normal(0, 0.1, shape).astype(np.float32)
        for place, shape in enumerate(SHAPES)
    }
