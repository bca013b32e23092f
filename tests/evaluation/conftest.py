from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gin
import numpy as np
import pytest
import tensorflow as tf
from tf_agents.environments.tf_py_environment import TFPyEnvironment

from dqn_breakout.agents.exploration import EpsilonGreedyPolicy
from dqn_breakout.environments.builder import create_environment
from dqn_breakout.evaluation.protocols import EvaluationProtocol
from dqn_breakout.runs.checkpoint_files import write_checkpoint

ENVIRONMENT = """
create_environment.game = 'Breakout'
create_environment.games = @python_games
create_environment.num_environments = 4
create_environment.frame_skip = 4
create_environment.stack_frames = 4
create_environment.noop_max = 30
create_environment.sticky_action_probability = 0.0
create_environment.max_episode_steps = 27000
create_environment.terminal_on_life_loss = True
create_environment.fire_on_reset = True
"""
# The whole of what evaluation reads of a run's config; the network is a small one.
CONFIG = f"""{ENVIRONMENT}
build.agent = @create_agent
create_q_network.conv_layers = ((4, 8, 8), (4, 4, 2))
create_q_network.dense_units = (8,)
create_agent.q_network = @create_q_network
create_agent.objective = @QLearning
create_agent.optimizer = @create_optimizer
create_agent.gamma = 0.99
create_agent.target_update_period_train_steps = 2000
create_agent.reward_clip = 1.0
create_agent.q_value_limit = 10000.0
create_agent.epsilon_initial = 1.0
create_agent.epsilon_final = 0.01
create_agent.epsilon_decay_env_steps = 250000
create_optimizer.learning_rate = 2.5e-4
create_optimizer.rho = 0.95
create_optimizer.momentum = 0.0
create_optimizer.epsilon = 1e-5
create_optimizer.epsilon_inside_root = False
create_optimizer.centered = True
create_optimizer.compiled = False
QLearning.double = False
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
        config: str = CONFIG,
        env_steps: int = 1200,
        arrays: dict[str, np.ndarray] | None = None,
    ) -> Path:
        run = tmp_path / "run"
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


class FakeAgent:
    """Values each action as it is told, whatever it sees."""

    final_epsilon = 0.5

    def __init__(self, values: list[float], environment: TFPyEnvironment | None = None) -> None:
        environment = environment or create_environment(0, "specs")
        self._specs = environment.time_step_spec(), environment.action_spec()
        self._values = tf.Variable(values, dtype=tf.float32)

    def action_values(self, observation: tf.Tensor) -> tf.Tensor:
        return tf.repeat(self._values[tf.newaxis], tf.shape(observation)[0], axis=0)

    def evaluation_policy(self, epsilon: float, seed: int, stream: str) -> EpsilonGreedyPolicy:
        def network(observation: tf.Tensor) -> Any:
            return self.action_values(observation), ()

        network.variables = []  # type: ignore[attr-defined]
        return EpsilonGreedyPolicy(
            *self._specs, network, tf.identity, lambda: tf.constant(epsilon), seed, stream
        )

    def network_variables(self) -> dict[str, tf.Variable]:
        return {"000": self._values}


def rules(env_steps: int = 4500, epsilon: float | None = 0.5) -> EvaluationProtocol:
    """Rules of a test's own: games of at most so many environment steps."""
    return EvaluationProtocol("nature", epsilon, {"max_ale_frames": 4 * env_steps}, "a test")
