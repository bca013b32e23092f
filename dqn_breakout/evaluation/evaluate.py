"""Plays full games under a protocol and says what came of them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf
from tf_agents.environments.tf_py_environment import TFPyEnvironment
from tf_agents.policies.tf_policy import TFPolicy

from dqn_breakout import machine
from dqn_breakout.agents.exploration import RandomPolicy
from dqn_breakout.configurable import PositiveInt, check
from dqn_breakout.environments import reference_scores
from dqn_breakout.environments.builder import create_environment
from dqn_breakout.environments.spec import EnvironmentSpec
from dqn_breakout.evaluation import scores
from dqn_breakout.evaluation.protocols import EvaluationProtocol
from dqn_breakout.networks.weights import weights_sha256

EXPLORATION_STREAM = "evaluation/exploration"
EachStep = Callable[[], None]


class Agent(Protocol):
    """What evaluation asks of an agent; `final_epsilon` is what it explores with in the end."""

    final_epsilon: float

    def evaluation_policy(self, epsilon: float, seed: int, stream: str) -> TFPolicy:
        """Acts greedily, or with probability epsilon by the random stream of that name."""

    def action_values(self, observation: tf.Tensor) -> tf.Tensor:
        """What each action is worth, float32 `(B, actions)`."""

    def network_variables(self) -> Mapping[str, tf.Variable]:
        """What a checkpoint's network holds, by name."""


class Game(NamedTuple):
    """What a full game came to: unclipped score, length, whether the step limit cut it off."""

    score: float
    env_steps: int
    truncated: bool


def play_games(
    environment: TFPyEnvironment,
    policy: TFPolicy,
    games: int,
    progress: Callable[[int], None] | None = None,
    each_step: EachStep | None = None,
) -> list[Game]:
    """Plays exactly `games` full games, without favour to short ones.

    Whoever takes the first n games to end among several environments takes too many short ones.
    Here each environment of the batch owes its share, the first ones one game more where shares are
    unequal, and what it plays after them is ignored.

    Args:
        environment: Gives full games with unclipped rewards; it is reset here.
        policy: Chooses the actions.
        games: How many games, 1 or more.
        progress: Called with the number of finished games whenever it has grown.
        each_step: Called after every step; what it raises ends the games.

    Returns:
        The games, first those that each of the `B` environments played first: number `i` is number
        `i // B` of environment `i % B`.
    """
    batch_size = environment.batch_size
    owed = [len(range(place, games, batch_size)) for place in range(batch_size)]
    played: list[list[Game]] = [[] for _ in owed]
    score, env_steps, finished = np.zeros(batch_size), np.zeros(batch_size, np.int64), 0
    act = tf.function(policy.action, autograph=False)
    # Stepped in Python: TensorFlow never lets go of an environment that a graph has stepped, and
    # training evaluates many times.
    time_step = environment.pyenv.reset()
    while finished < games:
        time_step = environment.pyenv.step(act(time_step).action.numpy())
        if each_step is not None:
            each_step()
        first = time_step.is_first()
        score = np.where(first, 0.0, score + time_step.reward)
        env_steps = np.where(first, 0, env_steps + 1)
        for place in np.flatnonzero(time_step.is_last()):
            if len(played[place]) < owed[place]:
                truncated = bool(time_step.discount[place] != 0)
                played[place].append(Game(float(score[place]), int(env_steps[place]), truncated))
                finished += 1
                if progress is not None:
                    progress(finished)
    rounds = itertools.zip_longest(*played)
    return [game for each_round in rounds for game in each_round if game is not None]


def epsilon_of(agent: Agent | None, protocol: EvaluationProtocol) -> float:
    """The chance of a uniform random action; 1 where nobody but chance plays."""
    if agent is None:
        return 1.0
    return agent.final_epsilon if protocol.epsilon is None else protocol.epsilon


def evaluate_agent(
    agent: Agent | None,
    protocol: EvaluationProtocol,
    games: int,
    seed: int,
    num_environments: int,
    progress: Callable[[int], None] | None = None,
    each_step: EachStep | None = None,
) -> dict[str, Any]:
    """Scores an agent that acts epsilon-greedily, or a random player.

    The same arguments give the same scores; another `num_environments` draws other random numbers
    and so plays other games.

    Args:
        agent: Who plays what gin's environment shows; None for uniform random actions.
        protocol: The rules; what they leave open gin says.
        games: How many full games.
        seed: Of the streams "evaluation" (games) and "evaluation/exploration".
        num_environments: How many games run side by side; never more than `games`.
        progress: See `play_games`, also for `each_step`.
        each_step: Called after every step.

    Returns:
        What `eval.py --output` writes, fit for JSON, without the checkpoint's counts.

    Raises:
        UserError: A number is out of range.
    """
    check("The number of evaluation games", games, PositiveInt)
    check("The number of evaluation environments", num_environments, PositiveInt)
    side_by_side = min(num_environments, games)
    # Before the games: what fails now loses no scores.
    origin = {"git_revision": machine.git_revision(), "versions": machine.versions()}
    epsilon = epsilon_of(agent, protocol)
    environment = create_environment(
        seed, "evaluation", num_environments=side_by_side, **protocol.rules
    )
    try:
        if agent is None:
            specs = environment.time_step_spec(), environment.action_spec()
            policy = RandomPolicy(*specs, seed, EXPLORATION_STREAM)
        else:
            policy = agent.evaluation_policy(epsilon, seed, EXPLORATION_STREAM)
        played = play_games(environment, policy, games, progress, each_step)
    finally:
        environment.close()
    result = {
        "player": "random" if agent is None else "network",
        "games": games,
        "seed": seed,
        "num_environments": side_by_side,
        **_described(environment.pyenv.spec, protocol, epsilon, played),
        **origin,
    }
    if agent is not None:
        result["weights_sha256"] = weights_sha256(agent.network_variables().values())
    return result


def _described(
    spec: EnvironmentSpec, protocol: EvaluationProtocol, epsilon: float, played: list[Game]
) -> dict[str, Any]:
    """What games came to, and by which rules they were played."""
    returns = [game.score for game in played]
    summary, known = scores.summarise(returns), spec.random_and_human
    return {
        "game": spec.name,
        "protocol": {
            "name": protocol.name,
            "epsilon": epsilon,
            "source": protocol.source,
            **spec.rules,
            "full_games": True,
            "clipped_rewards": False,
        },
        **summary,
        "human_normalised": known and scores.human_normalised(summary["mean"], known),
        "random_and_human_scores": known and list(known),
        "human_scores_source": known and reference_scores.SOURCE,
        "games_cut_off": sum(game.truncated for game in played),
        "returns": returns,
        "lengths_env_steps": [game.env_steps for game in played],
    }
