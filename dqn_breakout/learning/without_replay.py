"""What the kinds of learning that keep no replay share: games stepped from Python."""

from __future__ import annotations

from typing import Any

import numpy as np
from tf_agents.environments.tf_py_environment import TFPyEnvironment

from dqn_breakout import seeding
from dqn_breakout.collection.metrics import CollectionMetrics
from dqn_breakout.collection.player import Player
from dqn_breakout.runs.stateful import Stateful, Variables


class WithoutReplay:
    """A `Learning` but for its `turn` and `metric_names`, which a subclass gives."""

    rows = None
    random_fill_env_steps = 0

    def __init__(
        self, environment: TFPyEnvironment, agent: Any, metrics: CollectionMetrics, seed: int
    ):
        """Takes the games, whoever acts and is trained, what is to observe them, the run's seed."""
        self._agent = agent
        self._metrics = metrics
        self._player = Player(environment, metrics)
        self._exploration_key = seeding.stream_key(seed, "collection/exploration")
        self.parts: dict[str, Stateful] = {
            "network": Variables(agent.network_variables()),
            "learner": Variables(agent.state_variables()),
            "metrics": Variables(metrics.variables()),
            "environment": self._player,
        }

    def _exploration(self) -> np.random.Generator:
        """Of the turn that begins here: numbered by its step, so that nothing need be saved."""
        return np.random.default_rng([self._exploration_key, self.env_steps])

    @property
    def env_steps(self) -> int:
        """Environment steps so far."""
        return self._metrics.env_steps

    def status(self) -> dict[str, Any]:
        """Train steps so far."""
        return {"train_steps": int(self._agent.train_step_counter.numpy())}

    def plan(self) -> dict[str, str]:
        """Nothing that a person need know beforehand."""
        return {}

    def result(self) -> str:
        """Nothing that fits a screen: a network."""
        return ""

    def flops_per_env_step(self) -> None:
        """Unknown: what a step costs is the environment's."""

    def close(self) -> None:
        """Ends the games."""
        self._player.close()
