"""Tables that meet games: what is learnt by playing, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dqn_breakout import config, experiment
from dqn_breakout.errors import UserError
from dqn_breakout.learning.learning import turns
from dqn_breakout.learning.table_updates import ValueIteration

pytestmark = pytest.mark.usefixtures("clean_gin")


def build(name: str, *bindings: str) -> experiment.Experiment:
    config.parse([name], bindings)
    return experiment.build(1)


def test_q_learning_finds_the_policy_of_the_three_states() -> None:
    parts = build("mdp_q_learning.gin")
    before = parts.agent.q_network.values()
    np.testing.assert_array_equal(before > -np.inf, [[1, 1, 1], [1, 0, 1], [0, 1, 0]])
    taken = [turn.train_steps_taken for turn in turns(parts.learning, 10_000)]
    # Each step is an update but those that only start an episode anew.
    assert sum(taken) == parts.learning.env_steps == parts.learning.status()["train_steps"]
    after = parts.agent.q_network.values()
    assert after.argmax(axis=1).tolist() == [0, 0, 1]
    assert [line.split()[-1] for line in parts.learning.result().splitlines()[1:]] == [
        f"{number}" for number in after.argmax(axis=1)
    ]
    np.testing.assert_array_equal(before == -np.inf, after == -np.inf)


def test_planning_without_a_model_is_refused() -> None:
    parts = build("mdp_q_learning.gin")
    games: Any = parts.environment.pyenv
    games.games.model = None
    with pytest.raises(UserError, match=r"^create_environment\.id is ThreeStates-v0, which has no"):
        ValueIteration(games, parts.agent.q_network, gamma=0.9)


def test_a_table_of_states_without_numbers_is_refused() -> None:
    with pytest.raises(UserError, match="a table needs states that are numbered"):
        build("mdp_value_iteration.gin", "create_environment.id = 'CartPole-v1'")
