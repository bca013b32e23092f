"""One evaluation game step by step, with what the network thought: for videos and windows."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tf_agents.trajectories import time_step as ts

from dqn_breakout.agents.exploration import EpsilonGreedyPolicy
from dqn_breakout.environments.python_games import python_games
from dqn_breakout.evaluation.evaluate import create_evaluation_environment
from dqn_breakout.evaluation.protocols import EvaluationProtocol


class Choice(enum.Enum):
    """Why an action was taken."""

    BEST = "best"  # It has the highest value.
    RANDOM = "random"  # Exploration, where it fell on another action than the best.
    SERVE = "serve"  # The environment pressed FIRE, whatever the agent wanted.


class ShownStep(NamedTuple):
    """A moment of the game and the action taken then.

    Attributes:
        screen: The emulator's picture before the action, RGB uint8 `(height, width, 3)`; of no
            size where the game is shown in a window instead.
        action_values: float32 `(actions,)`.
        action: What was pressed; None in the moment after the game's end.
        choice: Why; None in the moment after the game's end.
        score: Unclipped return so far.
        env_steps: Environment steps so far.
        lives: Lives left.
        truncated: Whether the step limit has just cut the game off.
    """

    screen: np.ndarray
    action_values: np.ndarray
    action: int | None
    choice: Choice | None
    score: float
    env_steps: int
    lives: int
    truncated: bool = False


class ShownGame:
    """A full game under a protocol, played once by iterating over it.

    It is the first game that `evaluate_network` plays with the same seed in one environment, where
    the configuration has it played by `@python_games`.

    Attributes:
        action_names: Names of the actions, such as `("NOOP", "FIRE", "RIGHT", "LEFT")`.
        score: Unclipped return at the moment that was given last.
        env_steps: Environment steps taken by then.
        over: Whether that moment is the game's end.
    """

    def __init__(
        self, q_network: Any, protocol: EvaluationProtocol, seed: int, render_mode: str
    ) -> None:
        """Starts the emulator.

        Args:
            q_network: Gives action values, float32 `(B, actions)`.
            protocol: The rules.
            seed: Of the game and the random actions.
            render_mode: "rgb_array" for screens, "human" for a window.

        Raises:
            UserError: A value is out of range, or no window can be opened.
        """
        self._environment = create_evaluation_environment(
            protocol, seed, "evaluation", 1, games=python_games, render_mode=render_mode
        )
        self.score = 0.0
        self.env_steps = 0
        self.over = False
        self._shows_screens = render_mode == "rgb_array"
        self.action_names: tuple[str, ...] = self._rules.games.action_meanings
        policy = EpsilonGreedyPolicy(
            self._environment.time_step_spec(),
            self._environment.action_spec(),
            q_network,
            lambda: tf.constant(protocol.epsilon, tf.float32),
            seed,
            "evaluation/exploration",
        )

        @tf.function(autograph=False)
        def act(time_step: ts.TimeStep) -> tuple[tf.Tensor, tf.Tensor]:
            action_values, _ = q_network(time_step.observation, step_type=time_step.step_type)
            return action_values[0], policy.action(time_step).action

        self._act = act

    def __iter__(self) -> Iterator[ShownStep]:
        time_step = self._environment.reset()
        while not self.over:
            moment = self._moment()
            values, action = self._act(time_step)
            time_step = self._environment.step(action)
            pressed = int(self._rules.get_state()["actions"][-1])
            yield moment._replace(
                action_values=values.numpy(),
                action=pressed,
                choice=_choice(int(action[0]), pressed, int(tf.argmax(values))),
            )
            self.score += float(time_step.reward[0])
            self.env_steps += 1
            self.over = bool(time_step.is_last()[0])
        values, _ = self._act(time_step)
        yield self._moment()._replace(
            action_values=values.numpy(), truncated=bool(time_step.discount[0] != 0)
        )

    def close(self) -> None:
        """Stops the emulator and closes its window."""
        self._environment.close()

    @property
    def _rules(self) -> Any:
        return self._environment.pyenv.wrapped_env()

    def _moment(self) -> ShownStep:
        screen = self._rules.render() if self._shows_screens else np.zeros((0, 0, 3), np.uint8)
        lives = int(self._rules.get_info()["lives"][0])
        nothing = np.zeros(0, np.float32)
        return ShownStep(screen, nothing, None, None, self.score, self.env_steps, lives)


def _choice(wanted: int, pressed: int, best: int) -> Choice:
    if pressed != wanted:
        return Choice.SERVE
    return Choice.BEST if wanted == best else Choice.RANDOM
