"""Games played by ale-py's `AtariVectorEnv`: emulation and preprocessing in C++ threads."""

from __future__ import annotations

import gin
import numpy as np
from ale_py.vector_env import AtariVectorEnv

from dqn_breakout.environments.games import Games, GamesStep, check_called_by_builder
from dqn_breakout.environments.roms import rom_id
from dqn_breakout.errors import UserError


class VectorGames(Games):
    """A batch of games in one C++ vector environment; the fast way.

    Frames equal those of `PythonGames` to the last bit (`tests/environments/test_games.py`).
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
        """See `GamesBuilder` for the arguments.

        Raises:
            UserError: There is no such game, or a picture was asked for.
        """
        if render_mode is not None:
            raise UserError(
                "@vector_games cannot show a screen; bind create_environment.games = @python_games."
            )
        # Clipping, life loss and FIRE are the rules' business (AtariEnvironment), and so is the
        # stack: the emulator gives single frames, unclipped rewards and lives, nothing else.
        self._games = AtariVectorEnv(
            rom_id(game),
            batch_size,
            frameskip=frame_skip,
            # ale-py draws from [0, noop_max).
            noop_max=noop_max + 1 if noop_max else 0,
            repeat_action_probability=sticky_action_probability,
            max_num_frames_per_episode=max_episode_steps * frame_skip,
            stack_num=1,
            use_fire_reset=False,
            reward_clipping=False,
        )
        self.batch_size = batch_size
        self.frame_shape = (84, 84)
        self.action_meanings = tuple(action.name for action in self._games.ale.get_action_set())

    def reset(self, games: np.ndarray, seeds: np.ndarray) -> GamesStep:
        """See `Games.reset`."""
        mask = np.zeros(self.batch_size, dtype=bool)
        mask[games] = True
        options = None if mask.all() else {"reset_mask": mask}
        frames, info = self._games.reset(seed=np.asarray(seeds, np.int64), options=options)
        nothing = np.zeros(self.batch_size, dtype=bool)
        return GamesStep(
            frames[:, 0], np.zeros(self.batch_size, np.float32), nothing, nothing, info["lives"]
        )

    def step(self, actions: np.ndarray) -> GamesStep:
        """See `Games.step`."""
        frames, rewards, terminated, truncated, info = self._games.step(
            np.asarray(actions, np.int32)
        )
        return GamesStep(
            frames[:, 0], rewards.astype(np.float32), terminated, truncated, info["lives"]
        )

    def close(self) -> None:
        """Stops the emulator's threads."""
        self._games.close()


@gin.configurable
def vector_games(**arguments) -> VectorGames:  # type: ignore[no-untyped-def]
    """Makes `VectorGames`; bind `create_environment.games = @vector_games`.

    Raises:
        UserError: See `check_called_by_builder` and `VectorGames`.
    """
    check_called_by_builder("vector_games", arguments)
    return VectorGames(**arguments)
