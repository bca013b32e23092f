"""Games played by ale-py's `AtariVectorEnv`: emulation and preprocessing in C++ threads."""

from __future__ import annotations

from typing import Any

import numpy as np
from ale_py.vector_env import AtariVectorEnv

from dqn_breakout import machine
from dqn_breakout.configurable import configurable
from dqn_breakout.environments.atari_games import (
    FRAME_SPEC,
    NO_LIMIT_ALE_FRAMES,
    OF_ENVIRONMENT,
    RESEED_PERIOD_ENV_STEPS,
    atari_spec,
    opening_noops,
    rom_id,
)
from dqn_breakout.environments.games import Games, GamesStep
from dqn_breakout.environments.python_games import PythonGames


@configurable(denylist=OF_ENVIRONMENT)
def vector_games(
    *,
    game: str,
    batch_size: int,
    frame_skip: int,
    noop_max: int,
    sticky_action_probability: float,
    max_episode_steps: int,
    render_mode: str | None = None,
) -> Games:
    """`VectorGames`; where a screen is to be shown, which they have not, `PythonGames`.

    Raises:
        UserError: There is no such game, or no window can be opened.
    """
    rules: dict[str, Any] = {
        "frame_skip": frame_skip,
        "noop_max": noop_max,
        "sticky_action_probability": sticky_action_probability,
        "max_episode_steps": max_episode_steps,
    }
    if render_mode is not None:
        return PythonGames(game=game, batch_size=batch_size, render_mode=render_mode, **rules)
    return VectorGames(game=game, batch_size=batch_size, **rules)


class VectorGames(Games):
    """A batch of games in one C++ vector environment; the fast way.

    Frames equal those of `PythonGames` to the last bit (`tests/environments/test_games.py`).
    """

    reseed_period_env_steps = RESEED_PERIOD_ENV_STEPS

    def __init__(
        self,
        *,
        game: str,
        batch_size: int,
        frame_skip: int,
        noop_max: int,
        sticky_action_probability: float,
        max_episode_steps: int,
    ):
        """See `create_environment` for the arguments.

        Raises:
            UserError: There is no such game.
        """
        noop_max = opening_noops(game, noop_max)
        # Clipping, life loss and FIRE are the rules' business (GamesEnvironment), and so is the
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
            max_num_frames_per_episode=NO_LIMIT_ALE_FRAMES,
            stack_num=1,
            use_fire_reset=False,
            reward_clipping=False,
        )
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
