"""Finite Markov decision processes in NumPy: planning with their model, and learning without it.

Sutton and Barto 2018, "Reinforcement Learning: An Introduction", 2nd edition: the process and the
Bellman optimality equation, sections 3.1 and 3.6; value iteration, 4.4; Q-learning, 6.5. `S` states
and `A` actions are numbered from 0. An action that a state does not have is worth minus infinity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

# gymnasium's `env.unwrapped.P`: state -> action -> (probability, next state, reward, terminated).
Model = Mapping[int, Mapping[int, Sequence[tuple[float, int, float, bool]]]]


class MarkovDecisionProcess(NamedTuple):
    """What planning knows.

    Attributes:
        transitions: Probability of going on in each state, float64 `(S, A, S)`. A transition that
            ends the episode goes on nowhere.
        rewards: Expected reward of an action, float64 `(S, A)`.
        possible: Whether a state has an action, bool `(S, A)`.
    """

    transitions: np.ndarray
    rewards: np.ndarray
    possible: np.ndarray

    @classmethod
    def of_model(cls, model: Model) -> MarkovDecisionProcess:
        """Reads gymnasium's table of a process."""
        states, actions = len(model), len(model[0])
        transitions = np.zeros((states, actions, states))
        rewards = np.zeros((states, actions))
        possible = np.zeros((states, actions), bool)
        for state, of_state in model.items():
            for action, outcomes in of_state.items():
                possible[state, action] = bool(outcomes)
                for probability, next_state, reward, terminated in outcomes:
                    transitions[state, action, next_state] += probability * (not terminated)
                    rewards[state, action] += probability * reward
        return cls(transitions, rewards, possible)

    def action_values(self, state_values: np.ndarray, gamma: float) -> np.ndarray:
        """What an action is worth if its next state is worth `state_values` `(S,)`: `(S, A)`.

        Q(s, a) = sum over s' of T(s, a, s') (R(s, a, s') + gamma V(s')), equation 4.10.
        """
        q_values = self.rewards + gamma * self.transitions @ state_values
        return np.where(self.possible, q_values, -np.inf)


def value_iteration(
    process: MarkovDecisionProcess, gamma: float, state_values: np.ndarray
) -> np.ndarray:
    """A sweep of V(s) <- max over a of sum over s' of T (R + gamma V(s')), float64 `(S,)`."""
    return process.action_values(state_values, gamma).max(axis=1)


def q_value_iteration(
    process: MarkovDecisionProcess, gamma: float, q_values: np.ndarray
) -> np.ndarray:
    """A sweep of Q(s, a) <- sum over s' of T (R + gamma max over a' of Q(s', a')), `(S, A)`."""
    return process.action_values(q_values.max(axis=1), gamma)


def q_learning(
    q_values: np.ndarray,
    state: int,
    action: int,
    reward: float,
    next_state: int,
    discount: float,
    learning_rate: float,
) -> float:
    """Q(s, a) <- Q(s, a) + alpha (r + discount max over a' of Q(s', a') - Q(s, a)), in place.

    The discount is gamma, or 0 where the episode terminated.

    Returns:
        The temporal-difference error.
    """
    target = reward + (discount * q_values[next_state].max() if discount else 0.0)
    td_error = target - q_values[state, action]
    q_values[state, action] += learning_rate * td_error
    return float(td_error)
