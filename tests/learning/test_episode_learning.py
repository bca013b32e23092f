"""REINFORCE: returns by hand, the way its gradient goes, and what belongs to an episode."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from dqn_breakout import config, experiment
from dqn_breakout.learning.episode_learning import discounted_returns

pytestmark = pytest.mark.usefixtures("clean_gin")


def build(games: int = 6) -> experiment.Experiment:
    config.parse(["cartpole_reinforce.gin"], [f"NUM_ENVIRONMENTS = {games}"])
    return experiment.build(1)


def test_returns_by_hand() -> None:
    """Géron 2019, chapter 18: rewards 10, 0, -50 and gamma 0.8 give -22, -40, -50."""
    rewards = np.array([[10.0, 1.0], [0.0, 2.0], [-50.0, 0.0]])
    expected = [[-22.0, 1 + 0.8 * 2], [-40.0, 2.0], [-50.0, 0.0]]
    np.testing.assert_allclose(discounted_returns(rewards, 0.8), expected)


@pytest.mark.parametrize("action", [0, 1])
@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_an_action_better_than_usual_becomes_likelier_and_a_worse_one_less_likely(
    action: int, advantage: float
) -> None:
    agent = build().agent
    observation = tf.constant([[0.1, 0.2, -0.3, 0.4]])
    before = agent.action_values(observation).numpy()[0]
    agent.train(observation, tf.constant([action]), tf.constant([advantage]))
    after = agent.action_values(observation).numpy()[0]
    assert after.sum() == pytest.approx(1)
    assert (after[action] - before[action]) * advantage > 0


def test_steps_after_an_episodes_end_count_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = build()
    batches: list[Any] = []

    def train(*batch: tf.Tensor) -> dict[str, tf.Tensor]:
        batches.append([each.numpy() for each in batch])
        return {}

    monkeypatch.setattr(parts.agent, "train", train)
    played = 0
    for number in range(3):
        parts.learning.turn()
        observations, actions, advantages = batches[number]
        played += len(actions)
        assert parts.metrics.episodes == 6 * (number + 1)
        metrics = parts.learning.parts["metrics"].state()
        lengths = metrics["lengths"][6 * number : 6 * (number + 1)].astype(int)
        np.testing.assert_array_equal(metrics["returns"], metrics["lengths"])  # a point a step
        assert len(set(lengths.tolist())) > 1
        assert len(observations) == len(actions) == lengths.sum()
        assert parts.learning.env_steps == played
        # So what followed is known from an episode's length alone.
        returns = np.concatenate([(1 - 0.95 ** np.arange(n, 0, -1)) / 0.05 for n in lengths])
        expected = (returns - returns.mean()) / returns.std()
        np.testing.assert_allclose(np.sort(advantages), np.sort(expected), atol=1e-4)
