"""A table of action values as a run: planned with the environment's model, or learnt by playing."""

from __future__ import annotations

from typing import Any

import gin
import numpy as np
import tensorflow as tf

from dqn_breakout.configurable import Fraction, NonNegativeFloat, configurable
from dqn_breakout.environments.games_environment import GamesEnvironment
from dqn_breakout.errors import UserError
from dqn_breakout.learning import tables
from dqn_breakout.learning.playing import Playing

_MOST_ROWS_SHOWN = 64


class TableLearning(Playing):
    """What tables share: the agent's `QTable`, and how it is shown in the end.

    Attributes:
        gamma: Discount factor.
    """

    def __init__(self, *arguments: Any, gamma: Fraction = gin.REQUIRED):
        """See `Playing`."""
        super().__init__(*arguments)
        self.gamma = gamma
        self._model = getattr(_games(self.player.environment), "model", None)

    def _process(self) -> tables.MarkovDecisionProcess:
        if self._model is None:
            raise UserError(
                f"{self.player.environment.spec.name} has no model to plan with, as FrozenLake-v1, "
                "Taxi-v4 and ThreeStates-v0 have: learn by playing, with @TabularQLearning."
            )
        return tables.MarkovDecisionProcess.of_model(self._model)

    def result(self) -> str:
        """The table and the best action of each state, where it fits a screen."""
        q_values = self.agent.q_network.values()
        if len(q_values) > _MOST_ROWS_SHOWN:
            return ""
        names = self.player.environment.spec.action_names
        width = max(12, *(len(name) + 2 for name in names))
        lines = ["state" + "".join(name.rjust(width) for name in names) + "   best"]
        for state, row in enumerate(q_values):
            cells = "".join(("" if v == -np.inf else f"{v:.6f}").rjust(width) for v in row)
            lines.append(f"{state:5}{cells}   {names[row.argmax()]}")
        return "\n".join(lines)


def _games(environment: GamesEnvironment) -> Any:
    return environment.games


class Planning(TableLearning):
    """A sweep over all states each turn, then some steps by the policy that it gives."""

    metric_names = ("largest_change",)

    def __init__(self, *arguments: Any):
        """See `Playing`.

        Raises:
            UserError: The environment has no model.
        """
        super().__init__(*arguments)
        self.process = self._process()

    def learn(self, rng: np.random.Generator) -> dict[str, tf.Tensor]:
        """A sweep, and some steps that show how good its policy is."""
        before = self.agent.q_network.values()
        after = self.sweep(np.where(self.process.possible, before, -np.inf))
        self.agent.q_network.assign(after)
        super().learn(rng)
        change = np.abs(after - before)[self.process.possible].max()
        return {"largest_change": tf.constant(change)}

    def sweep(self, q_values: np.ndarray) -> np.ndarray:
        """The next table, float64 `(S, A)`."""
        raise NotImplementedError
