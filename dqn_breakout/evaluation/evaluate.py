"""Plays full games under a protocol and says what came of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tf_agents.environments.tf_py_environment import TFPyEnvironment
from tf_agents.policies.tf_policy import TFPolicy
from tf_agents.trajectories import time_step as ts

from dqn_breakout import config, limits, machine
from dqn_breakout.agents.exploration import EpsilonGreedyPolicy, RandomPolicy
from dqn_breakout.environments.builder import create_environment
from dqn_breakout.evaluation import scores
from dqn_breakout.evaluation.protocols import EvaluationProtocol
from dqn_breakout.networks.fingerprint import weights_sha256

Progress = Callable[[int], None]
# Called after every step; what it raises ends the games.
EachStep = Callable[[], None]


class GameScores(NamedTuple):
    """What full games came to, in the order described at `play_games`.

    Attributes:
        returns: Unclipped score of each game, float64 `(games,)`.
        lengths: Environment steps of each game, int64 `(games,)`.
        truncated: Whether the step limit cut the game off, bool `(games,)`.
    """

    returns: np.ndarray
    lengths: np.ndarray
    truncated: np.ndarray


class _Tally:
    """Adds up rewards to full games and stops each environment at its quota.

    Whoever takes the first n games to end among several environments takes too many short ones.
    Here each environment owes a fixed number of games, and what it plays after them is ignored.
    """

    def __init__(self, num_environments: int, games: int):
        self._quotas = np.full(num_environments, games // num_environments)
        self._quotas[: games % num_environments] += 1
        self._return = np.zeros(num_environments)
        self._length = np.zeros(num_environments, np.int64)
        self._finished: list[list[tuple[float, int, bool]]] = [[] for _ in self._quotas]

    @property
    def finished(self) -> int:
        """Games that count and are over."""
        return sum(map(len, self._finished))

    @property
    def complete(self) -> bool:
        """Whether all games that count are over."""
        return self.finished == self._quotas.sum()

    def add(self, time_step: ts.TimeStep) -> None:
        """Takes in the step that follows that of the last call; arrays `(B,)`."""
        first = time_step.is_first()
        self._return = np.where(first, 0.0, self._return + time_step.reward)
        self._length = np.where(first, 0, self._length + 1)
        for index in np.flatnonzero(time_step.is_last()):
            if len(self._finished[index]) < self._quotas[index]:
                truncated = time_step.discount[index] != 0
                self._finished[index].append((self._return[index], self._length[index], truncated))

    def scores(self) -> GameScores:
        """The games, first those that each environment played first."""
        rounds = range(max(self._quotas))
        games = [each[k] for k in rounds for each in self._finished if k < len(each)]
        returns, lengths, truncated = zip(*games, strict=True)
        return GameScores(
            np.array(returns, np.float64), np.array(lengths, np.int64), np.array(truncated, bool)
        )


def play_games(
    environment: TFPyEnvironment,
    policy: TFPolicy,
    games: int,
    progress: Progress | None = None,
    each_step: EachStep | None = None,
) -> GameScores:
    """Plays exactly `games` full games, without favour to short ones.

    Each environment of the batch plays its share, the first ones one game more where shares are
    unequal. Game `i` of the result is number `i // B` of environment `i % B`.

    Args:
        environment: Gives full games with unclipped rewards; it is reset here.
        policy: Chooses the actions.
        games: How many games, 1 or more.
        progress: Called with the number of finished games whenever it has grown.
        each_step: Called after every step; what it raises ends the games.
    """
    tally = _Tally(environment.batch_size, games)
    act = tf.function(policy.action, autograph=False)
    # Stepped in Python: TensorFlow never lets go of an environment that a graph has stepped, and
    # training evaluates many times.
    py_environment = environment.pyenv
    time_step = py_environment.reset()
    reported = 0
    while not tally.complete:
        time_step = py_environment.step(act(time_step).action.numpy())
        tally.add(time_step)
        if each_step is not None:
            each_step()
        if progress is not None and tally.finished > reported:
            reported = tally.finished
            progress(reported)
    return tally.scores()


def evaluate_network(
    q_network: Any,
    protocol: EvaluationProtocol,
    games: int,
    seed: int,
    num_environments: int,
    progress: Progress | None = None,
    each_step: EachStep | None = None,
) -> dict[str, Any]:
    """Scores a Q-network that acts epsilon-greedily.

    The same arguments give the same scores; another `num_environments` draws other random numbers
    and so plays other games.

    Args:
        q_network: Gives action values, float32 `(B, actions)`, for what gin's environment shows.
        protocol: The rules; what they leave open gin says.
        games: How many full games.
        seed: Of the streams "evaluation" (games) and "evaluation/exploration".
        num_environments: How many games run side by side; never more than `games`.
        progress: Called with the number of finished games.
        each_step: Called after every step; what it raises ends the games.

    Returns:
        What `eval.py --output` writes, without the checkpoint's counts: `returns`,
        `lengths_env_steps`, `mean`, `median`, `std`, `ci95`, `human_normalised`, `protocol` and the
        rest, fit for JSON.

    Raises:
        UserError: A number is out of range.
    """

    def policy(environment: TFPyEnvironment) -> TFPolicy:
        return EpsilonGreedyPolicy(
            environment.time_step_spec(),
            environment.action_spec(),
            q_network,
            lambda: tf.constant(protocol.epsilon, tf.float32),
            seed,
            "evaluation/exploration",
        )

    result = _evaluate(
        "network", policy, protocol, games, seed, num_environments, progress, each_step
    )
    return {**result, "weights_sha256": weights_sha256(q_network.variables)}


def evaluate_random_player(
    protocol: EvaluationProtocol,
    games: int,
    seed: int,
    num_environments: int,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Scores uniform random actions under a protocol; see `evaluate_network`.

    The result's protocol has epsilon 1.
    """

    def policy(environment: TFPyEnvironment) -> TFPolicy:
        return RandomPolicy(
            environment.time_step_spec(), environment.action_spec(), seed, "evaluation/exploration"
        )

    protocol = dataclasses.replace(protocol, epsilon=1.0)
    return _evaluate("random", policy, protocol, games, seed, num_environments, progress, None)


