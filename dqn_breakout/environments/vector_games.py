"""Games played by ale-py's `AtariVectorEnv`: emulation and preprocessing in C++ threads."""

from __future__ import annotations

import numpy as np
from ale_py.vector_env import AtariVectorEnv

from dqn_breakout import machine
from dqn_breakout.configurable import configurable
from dqn_breakout.environments.atari_games import rom_id
from dqn_breakout.environments.games import Games, GamesStep
from dqn_breakout.errors import UserError

_NO_LIMIT = 2**31 - 1


@configurable(name="vector_games")
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
        """See `Games` for the arguments.

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
            # ale-py's own choice counts the machine's processors, whichever of them may be used.
            num_threads=min(batch_size, machine.usable_cores()),
            frameskip=frame_skip,
            # ale-py draws from [0, noop_max).
            noop_max=noop_max + 1 if noop_max else 0,
            repeat_action_probability=sticky_action_probability,
            # Counted here: where ale-py itself cuts a game off, its last frame is out of date.
            max_num_frames_per_episode=_NO_LIMIT,
            stack_num=1,
            use_fire_reset=False,
            reward_clipping=False,
        )
        self.batch_size = batch_size
        self.frame_shape = (84, 84)
        self.action_meanings = tuple(action.name for action in self._games.ale.get_action_set())

        self._max_episode_steps = max_episode_steps
        self._steps = np.zeros(batch_size, np.int64)
        self._terminated = np.zeros(batch_size, bool)
        self._truncated = np.zeros(batch_size, bool)

    def reset(self, games: np.ndarray, seeds: np.ndarray) -> GamesStep:
        """See `Games.reset`."""
        named = np.zeros(self.batch_size, dtype=bool)
        named[games] = True
        frames, lives = self._start(named, np.asarray(seeds, np.int64))
        self._steps[named] = 0
        self._terminated = self._terminated & ~named
        self._truncated = self._truncated & ~named
        nothing = np.zeros(self.batch_size, np.float32)
        return GamesStep(frames, nothing, self._terminated, self._truncated, lives)

    def step(self, actions: np.ndarray) -> GamesStep:
        """See `Games.step`."""
        starting = self._terminated | self._truncated
        cut_off = self._truncated
        stacks, scores, terminated, _, info = self._games.step(np.asarray(actions, np.int32))
        frames, lives = stacks[:, 0], info["lives"]
        rewards = scores.astype(np.float32)
        if cut_off.any():
            # ale-py restarts only the games that it saw end; these it has just played on.
            frames, lives = self._start(cut_off, None)
            rewards[cut_off] = 0
            terminated = terminated & ~cut_off
        self._steps = np.where(starting, 0, self._steps + 1)
        self._terminated = terminated
        self._truncated = ~terminated & (self._steps >= self._max_episode_steps)
        return GamesStep(frames, rewards, self._terminated, self._truncated, lives)

    def _start(self, which: np.ndarray, seeds: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Starts some games anew; returns the current frames and lives of all."""
        # The first start of all games takes no mask.
        options = None if which.all() else {"reset_mask": which}
        stacks, info = self._games.reset(seed=seeds, options=options)
        return stacks[:, 0], info["lives"]

    def close(self) -> None:
        """Stops the emulator's threads."""
        self._games.close()
