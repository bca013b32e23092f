"""Learning while playing, step by step, without replay: tables, and rules that learn nothing."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import gin
import numpy as np
import tensorflow as tf
from tf_agents.environments.tf_py_environment import TFPyEnvironment
from tf_agents.trajectories import time_step as ts

from dqn_breakout.collection.metrics import CollectionMetrics
from dqn_breakout.configurable import Builder, PositiveInt, configurable
from dqn_breakout.learning.learning import Turn
from dqn_breakout.learning.without_replay import WithoutReplay


class Update(abc.ABC):
    """What is learnt; built with the games and the agent's network, which holds all of it.

    Attributes:
        metric_names: What `end_turn` gives.
    """

    metric_names: Sequence[str] = ()

    def begin_turn(self) -> int:
        """Before a turn's first step; returns how many updates it made."""
        return 0

    @abc.abstractmethod
    def action_values(self, observations: np.ndarray) -> np.ndarray:
        """What each action is worth by now, `(B, actions)`."""

    def learn(
        self, env_steps: int, time_step: ts.TimeStep, actions: np.ndarray, after: ts.TimeStep
    ) -> int:
        """After a step of every game; returns how many updates it made.

        Args:
            env_steps: Environment steps before it.
            time_step: Where the games stood, arrays `(B, ...)`.
            actions: What was done, int `(B,)`.
            after: Where the games stand now.
        """
        return 0

    def end_turn(self) -> dict[str, float]:
        """After a turn's last step; gives what the turn is watched by."""
        return {}

    def result(self) -> str:
        """What was found, for a person to read; nothing where that would be too long."""
        return ""


@configurable
class NoUpdate(Update):
    """Learns nothing, for rules written by hand."""

    def __init__(self, environment: Any, network: Any):
        del environment
        self._values = tf.function(lambda observations: network(observations)[0], autograph=False)

    def action_values(self, observations: np.ndarray) -> np.ndarray:
        """The network's."""
        return np.asarray(self._values(tf.constant(observations)))


@configurable
class OnlineLearning(WithoutReplay):
    """Plays by an agent's action values, and updates them after each step."""

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
        """Learns by an `update` such as `@TabularQLearning`; a turn's steps are those of all games.

        Raises:
            UserError: The update does not suit the environment.
        """
        del ignore_memory
        super().__init__(environment, agent, metrics, seed)
        self._update: Update = update(environment.pyenv, agent.q_network)
        self.metric_names = self._update.metric_names
        self._steps_per_turn = -(-env_steps_per_turn // environment.batch_size)

    def turn(self) -> Turn:
        """Plays some steps, and learns from each."""
        env_steps, epsilon, rng = self.env_steps, self._agent.epsilon, self._exploration()
        updates = self._update.begin_turn()
        for _ in range(self._steps_per_turn):
            time_step = self._player.time_step
            actions = self._chosen(time_step.observation, epsilon, rng)
            after = self._player.step(actions)
            updates += self._update.learn(env_steps, time_step, actions, after)
            env_steps += int(np.sum(~time_step.is_last()))
        self._player.end_turn()
        metrics = {name: tf.constant(value) for name, value in self._update.end_turn().items()}
        self._agent.train_step_counter.assign_add(updates)
        return Turn(self.env_steps, updates, metrics)

    def _chosen(
        self, observations: np.ndarray, epsilon: float, rng: np.random.Generator
    ) -> np.ndarray:
        """Epsilon-greedy actions `(B,)`, random ones among those that are possible."""
        q_values = self._update.action_values(observations)
        possible = q_values > -np.inf
        at_random = np.where(possible, rng.random(q_values.shape), -1.0).argmax(axis=1)
        explores = rng.random(len(q_values)) < epsilon
        return np.where(explores, at_random, q_values.argmax(axis=1))

    def status(self) -> dict[str, Any]:
        """Updates so far, and epsilon."""
        return {**super().status(), "epsilon": self._agent.epsilon}

    def result(self) -> str:
        """What the update found."""
        return self._update.result()
