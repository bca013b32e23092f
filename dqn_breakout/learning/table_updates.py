"""How a table of action values is found: planned with the environment's model, or learnt.

The arithmetic is `tables`; here it meets games and the agent's `QTable`.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import gin
import numpy as np
from tf_agents.trajectories import time_step as ts

from dqn_breakout.configurable import Fraction, NonNegativeFloat, configurable, require
from dqn_breakout.environments.games_environment import GamesEnvironment
from dqn_breakout.learning import tables
from dqn_breakout.learning.online_learning import Update
from dqn_breakout.networks.q_table import QTable

_MOST_STATES_SHOWN = 64


class TableUpdate(Update):
    """What all of them share: a copy of the table that is taken and put back in each turn."""

    _q_values: np.ndarray

    def __init__(self, environment: GamesEnvironment, table: QTable, gamma: float):
        """Takes games with numbered states, their actions' values, and the discount factor."""
        self._table = table
        self._action_names = environment.spec.action_names
        self._gamma = gamma
        self._process: Any = None
        if (model := getattr(environment.games, "model", None)) is not None:
            self._process = tables.MarkovDecisionProcess.of_model(model)
            table.assign(np.where(self._process.possible, 0.0, -np.inf))

    def begin_turn(self) -> int:
        """Takes the table."""
        self._q_values = self._table.values()
        return 0

    def action_values(self, observations: np.ndarray) -> np.ndarray:
        """The rows of those states."""
        return self._q_values[observations]

    def end_turn(self) -> dict[str, float]:
        """Puts the table back."""
        self._table.assign(self._q_values)
        return {}

    def result(self) -> str:
        """What each state or its actions are worth, and its best action."""
        q_values = self._table.values()
        if len(q_values) > _MOST_STATES_SHOWN:
            return ""
        names, columns = self._shown(q_values)
        width = 2 + max(12, *map(len, names))
        lines = ["state" + "".join(name.rjust(width) for name in names) + "  best"]
        for state, (row, best) in enumerate(zip(columns, q_values.argmax(axis=1), strict=True)):
            cells = ("" if value == -np.inf else f"{value:.6f}" for value in row)
            texts = "".join(cell.rjust(width) for cell in cells)
            lines.append(f"{state:5}{texts}  {self._action_names[best]}")
        return "\n".join(lines)

    def _shown(self, q_values: np.ndarray) -> tuple[Sequence[str], np.ndarray]:
        """The names of the columns, and their values `(S, columns)`."""
        return self._action_names, q_values


class Planning(TableUpdate):
    """A sweep over all states at each turn's start, from the environment's own model."""

    metric_names = ("largest_change",)

    def __init__(
        self, environment: GamesEnvironment, table: QTable, *, gamma: Fraction = gin.REQUIRED
    ):
        """See `TableUpdate`.

        Raises:
            UserError: The environment has no model.
        """
        super().__init__(environment, table, gamma)
        require(
            self._process is not None,
            "create_environment.id",
            f"is {environment.spec.name}, which has no model to plan with, as FrozenLake-v1, "
            "Taxi-v4 and ThreeStates-v0 have; learn by playing, with @TabularQLearning.",
        )

    @abc.abstractmethod
    def _sweep(self, q_values: np.ndarray) -> tuple[np.ndarray, float]:
        """The next table, and the largest change of a value."""

    def begin_turn(self) -> int:
        """The sweep."""
        self._q_values, self._change = self._sweep(self._table.values())
        return 1

    def end_turn(self) -> dict[str, float]:
        """The largest change of a value in the sweep."""
        return {**super().end_turn(), "largest_change": self._change}


@configurable
class ValueIteration(Planning):
    """Sweeps over the values of states (Sutton and Barto 2018, section 4.4)."""

    def _sweep(self, q_values: np.ndarray) -> tuple[np.ndarray, float]:
        before = q_values.max(axis=1)
        after = tables.value_iteration(self._process, self._gamma, before)
        # Best actions by this table are worth the next values: so it remembers them.
        table = self._process.action_values(before, self._gamma)
        return table, float(np.abs(after - before).max())

    def _shown(self, q_values: np.ndarray) -> tuple[Sequence[str], np.ndarray]:
        return ("value",), q_values.max(axis=1, keepdims=True)


@configurable
class QValueIteration(Planning):
    """Sweeps over the values of actions (Géron 2019, chapter 18, "Markov Decision Processes")."""

    def _sweep(self, q_values: np.ndarray) -> tuple[np.ndarray, float]:
        after = tables.q_value_iteration(self._process, self._gamma, q_values)
        possible = self._process.possible
        return after, float(np.abs(after[possible] - q_values[possible]).max())


@configurable
class TabularQLearning(TableUpdate):
    """Q-learning from each step (Watkins 1989; Sutton and Barto 2018, section 6.5)."""

    metric_names = ("td_error",)

    def __init__(
        self,
        environment: GamesEnvironment,
        table: QTable,
        *,
        gamma: Fraction = gin.REQUIRED,
        learning_rate: Fraction = gin.REQUIRED,
        learning_rate_decay: NonNegativeFloat = gin.REQUIRED,
    ):
        """See `TableUpdate`; alpha at environment step k is learning_rate / (1 + decay k)."""
        super().__init__(environment, table, gamma)
        self._learning_rate = learning_rate
        self._decay = learning_rate_decay
        self._errors: list[float] = []

    def learn(
        self, env_steps: int, time_step: ts.TimeStep, actions: np.ndarray, after: ts.TimeStep
    ) -> int:
        """An update for each game but those that only start anew."""
        rate = self._learning_rate / (1 + self._decay * env_steps)
        played = np.flatnonzero(~time_step.is_last())
        for place in played:
            error = tables.q_learning(
                self._q_values,
                int(time_step.observation[place]),
                int(actions[place]),
                float(after.reward[place]),
                int(after.observation[place]),
                self._gamma * float(after.discount[place]),
                rate,
            )
            self._errors.append(abs(error))
        return len(played)

    def end_turn(self) -> dict[str, float]:
        """The mean size of the errors."""
        errors, self._errors = self._errors, []
        return {**super().end_turn(), "td_error": float(np.mean(errors)) if errors else 0.0}
