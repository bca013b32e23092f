"""How a table of action values is found: planned with the environment's model, or learnt.

The arithmetic is `tables`; here it meets games and the agent's `QTable`.
"""

from __future__ import annotations

from typing import Any

import gin
import numpy as np
from tf_agents.trajectories import time_step as ts

from dqn_breakout.configurable import Fraction, NonNegativeFloat, configurable, require
from dqn_breakout.environments.games_environment import GamesEnvironment
from dqn_breakout.learning import tables
from dqn_breakout.networks.q_table import QTable

_MOST_STATES_SHOWN = 64


class TableUpdate:
    """What all of them share; see `online_learning.Update`."""

    metric_names: tuple[str, ...] = ()

    def __init__(self, environment: GamesEnvironment, table: QTable, gamma: float):
        """Takes games with numbered states and the table of what their actions are worth."""
        self._table = table
        self._action_names = environment.spec.action_names
        self._gamma = gamma
        self._process: Any = None
        if (model := getattr(environment.games, "model", None)) is not None:
            self._process = tables.MarkovDecisionProcess.of_model(model)
            table.assign(np.where(self._process.possible, 0.0, -np.inf))
        self._q_values = table.values()

    def begin_turn(self) -> int:
        """Takes the table in hand."""
        self._q_values = self._table.values()
        return 0

    def action_values(self, observations: np.ndarray) -> np.ndarray:
        """The rows of those states."""
        return self._q_values[observations]

    def learn(
        self, env_steps: int, time_step: ts.TimeStep, actions: np.ndarray, after: ts.TimeStep
    ) -> int:
        """Nothing, where it is planned."""
        del env_steps, time_step, actions, after
        return 0

    def end_turn(self) -> dict[str, float]:
        """Puts the table back."""
        self._table.assign(self._q_values)
        return {}

    def result(self) -> str:
        """The table and the best action of each state."""
        q_values = self._table.values()
        if len(q_values) > _MOST_STATES_SHOWN:
            return ""
        width = 2 + max(12, *map(len, self._action_names))
        lines = ["state" + "".join(name.rjust(width) for name in self._action_names) + "  best"]
        for state, row in enumerate(q_values):
            cells = ("" if value == -np.inf else f"{value:.6f}" for value in row)
            texts = "".join(cell.rjust(width) for cell in cells)
            lines.append(f"{state:5}{texts}  {self._action_names[row.argmax()]}")
        return "\n".join(lines)


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
        self._change = 0.0

    def end_turn(self) -> dict[str, float]:
        """Puts the table back; gives the largest change of a value in the sweep."""
        super().end_turn()
        return {"largest_change": self._change}


@configurable
class ValueIteration(Planning):
    """Sweeps over the values of states (Sutton and Barto 2018, section 4.4)."""

    def begin_turn(self) -> int:
        """The next values, and what actions are worth by them."""
        super().begin_turn()
        state_values = self._q_values.max(axis=1)
        after = tables.value_iteration(self._process, self._gamma, state_values)
        self._change = float(np.abs(after - state_values).max())
        # Its best actions are worth the next values: so the table remembers them.
        self._q_values = self._process.action_values(state_values, self._gamma)
        return 1

    def result(self) -> str:
        """The value and the best action of each state."""
        q_values = self._table.values()
        if len(q_values) > _MOST_STATES_SHOWN:
            return ""
        best = (self._action_names[row.argmax()] for row in q_values)
        rows = zip(q_values.max(axis=1), best, strict=True)
        lines = [f"{state:5}{value:14.6f}  {name}" for state, (value, name) in enumerate(rows)]
        return "\n".join(["state         value  best", *lines])


@configurable
class QValueIteration(Planning):
    """Sweeps over the values of actions (Géron 2019, chapter 18, "Markov Decision Processes")."""

    def begin_turn(self) -> int:
        """The next action values."""
        super().begin_turn()
        before, possible = self._q_values, self._process.possible
        self._q_values = tables.q_value_iteration(self._process, self._gamma, before)
        self._change = float(np.abs(self._q_values[possible] - before[possible]).max())
        return 1


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
        """See `TableUpdate`.

        Args:
            environment: Games with numbered states.
            table: What their actions are worth.
            gamma: Discount factor.
            learning_rate: alpha at the first environment step.
            learning_rate_decay: d in alpha / (1 + d k) at environment step k.
        """
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
        """Puts the table back; gives the mean size of the errors."""
        super().end_turn()
        errors, self._errors = self._errors, []
        return {"td_error": float(np.mean(errors)) if errors else 0.0}
