"""One evaluation game step by step, with what the agent thought: for videos and windows."""

from __future__ import annotations

import contextlib
import enum
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tf_agents.environments.tf_py_environment import TFPyEnvironment
from tf_agents.trajectories import time_step as ts

from dqn_breakout.environments.builder import create_environment
from dqn_breakout.evaluation.evaluate import EXPLORATION_STREAM, Agent, epsilon_of
from dqn_breakout.evaluation.protocols import EvaluationProtocol


class Choice(enum.Enum):
    """Why an action was taken, in the words of the video."""

    BEST = "best action"
    RANDOM = "random"  # Exploration, where it fell on another action than the best.
    SERVE = "serve by the rules"  # The environment pressed it, whatever the agent wanted.


class ShownStep(NamedTuple):
    """A moment of the game and the action taken then.

    Attributes:
        screen: Before the action, RGB uint8 `(height, width, 3)`; nothing in a window's game.
        action_values: float32 `(actions,)`.
        action: What was pressed; None in the moment after the game's end.
        choice: Why; None in the moment after the game's end.
        score: Unclipped return so far.
        env_steps: Environment steps so far.
        lives: Lives left; 0 in games that have none.
        truncated: Whether the step limit has just cut the game off.
    """

    screen: np.ndarray
    action_values: np.ndarray
    action: int | None
    choice: Choice | None
    score: float
    env_steps: int
    lives: int
    truncated: bool


@contextlib.contextmanager
def shown_environment(
    protocol: EvaluationProtocol, seed: int, render_mode: str
) -> Iterator[TFPyEnvironment]:
    """One game that can be seen: "rgb_array" for screens, "human" for a window.

    Raises:
        UserError: The game does not start, or no window can be opened.
    """
    environment = create_environment(
        seed, "evaluation", num_environments=1, render_mode=render_mode, **protocol.rules
    )
    try:
        yield environment
    finally:
        environment.close()


def shown_game(
    environment: TFPyEnvironment, agent: Agent, protocol: EvaluationProtocol, seed: int
) -> Iterator[ShownStep]:
    """Plays a full game: the moment before each action, and the one after the end.

    The first game that `evaluate_agent` plays with that seed in one environment of `@python_games`.
    """
    games = environment.pyenv
    policy = agent.evaluation_policy(epsilon_of(agent, protocol), seed, EXPLORATION_STREAM)

    @tf.function(autograph=False)
    def act(time_step: ts.TimeStep) -> tuple[tf.Tensor, tf.Tensor]:
        return agent.action_values(time_step.observation)[0], policy.action(time_step).action

    time_step = games.reset()
    score, env_steps = 0.0, 0
    while True:
        screen, lives = games.render(), int(games.get_info().get("lives", [0])[0])
        values, wanted = (each.numpy() for each in act(time_step))
        if time_step.is_last()[0]:
            break
        time_step = games.step(wanted)
        # The rules may have pressed another.
        pressed = int(games.get_info().get("actions", wanted)[0])
        choice = Choice.BEST if pressed == values.argmax() else Choice.RANDOM
        if pressed != wanted[0]:
            choice = Choice.SERVE
        yield ShownStep(screen, values, pressed, choice, score, env_steps, lives, False)
        score += float(time_step.reward[0])
        env_steps += 1
    truncated = bool(time_step.discount[0] != 0)
    yield ShownStep(screen, values, None, None, score, env_steps, lives, truncated)


def watch_game(agent: Agent, protocol: EvaluationProtocol, seed: int) -> ShownStep:
    """Plays a full game in a window at its own pace; gives the moment after its end.

    Raises:
        UserError: The game does not start.
    """
    due = time.monotonic()
    with shown_environment(protocol, seed, "human") as environment:
        for step in shown_game(environment, agent, protocol, seed):
            last = step
            # A late step is not made up for: the game slows down, it never jumps.
            due = max(due + 1 / environment.pyenv.spec.steps_per_second, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))
    return last
