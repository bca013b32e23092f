"""What a batch of running games gives and takes: the seam between an emulator and the rules.

`AtariEnvironment` plays any `Games`; `PythonGames` and `VectorGames` are two that yield the same
frames. Games restart themselves: the step after a game's end ignores its action and gives the first
frame of the next game, so that a batch can always be stepped as a whole.
"""

from __future__ import annotations

import abc
from typing import NamedTuple

import numpy as np


class GamesStep(NamedTuple):
    """What one environment step of `B` games gives.

    Attributes:
        frames: The newest preprocessed frame of each game, uint8 `(B, height, width)`.
        rewards: Unclipped score gained in this step, float32 `(B,)`; 0 in the first step of a game.
        terminated: Whether the game is over, bool `(B,)`.
        truncated: Whether the step limit cut the game off, bool `(B,)`; never with `terminated`.
        lives: Lives left, int32 `(B,)`; always 0 in games that have none.
    """

    frames: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    lives: np.ndarray


class Games(abc.ABC):
    """`B` games of one kind, stepped together.

    What `create_environment.games` is bound to is called with these, by name:

    - `game`: the game's name as in gymnasium's id `ALE/<game>-v5`;
    - `batch_size`: how many games run side by side;
    - `frame_skip`: ALE frames per environment step, each with the same action;
    - `noop_max`: at most so many no-op ALE frames open a game, 0 for none. gymnasium draws from 1
      to this number, ale-py's vector environment from 0;
    - `sticky_action_probability`: chance that an ALE frame repeats the action before;
    - `max_episode_steps`: environment steps after which a game is truncated;
    - `render_mode`: None, "rgb_array" or "human"; not every kind of games can render.

    Attributes:
        batch_size: `B`, the number of games.
        frame_shape: `(height, width)` of a preprocessed frame.
        action_meanings: The name of each action, such as `["NOOP", "FIRE", "RIGHT", "LEFT"]`.
    """

    batch_size: int
    frame_shape: tuple[int, int]
    action_meanings: tuple[str, ...]

    @abc.abstractmethod
    def reset(self, games: np.ndarray, seeds: np.ndarray) -> GamesStep:
        """Starts some games anew, each from its own seed.

        From then on such a game depends on its seed and on the actions alone, through any number
        of ends and restarts.

        Args:
            games: Which games to start, int `(K,)`, ascending. The first call names all of them.
            seeds: One seed per named game, int `(K,)`, each in [0, 2**31).

        Returns:
            The current step of all `B` games; games that were not named are as they were.
        """

    @abc.abstractmethod
    def step(self, actions: np.ndarray) -> GamesStep:
        """Steps every game; a game that had ended starts anew instead and ignores its action.

        Args:
            actions: int `(B,)`, each an index into `action_meanings`.
        """

    def render(self) -> np.ndarray:
        """The emulator's screen of game 0, RGB uint8 `(height, width, 3)`.

        Raises:
            NotImplementedError: These games have no screen to show.
        """
        raise NotImplementedError(f"{type(self).__name__} has no screen to show")

    def close(self) -> None:
        """Lets go of emulators and windows."""
