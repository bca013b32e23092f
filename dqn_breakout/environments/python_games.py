"""Games played one by one through gymnasium and its `AtariPreprocessing`; the readable way."""

from __future__ import annotations

import gymnasium
from gymnasium.wrappers import AtariPreprocessing

from dqn_breakout.configurable import configurable
from dqn_breakout.environments.atari_games import (
    FRAME_SPEC,
    NO_LIMIT_ALE_FRAMES,
    OF_ENVIRONMENT,
    RESEED_PERIOD_ENV_STEPS,
    atari_spec,
    opening_noops,
)
from dqn_breakout.environments.gymnasium_games import GymnasiumGames
from dqn_breakout.errors import UserError


@configurable(name="python_games", denylist=OF_ENVIRONMENT)
class PythonGames(GymnasiumGames):
    """One gymnasium environment per game, preprocessed as in Mnih et al. 2015 (Methods).

    `ALE/<game>-v5` runs with frameskip 1; `AtariPreprocessing` skips frames, takes the maximum of
    the last two, and makes them gray, 84x84.
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
        render_mode: str | None = None,
    ):
        """See `create_environment` for the arguments.

        Raises:
            UserError: There is no such game, or no window can be opened.
        """
        noop_max = opening_noops(game, noop_max)
        try:
            environments = [
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
        spec = atari_spec(
            game,
            frame_skip=frame_skip,
            noop_max=noop_max,
            sticky_action_probability=sticky_action_probability,
            max_episode_steps=max_episode_steps,
        )
        super().__init__(environments, spec, FRAME_SPEC, max_episode_steps)
