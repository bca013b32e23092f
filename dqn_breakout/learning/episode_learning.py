"""Learning from whole episodes: play some to their end, then take one train step on all of them."""

from __future__ import annotations

import gin
import numpy as np
import tensorflow as tf
from tf_agents.environments.tf_py_environment import TFPyEnvironment

from dqn_breakout.agents.reinforce_agent import ReinforceAgent
from dqn_breakout.collection.metrics import CollectionMetrics
from dqn_breakout.configurable import Fraction, configurable
from dqn_breakout.learning.learning import Turn
from dqn_breakout.learning.without_replay import WithoutReplay


def discounted_returns(rewards: np.ndarray, gamma: float) -> np.ndarray:
    """What followed each step: G(t) = r(t) + gamma G(t + 1), of rewards `(T, B)`."""
    returns = np.zeros_like(rewards)
    following = np.zeros_like(rewards[0])
    for place in reversed(range(len(rewards))):
        returns[place] = following = rewards[place] + gamma * following
    return returns


@configurable
class EpisodeLearning(WithoutReplay):
    """REINFORCE: each game of the batch is played once from its start to its end in a turn.

    Returns are discounted, then normalised over all steps of the turn (Géron 2019, chapter 18).
    """

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
        """Learns with the discount factor gamma; as many episodes a turn as there are games."""
        del ignore_memory
        super().__init__(environment, agent, metrics, seed)
        self.metric_names = agent.metric_names
        self._gamma = gamma
        self._probabilities = tf.function(agent.action_values, autograph=False)

    def turn(self) -> Turn:
        """An episode of each game, and a train step on all of them."""
        observations, actions, rewards, played = self._episodes(self._exploration())
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
            steps.append((observations, actions, after.reward, going))
            going = going & ~after.is_last()
        self._player.end_turn()
        return tuple(np.stack(each) for each in zip(*steps, strict=True))
