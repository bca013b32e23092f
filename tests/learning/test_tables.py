"""Tables against the textbook's numbers and against each other."""

from __future__ import annotations

import numpy as np
import pytest

from dqn_breakout.environments.three_states import ThreeStates
from dqn_breakout.learning import tables
from dqn_breakout.learning.tables import MarkovDecisionProcess

# Géron 2019, chapter 18: the table after 50 sweeps, for gamma 0.90.
OF_THE_CHAPTER = [
    [18.918919, 17.027027, 13.621622],
    [0.0, -np.inf, -4.879715],
    [-np.inf, 50.133650, -np.inf],
]
PROCESS = MarkovDecisionProcess.of_model(ThreeStates.P)


def planned(gamma: float, sweeps: int = 50) -> np.ndarray:
    q_values = np.where(PROCESS.possible, 0.0, -np.inf)
    for _ in range(sweeps):
        q_values = tables.q_value_iteration(PROCESS, gamma, q_values)
    return q_values


@pytest.mark.parametrize(("gamma", "policy"), [(0.90, [0, 0, 1]), (0.95, [0, 2, 1])])
def test_q_value_iteration_finds_the_chapters_policies(gamma: float, policy: list[int]) -> None:
    assert planned(gamma).argmax(axis=1).tolist() == policy


def test_q_value_iteration_finds_the_chapters_table() -> None:
    np.testing.assert_allclose(planned(0.90), OF_THE_CHAPTER, atol=5e-7)


def test_value_iteration_finds_the_values_of_the_best_actions() -> None:
    state_values = np.zeros(3)
    for sweeps in range(1, 51):
        state_values = tables.value_iteration(PROCESS, 0.90, state_values)
        np.testing.assert_allclose(state_values, planned(0.90, sweeps).max(axis=1))


def test_a_transition_that_ends_the_episode_is_worth_its_reward_alone() -> None:
    ends = {0: {0: [(0.5, 0, 1.0, False), (0.5, 1, 4.0, True)]}, 1: {0: [(1.0, 1, 0.0, True)]}}
    process = MarkovDecisionProcess.of_model(ends)
    q_values = process.action_values(np.array([10.0, 100.0]), gamma=0.5)
    np.testing.assert_allclose(q_values, [[0.5 * (1 + 5) + 0.5 * 4], [0.0]])


@pytest.mark.parametrize(
    ("discount", "target"), [(0.9, 2 + 0.9 * 7), (0.0, 2)], ids=["goes on", "ends"]
)
def test_q_learning_moves_one_entry_towards_its_target(discount: float, target: float) -> None:
    q_values = np.array([[1.0, 5.0], [7.0, -np.inf]])
    td_error = tables.q_learning(q_values, 0, 1, 2.0, 1, discount, learning_rate=0.1)
    assert td_error == pytest.approx(target - 5)
    np.testing.assert_allclose(q_values, [[1, 5 + 0.1 * (target - 5)], [7, -np.inf]])
