"""Scores are those of full games, unclipped, whatever training makes of rewards and lives."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.metrics import tf_metrics
from tf_agents.trajectories import trajectory

from dqn_breakout.collection.metrics import CollectionMetrics
from tests.scripted_games import (
    Move,
    Script,
    ScriptedGames,
    random_scripts,
    scripted_environment,
    trajectories,
)

# 12 points in 5 steps and three lives; then 10 points in 2 steps, cut off.
GAMES = [
    Script(3, [Move(1, 3), Move(7, 2), Move(4, 1), Move(0, 1), Move(0, 0, "terminated")]),
    Script(3, [Move(7, 3), Move(3, 3, "truncated")]),
]


def observe(metrics: CollectionMetrics, steps: list[trajectory.Trajectory]) -> None:
    for step in steps:
        for observer in metrics.observers:
            observer(tf.nest.map_structure(tf.constant, step))


@pytest.mark.parametrize("terminal_on_life_loss", [True, False])
def test_scores_of_full_unclipped_games_by_hand(terminal_on_life_loss: bool) -> None:
    """With the rules of training on: lost lives are terminal, and the agent would clip."""
    environment = scripted_environment(
        ScriptedGames([GAMES]), terminal_on_life_loss=terminal_on_life_loss
    )
    play = trajectories(environment)
    metrics = CollectionMetrics(environment.batch_size)
    assert (metrics.env_steps, metrics.episodes) == (0, 0)
    assert (metrics.average_return, metrics.average_length) == (None, None)

    first_game = list(islice(play, 4))
    assert {step.reward[0] for step in first_game} == {1.0, 7.0, 4.0, 0.0}
    lost = [step.discount[0] for step in first_game]
    assert lost == ([1, 0, 0, 1] if terminal_on_life_loss else [1, 1, 1, 1])
    observe(metrics, first_game)
    assert (metrics.env_steps, metrics.episodes, metrics.average_return) == (4, 0, None)

    observe(metrics, list(islice(play, 1)))
    assert (metrics.env_steps, metrics.episodes) == (5, 1)
    assert (metrics.average_return, metrics.average_length) == (12.0, 5.0)

    observe(metrics, list(islice(play, 1)))  # Starts the next game: no step of any.
    assert (metrics.env_steps, metrics.episodes) == (5, 1)

    observe(metrics, list(islice(play, 2)))
    assert (metrics.env_steps, metrics.episodes) == (7, 2)
    assert (metrics.average_return, metrics.average_length) == (11.0, 3.5)
    assert int(metrics.env_steps_variable) == 7


@pytest.mark.parametrize("environments", [1, 4])
def test_means_are_those_of_tf_agents_metrics(environments: int) -> None:
    """Over more than the window's 100 games, several of which end in one step."""
    scripts = [random_scripts(seed, 90, longest=6) for seed in range(environments)]
    play = trajectories(scripted_environment(ScriptedGames(scripts)))
    metrics = CollectionMetrics(environments)
    oracle = (
        tf_metrics.AverageReturnMetric(batch_size=environments, buffer_size=100),
        tf_metrics.AverageEpisodeLengthMetric(batch_size=environments, buffer_size=100),
        tf_metrics.NumberOfEpisodes(),
        tf_metrics.EnvironmentSteps(),
    )

    @tf.function(autograph=False)
    def observe_all(step: trajectory.Trajectory) -> None:
        for observer in (*metrics.observers, *oracle):
            observer(step)

    ended_together = 0
    for number in range(500 // environments + 100):
        step = next(play)
        observe_all(tf.nest.map_structure(tf.constant, step))
        ended_together = max(ended_together, int(step.is_last().sum()))
        if number % 25 == 0 and metrics.episodes:
            average_return, average_length, episodes, env_steps = (
                metric.result().numpy() for metric in oracle
            )
            assert metrics.average_return == pytest.approx(average_return, rel=1e-5, abs=1e-5)
            assert metrics.average_length == pytest.approx(average_length, rel=1e-5)
            assert (metrics.episodes, metrics.env_steps) == (episodes, env_steps)
    assert metrics.episodes > 120
    assert ended_together == environments


def test_restored_in_the_middle_of_games_it_goes_on_in_a_graph_as_eagerly() -> None:
    scripts = [random_scripts(seed, 90, longest=6) for seed in range(3)]
    play = trajectories(scripted_environment(ScriptedGames(scripts)))
    eager, restored = CollectionMetrics(3), CollectionMetrics(3)
    observe(eager, list(islice(play, 83)))
    assert eager.variables()["running_length"].numpy().any()
    for name, variable in restored.variables().items():
        variable.assign(eager.variables()[name])

    @tf.function(autograph=False)
    def in_graph(step: trajectory.Trajectory) -> None:
        for observer in restored.observers:
            observer(step)

    for step in islice(play, 60):
        observe(eager, [step])
        in_graph(tf.nest.map_structure(tf.constant, step))
    for name, variable in eager.variables().items():
        np.testing.assert_array_equal(variable, restored.variables()[name], name)
    assert eager.episodes > 50