def create_evaluation_environment(
    protocol: EvaluationProtocol, seed: int, stream: str, num_environments: int, **arguments: Any
) -> TFPyEnvironment:
    """The environment that gin describes, under a protocol's rules.

    Args:
        protocol: The rules.
        seed: The seed of the games.
        stream: The random stream of the games.
        num_environments: How many games run side by side.
        **arguments: More of `create_environment`'s, such as `games` and `render_mode`.

    Raises:
        UserError: A value is out of range, or the configuration lacks one.
    """
    parameter = "create_environment.frame_skip"
    frame_skip = limits.positive_int(parameter, config.value(parameter))
    with config.building():
        return create_environment(
            seed,
            stream,
            num_environments=num_environments,
            noop_max=protocol.noop_max,
            sticky_action_probability=protocol.sticky_action_probability,
            max_episode_steps=protocol.max_episode_steps(frame_skip),
            **arguments,
        )


def _evaluate(
    player: str,
    create_policy: Callable[[TFPyEnvironment], TFPolicy],
    protocol: EvaluationProtocol,
    games: int,
    seed: int,
    num_environments: int,
    progress: Progress | None,
    each_step: EachStep | None,
) -> dict[str, Any]:
    limits.positive_int("The number of evaluation games", games)
    limits.positive_int("The number of evaluation environments", num_environments)
    num_environments = min(num_environments, games)
    environment = create_evaluation_environment(protocol, seed, "evaluation", num_environments)
    try:
        played = play_games(environment, create_policy(environment), games, progress, each_step)
    finally:
        environment.close()
    game = config.value("create_environment.game")
    frame_skip = config.value("create_environment.frame_skip")
    returns = played.returns.tolist()
    summary = scores.summarise(returns)
    known = scores.random_and_human(game)
    return {
        "game": game,
        "player": player,
        "protocol": {
            **dataclasses.asdict(protocol),
            "frame_skip": frame_skip,
            "max_episode_steps": protocol.max_episode_steps(frame_skip),
            "fire_on_reset": config.value("create_environment.fire_on_reset"),
            # Scores no life apart: it only has FIRE pressed after a lost life, as in training.
            "terminal_on_life_loss": config.value("create_environment.terminal_on_life_loss"),
            "full_games": True,
            "clipped_rewards": False,
        },
        "games": games,
        "seed": seed,
        "num_environments": num_environments,
        "mean": summary.mean,
        "median": summary.median,
        "std": summary.std,
        "ci95": None if summary.ci95 is None else list(summary.ci95),
        "human_normalised": scores.human_normalised(game, summary.mean),
        "random_and_human_scores": None if known is None else list(known),
        "human_scores_source": None if known is None else scores.HUMAN_SCORES_SOURCE,
        "games_cut_off": int(played.truncated.sum()),
        "returns": returns,
        "lengths_env_steps": played.lengths.tolist(),
        "git_revision": machine.git_revision(),
        "versions": machine.versions(),
    }
