"""Catch, played like Breakout: a ball falls, a paddle moves, FIRE serves, three balls to lose."""

from __future__ import annotations

from typing import Any

import gin
import numpy as np
from tf_agents.specs import array_spec

from dqn_breakout.environments.games import Games, GamesStep
from dqn_breakout.environments.spec import EnvironmentSpec

ROWS, COLUMNS = 8, 5
POINTS = 4
LIVES = 3
_ACTIONS = ("NOOP", "FIRE", "RIGHT", "LEFT")
_MOVES = (0, 0, 1, -1)


class _Catch:
    """One game. A caught ball is followed by the next; after a lost one, FIRE serves."""

    def __init__(self, max_episode_steps: int):
        self._max_episode_steps = max_episode_steps
        self.over = True

    def seed(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def start(self) -> None:
        self.lives = LIVES
        self.over = False
        self.truncated = False
        self._steps = 0
        self._paddle = int(self._rng.integers(COLUMNS))
        self._ball: tuple[int, int] | None = None

    def step(self, action: int) -> float:
        """Returns the points gained."""
        points = 0
        self._steps += 1
        self._paddle = min(max(self._paddle + _MOVES[action], 0), COLUMNS - 1)
        if self._ball is None:
            if _ACTIONS[action] == "FIRE":
                self._serve()
        else:
            row, column = self._ball
            self._ball = (row + 1, column)
            if row + 1 == ROWS - 1:
                if column == self._paddle:
                    points = POINTS
                    self._serve()
                else:
                    self.lives -= 1
                    self._ball = None
        self.truncated = self.lives > 0 and self._steps >= self._max_episode_steps
        self.over = self.lives == 0 or self.truncated
        return points

    def frame(self) -> np.ndarray:
        frame = np.zeros((ROWS, COLUMNS), np.uint8)
        frame[-1, self._paddle] = 255
        if self._ball is not None:
            frame[self._ball] = 255
        return frame

    def _serve(self) -> None:
        self._ball = (0, int(self._rng.integers(COLUMNS)))


@gin.configurable("catch_games")
class CatchGames(Games):
    """A batch of Catch; only the size of the batch and the step limit mean anything to it."""

    def __init__(self, *, batch_size: int, max_episode_steps: int, **others: Any):
        del others
        self.batch_size = batch_size
        self.observation_spec = array_spec.BoundedArraySpec((ROWS, COLUMNS), np.uint8, 0, 255)
        self.spec = EnvironmentSpec(
            "Catch",
            _ACTIONS,
            1,
            15.0,
            None,
            ("training",),
            {"max_episode_steps": max_episode_steps},
        )
        self._games = [_Catch(max_episode_steps) for _ in range(batch_size)]

    def reset(self, games: np.ndarray, seeds: np.ndarray) -> GamesStep:
        for place, seed in zip(games, seeds, strict=True):
            self._games[place].seed(int(seed))
            self._games[place].start()
        return self._give(np.zeros(self.batch_size, np.float32))

    def step(self, actions: np.ndarray) -> GamesStep:
        rewards = np.zeros(self.batch_size, np.float32)
        for place, (game, action) in enumerate(zip(self._games, actions, strict=True)):
            if game.over:
                game.start()
            else:
                rewards[place] = game.step(int(action))
        return self._give(rewards)

    def _give(self, rewards: np.ndarray) -> GamesStep:
        return GamesStep(
            observations=np.stack([game.frame() for game in self._games]),
            rewards=rewards,
            terminated=np.array([game.lives == 0 for game in self._games]),
            truncated=np.array([game.truncated for game in self._games]),
            lives=np.array([game.lives for game in self._games], np.int32),
        )
