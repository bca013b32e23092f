"""The whole pipeline learns a game that takes seconds."""

from __future__ import annotations

import statistics

import pytest
from tf_agents.policies.tf_policy import TFPolicy

from dqn_breakout import config, experiment
from dqn_breakout.agents.exploration import RandomPolicy
from dqn_breakout.environments.builder import create_environment
from dqn_breakout.evaluation.evaluate import play_games
from dqn_breakout.learning.learning import turns
from tests.learning import catch

MAX_EPISODE_STEPS = 80
# The first ball is served in step 1, and one lands every seven steps from then on.
BEST_SCORE = (MAX_EPISODE_STEPS - 1) // (catch.ROWS - 1) * catch.POINTS
TOTAL_ENV_STEPS = 10_000

BINDINGS = [
    "create_environment.games = @catch_games",
    "create_environment.num_environments = 4",
    f"create_environment.max_episode_steps = {MAX_EPISODE_STEPS}",
    "create_q_network.conv_layers = ((16, 3, 1),)",
    "create_q_network.dense_units = (64,)",
    "create_agent.gamma = 0.95",
    "create_agent.target_update_period_train_steps = 100",
    "create_agent.epsilon_final = 0.05",
    "create_agent.epsilon_decay_env_steps = 5000",
    "create_optimizer.learning_rate = 1e-3",
    "create_replay_buffer.capacity_transitions = 10000",
    "create_collector.random_fill_env_steps = 1000",
    "create_collector.env_steps_per_iteration = 64",
]


pytestmark = pytest.mark.usefixtures("clean_gin")


def mean_score(policy: TFPolicy) -> float:
    """Mean unclipped return of 40 full games."""
    games = play_games(create_environment(2, "evaluation"), policy, 40)
    return statistics.fmean(game.score for game in games)


def test_catch_is_learned() -> None:
    """Four fifths of the best score; a random player gets less than one fifth."""
    config.parse(["breakout.gin"], BINDINGS)
    parts = experiment.build(seed=1)
    list(turns(parts.learning, TOTAL_ENV_STEPS))
    assert int(parts.agent.train_step_counter) > 2_000
    random_policy = RandomPolicy(
        parts.environment.time_step_spec(), parts.environment.action_spec(), 1, "evaluation"
    )
    assert mean_score(random_policy) < BEST_SCORE / 5
    assert mean_score(parts.agent.policy) > BEST_SCORE * 4 / 5
    # What a run reports while it trains: full games, unclipped.
    assert parts.metrics.average_return is not None
    assert parts.metrics.average_return > BEST_SCORE / 3
