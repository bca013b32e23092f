"""Games played one by one through gymnasium and its `AtariPreprocessing`; the readable way."""

from __future__ import annotations

import gymnasium
import numpy as np
from gymnasium.wrappers import AtariPreprocessing

from dqn_breakout.configurable import configurable
from dqn_breakout.environments.atari_games import (
    FRAME_SPEC,
    NO_LIMIT_ALE_FRAMES,
    atari_spec,
    opening_noops,
)
from dqn_breakout.environments.games import Games, GamesStep
from dqn_breakout.errors import UserError


@configurable(name="python_games")
class PythonGames(Games):
    """One gymnasium environment per game, preprocessed as in Mnih et al. 2015 (Methods).

    `ALE/<game>-v5` runs with frameskip 1; `AtariPreprocessing` skips frames, takes the maximum of
    the last two, and makes them gray, 84x84.
    """

    def __init__(
        self,
        *,
        game: str,
        batch_size: int,
        frame_skip: int,
        noop_max: int,
        sticky_action_probability: float,
        max_episode_steps: int,
        render_mode: str | None = None,
    ):
        """See `create_environment` for the arguments.

        Raises:
            UserError: There is no such game, or no window can be opened.
        """
        noop_max = opening_noops(game, noop_max)
        try:
            self._environments = [
                AtariPreprocessing(
                    gymnasium.make(
                        f"ALE/{game}-v5",
                        frameskip=1,
                        repeat_action_probability=sticky_action_probability,
                        max_num_frames_per_episode=NO_LIMIT_ALE_FRAMES,
                        render_mode=render_mode,
                        disable_env_checker=True,
                    ),
                    noop_max=noop_max,
                    frame_skip=frame_skip,
                )
                for _ in range(batch_size)
            ]
        except (gymnasium.error.Error, RuntimeError) as error:
            raise UserError(f"The game {game} did not start: {error}") from error
        self.batch_size = batch_size
        self.observation_spec = FRAME_SPEC
        self.spec = atari_spec(
            game,
            frame_skip=frame_skip,
            noop_max=noop_max,
            sticky_action_probability=sticky_action_probability,
            max_episode_steps=max_episode_steps,
        )
        self._max_episode_steps = max_episode_steps
        self._steps = np.zeros(batch_size, np.int64)
        self._over = np.zeros(batch_size, bool)
        self._current = GamesStep(
            observations=np.zeros((batch_size, *FRAME_SPEC.shape), np.uint8),
            rewards=np.zeros(batch_size, np.float32),
            terminated=np.zeros(batch_size, bool),
            truncated=np.zeros(batch_size, bool),
            lives=np.zeros(batch_size, np.int32),
        )

    def reset(self, games: np.ndarray, seeds: np.ndarray) -> GamesStep:
        """See `Games.reset`."""
        step = GamesStep(*(values.copy() for values in self._current))
        for index, seed in zip(games, seeds, strict=True):
            self._start(step, int(index), int(seed))
        return self._give(step)

    def step(self, actions: np.ndarray) -> GamesStep:
        """See `Games.step`."""
        step = GamesStep(*(values.copy() for values in self._current))
        for index, action in enumerate(actions):
            if self._over[index]:
                self._start(step, index, None)
                continue
            frame, reward, terminated, _, info = self._environments[index].step(int(action))
            self._steps[index] += 1
            step.observations[index] = frame
            step.rewards[index] = float(reward)
            step.terminated[index] = terminated
            step.truncated[index] = not terminated and self._steps[index] >= self._max_episode_steps
            step.lives[index] = info["lives"]
        return self._give(step)

    def render(self) -> np.ndarray:
        """The screen of game 0, RGB uint8 `(210, 160, 3)` in most games."""
        return np.asarray(self._environments[0].render())

    def close(self) -> None:
        """Closes the emulators and their windows."""
        for environment in self._environments:
            environment.close()

    def _start(self, step: GamesStep, index: int, seed: int | None) -> None:
        frame, info = self._environments[index].reset(seed=seed)
        self._steps[index] = 0
        step.observations[index] = frame
        step.rewards[index] = 0
        step.terminated[index] = False
        step.truncated[index] = False
        step.lives[index] = info["lives"]

    def _give(self, step: GamesStep) -> GamesStep:
        self._over = step.terminated | step.truncated
        self._current = step
        return step
