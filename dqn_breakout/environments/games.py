"""What a batch of running games gives and takes: the seam between what is played and the rules.

`GamesEnvironment` plays any `Games`; `PythonGames` and `VectorGames` are two that yield the same
frames. Games restart themselves: the step after a game's end ignores its action and gives the first
frame of the next game, so that a batch can always be stepped as a whole.
"""

from __future__ import annotations

import abc
from typing import NamedTuple

import numpy as np
from tf_agents.specs import array_spec

from dqn_breakout.environments.spec import EnvironmentSpec


class GamesStep(NamedTuple):
    """What one environment step of `B` games gives.

    Attributes:
        observations: The newest observation of each game, such as its preprocessed frame, uint8
            `(B, height, width)`.
        rewards: Unclipped score gained in this step, float32 `(B,)`; 0 in the first step of a game.
        terminated: Whether the game is over, bool `(B,)`.
        truncated: Whether the step limit cut the game off, bool `(B,)`; never with `terminated`.
        lives: Lives left, int32 `(B,)`; always 0 in games that have none.
    """

    observations: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    lives: np.ndarray


class Games(abc.ABC):
    """`B` games of one kind, stepped together.

    What `create_environment.games` is bound to is called by name with `batch_size`, how many games
    run side by side; `render_mode`, None, "rgb_array" or "human"; `max_episode_steps`, the
    environment steps after which a game is truncated; and with those of `create_environment`'s
    other arguments that its own signature has and gin binds.

    Attributes:
        batch_size: `B`, the number of games.
        observation_spec: One game's observation.
        spec: What others ask of the games; `create_environment` adds what it knows better.
        reseed_period_env_steps: A game is seeded anew, at its end, once so many environment steps
            have passed since the last seeding: that bounds what a restore must play again.
    """

    batch_size: int
    observation_spec: array_spec.BoundedArraySpec
    spec: EnvironmentSpec
    reseed_period_env_steps: int = 1

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
            actions: int `(B,)`, each an index into `spec.action_names`.
        """

    def render(self) -> np.ndarray:
        """The screen of game 0, RGB uint8 `(height, width, 3)`.

        Raises:
            NotImplementedError: These games have no screen to show.
        """
        raise NotImplementedError(f"{type(self).__name__} has no screen to show")

    def close(self) -> None:
        """Lets go of emulators and windows."""
