"""Learning from whole episodes: play some to their end, then take one train step on all of them."""

from __future__ import annotations

from typing import Any

import gin
import numpy as np
import tensorflow as tf
from tf_agents.environments.tf_py_environment import TFPyEnvironment

from dqn_breakout import seeding
from dqn_breakout.agents.reinforce_agent import ReinforceAgent
from dqn_breakout.collection.metrics import CollectionMetrics
from dqn_breakout.collection.player import Player
from dqn_breakout.configurable import Fraction, configurable
from dqn_breakout.learning.learning import Turn
from dqn_breakout.runs.stateful import Stateful, Variables


def discounted_returns(rewards: np.ndarray, gamma: float) -> np.ndarray:
    """What followed each step: G(t) = r(t) + gamma G(t + 1), of rewards `(T, B)`."""
    returns = np.zeros_like(rewards)
    following = np.zeros_like(rewards[0])
    for place in reversed(range(len(rewards))):
        following = rewards[place] + gamma * following
        returns[place] = following
    return returns


@configurable
class EpisodeLearning:
    """REINFORCE: each game of the batch is played once from its start to its end in a turn.

    Returns are discounted, then normalised over all steps of the turn (Géron 2019, chapter 18).
    """

    rows = None
    random_fill_env_steps = 0

    def __init__(
        self,
        environment: TFPyEnvironment,
        agent: ReinforceAgent,
        metrics: CollectionMetrics,
        seed: int,
        ignore_memory: bool,
        *,
        gamma: Fraction = gin.REQUIRED,
    ):
        """Takes games and whoever plays them.

        Args:
            environment: The environment to play; as many episodes a turn as it has games.
            agent: Acts, and is trained.
            metrics: Observe what is played.
            seed: The run's seed.
            ignore_memory: Not used: there is no replay.
            gamma: Discount factor.
        """
        del ignore_memory
        self.metric_names = agent.metric_names
        self._agent = agent
        self._gamma = gamma
        self._metrics = metrics
        self._player = Player(environment, metrics)
        self._probabilities = tf.function(agent.action_values, autograph=False)
        self._exploration_key = seeding.stream_key(seed, "collection/exploration")
        self.parts: dict[str, Stateful] = {
            "network": Variables(agent.network_variables()),
            "learner": Variables(agent.state_variables()),
            "metrics": Variables(metrics.variables()),
            "environment": self._player,
        }

    @property
    def env_steps(self) -> int:
        """Environment steps so far."""
        return self._metrics.env_steps

    def turn(self) -> Turn:
        """An episode of each game, and a train step on all of them."""
        # Numbered by the step that the turn begins with: nothing of it need be saved.
        rng = np.random.default_rng([self._exploration_key, self.env_steps])
        observations, actions, rewards, played = self._episodes(rng)
        returns = discounted_returns(rewards * played, self._gamma)[played]
        advantages = (returns - returns.mean()) / max(float(returns.std()), 1e-8)
        metrics = self._agent.train(
            tf.constant(observations[played]),
            tf.constant(actions[played]),
            tf.constant(advantages, tf.float32),
        )
        return Turn(self.env_steps, 1, metrics)

    def _episodes(self, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Observations, actions, rewards `(T, B, ...)`, and which of them belong to an episode."""
        self._player.start_anew()
        going = np.ones(self._player.environment.batch_size, bool)
        steps = []
        while going.any():
            observations = self._player.time_step.observation
            probabilities = self._probabilities(tf.constant(observations)).numpy()
            drawn = rng.random((len(going), 1)) > probabilities.cumsum(axis=1)
            actions = np.minimum(drawn.sum(axis=1), probabilities.shape[1] - 1).astype(np.int32)
            after = self._player.step(actions, counted=going)
            steps.append((observations, actions, after.reward, going.copy()))
            going &= ~after.is_last()
        self._player.end_turn()
        return tuple(np.stack(each) for each in zip(*steps, strict=True))

    def status(self) -> dict[str, Any]:
        """Train steps so far."""
        return {"train_steps": int(self._agent.train_step_counter.numpy())}

    def plan(self) -> dict[str, str]:
        """Nothing that a person need know beforehand."""
        return {}

    def result(self) -> str:
        """Nothing that fits a screen: the network."""
        return ""

    def flops_per_env_step(self) -> None:
        """Unknown: what a step costs is the environment's."""

    def close(self) -> None:
        """Ends the games."""
        self._player.close()
