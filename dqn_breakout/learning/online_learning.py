"""Learning while playing, step by step, without replay: tables, and rules that learn nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import gin
import numpy as np
import tensorflow as tf
from tf_agents.environments.tf_py_environment import TFPyEnvironment
from tf_agents.trajectories import time_step as ts

from dqn_breakout import seeding
from dqn_breakout.collection.metrics import CollectionMetrics
from dqn_breakout.collection.player import Player
from dqn_breakout.configurable import Builder, PositiveInt, configurable
from dqn_breakout.learning.learning import Turn
from dqn_breakout.runs.stateful import Stateful, Variables


class Update(Protocol):
    """What is learnt; `OnlineLearning.update` is called with the games and the agent's network.

    All that it goes on from lies in the network.

    Attributes:
        metric_names: What `end_turn` gives.
    """

    metric_names: Sequence[str]

    def begin_turn(self) -> int:
        """Before a turn's first step; returns how many updates it made."""

    def learn(
        self, env_steps: int, time_step: ts.TimeStep, actions: np.ndarray, after: ts.TimeStep
    ) -> int:
        """After a step of every game, arrays `(B, ...)`, the first of which is number `env_steps`.

        Returns:
            How many updates it made.
        """

    def action_values(self, observations: np.ndarray) -> np.ndarray:
        """What each action is worth by now, `(B, actions)`."""

    def end_turn(self) -> dict[str, float]:
        """After a turn's last step; gives what the turn is watched by."""

    def result(self) -> str:
        """What was found, for a person to read; nothing where that would be too long."""


@configurable
class OnlineLearning:
    """Plays by an agent's action values, and updates them after each step.

    Attributes:
        update: How.
    """

    rows = None
    random_fill_env_steps = 0

    def __init__(
        self,
        environment: TFPyEnvironment,
        agent: Any,
        metrics: CollectionMetrics,
        seed: int,
        ignore_memory: bool,
        *,
        update: Builder = gin.REQUIRED,
        env_steps_per_turn: PositiveInt = gin.REQUIRED,
    ):
        """Takes games and whoever plays them.

        Args:
            environment: The environment to play.
            agent: Acts epsilon-greedily on its `q_network`.
            metrics: Observe what is played.
            seed: The run's seed.
            ignore_memory: Not used: there is no replay.
            update: Such as `@TabularQLearning`.
            env_steps_per_turn: Environment steps of a turn, over all games side by side.

        Raises:
            UserError: The update does not suit the environment.
        """
        del ignore_memory
        self.update: Update = update(environment.pyenv, agent.q_network)
        self.metric_names = tuple(self.update.metric_names)
        self._agent = agent
        self._metrics = metrics
        self._player = Player(environment, metrics)
        self._steps_per_turn = -(-env_steps_per_turn // environment.batch_size)
        self._exploration_key = seeding.stream_key(seed, "collection/exploration")
        self._train_steps = tf.Variable(0, dtype=tf.int64, name="train_step")
        self.parts: dict[str, Stateful] = {
            "network": Variables(agent.network_variables()),
            "learner": Variables({"train_step": self._train_steps}),
            "metrics": Variables(metrics.variables()),
            "environment": self._player,
        }

    @property
    def env_steps(self) -> int:
        """Environment steps so far."""
        return self._metrics.env_steps

    def turn(self) -> Turn:
        """Plays some steps, and learns from each."""
        env_steps = self.env_steps
        # Numbered by the step that the turn begins with: nothing of it need be saved.
        rng = np.random.default_rng([self._exploration_key, env_steps])
        epsilon = self._agent.epsilon
        updates = self.update.begin_turn()
        for _ in range(self._steps_per_turn):
            time_step = self._player.time_step
            actions = self._chosen(time_step.observation, epsilon, rng)
            after = self._player.step(actions)
            updates += self.update.learn(env_steps, time_step, actions, after)
            env_steps += int(np.sum(~time_step.is_last()))
        self._player.end_turn()
        metrics = {name: tf.constant(value) for name, value in self.update.end_turn().items()}
        self._train_steps.assign_add(updates)
        return Turn(self.env_steps, updates, metrics)

    def _chosen(
        self, observations: np.ndarray, epsilon: float, rng: np.random.Generator
    ) -> np.ndarray:
        """Epsilon-greedy actions `(B,)`, random ones among those that are possible."""
        q_values = self.update.action_values(observations)
        possible = q_values > -np.inf
        at_random = np.where(possible, rng.random(q_values.shape), -1.0).argmax(axis=1)
        explores = rng.random(len(q_values)) < epsilon
        return np.where(explores, at_random, q_values.argmax(axis=1))

    def status(self) -> dict[str, Any]:
        """Updates so far, and epsilon."""
        return {"train_steps": int(self._train_steps.numpy()), "epsilon": self._agent.epsilon}

    def plan(self) -> dict[str, str]:
        """Nothing that a person need know beforehand."""
        return {}

    def result(self) -> str:
        """What the update found."""
        return self.update.result()

    def flops_per_env_step(self) -> None:
        """Unknown: what a step costs is the environment's."""

    def close(self) -> None:
        """Ends the games."""
        self._player.close()


@configurable
class NoUpdate:
    """Learns nothing, for rules written by hand."""

    metric_names = ()

    def __init__(self, environment: Any, network: Any):
        del environment
        self._values = tf.function(lambda observations: network(observations)[0], autograph=False)

    def begin_turn(self) -> int:
        """Nothing."""
        return 0

    def learn(self, *step: Any) -> int:
        """Nothing."""
        del step
        return 0

    def action_values(self, observations: np.ndarray) -> np.ndarray:
        """The network's."""
        return np.asarray(self._values(tf.constant(observations)))

    def end_turn(self) -> dict[str, float]:
        """Nothing."""
        return {}

    def result(self) -> str:
        """Nothing."""
        return ""
