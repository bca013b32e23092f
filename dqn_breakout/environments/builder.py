"""Builds the environment that gin describes: games, rules, frame stack, TFPyEnvironment."""

from __future__ import annotations

import gin
from tf_agents.environments.tf_py_environment import TFPyEnvironment

from dqn_breakout import errors, limits
from dqn_breakout.environments.atari_environment import AtariEnvironment
from dqn_breakout.environments.frame_stack import FrameStack4
from dqn_breakout.environments.games import GamesBuilder
from dqn_breakout.errors import UserError

# Above any machine's means, below what the emulator's 32-bit counters hold.
_MOST_ENVIRONMENTS = 10_000
_MOST_ALE_FRAMES = 2**31 - 1
_RENDER_MODES = (None, "rgb_array", "human")


@gin.configurable
def create_environment(
    seed: int,
    stream: str,
    *,
    games: GamesBuilder = gin.REQUIRED,
    game: str = gin.REQUIRED,
    num_environments: int = gin.REQUIRED,
    frame_skip: int = gin.REQUIRED,
    noop_max: int = gin.REQUIRED,
    sticky_action_probability: float = gin.REQUIRED,
    max_episode_steps: int = gin.REQUIRED,
    terminal_on_life_loss: bool = gin.REQUIRED,
    fire_on_reset: bool = gin.REQUIRED,
    render_mode: str | None = None,
) -> TFPyEnvironment:
    """Builds a `TFPyEnvironment` of preprocessed, stacked Atari games.

    Observations are uint8 `(B, 84, 84, 4)`, rewards unclipped, episodes full games. Evaluation
    calls this too and passes what its protocol fixes; gin gives the rest.

    Args:
        seed: The run's seed.
        stream: The random stream that game seeds come from.
        games: `@vector_games` (C++ threads) or `@python_games` (gymnasium, one by one).
        game: The game's name as in gymnasium's id `ALE/<game>-v5`.
        num_environments: How many games run side by side.
        frame_skip: ALE frames per environment step. Skipping happens here alone: the emulator
            itself runs with frameskip 1.
        noop_max: At most so many no-op ALE frames open a game.
        sticky_action_probability: Chance that an ALE frame repeats the action before.
        max_episode_steps: Environment steps after which a game is truncated.
        terminal_on_life_loss: Whether a lost life ends bootstrapping (discount 0).
        fire_on_reset: Whether FIRE is pressed after a start and after such a lost life.
        render_mode: None, "rgb_array" or "human".

    Raises:
        UserError: A value is out of range or of the wrong kind, or there is no such game.
    """
    name = "create_environment"
    _check_games(games)
    limits.positive_int(f"{name}.num_environments", num_environments)
    limits.require(
        num_environments <= _MOST_ENVIRONMENTS,
        f"{name}.num_environments",
        f"must be at most {_MOST_ENVIRONMENTS:,}, but is {errors.shown(num_environments)}.",
    )
    limits.positive_int(f"{name}.frame_skip", frame_skip)
    limits.non_negative_int(f"{name}.noop_max", noop_max)
    limits.require(
        noop_max < _MOST_ALE_FRAMES,
        f"{name}.noop_max",
        f"must be below {_MOST_ALE_FRAMES:,}, but is {errors.shown(noop_max)}.",
    )
    limits.fraction(f"{name}.sticky_action_probability", sticky_action_probability)
    limits.positive_int(f"{name}.max_episode_steps", max_episode_steps)
    limits.require(
        max_episode_steps * frame_skip <= _MOST_ALE_FRAMES,
        f"{name}.max_episode_steps",
        f"is {errors.shown(max_episode_steps)} and frame_skip is {errors.shown(frame_skip)}: a "
        f"game would last over {_MOST_ALE_FRAMES:,} ALE frames, more than the emulator counts; "
        "lower them.",
    )
    limits.boolean(f"{name}.terminal_on_life_loss", terminal_on_life_loss)
    limits.boolean(f"{name}.fire_on_reset", fire_on_reset)
    limits.one_of(f"{name}.render_mode", render_mode, _RENDER_MODES)
    environment = AtariEnvironment(
        games(
            game=game,
            batch_size=num_environments,
            frame_skip=frame_skip,
            noop_max=noop_max,
            sticky_action_probability=sticky_action_probability,
            max_episode_steps=max_episode_steps,
            render_mode=render_mode,
        ),
        seed,
        stream,
        terminal_on_life_loss=terminal_on_life_loss,
        fire_on_reset=fire_on_reset,
    )
    return TFPyEnvironment(FrameStack4(environment))


def _check_games(games: object) -> None:
    """Refuses what cannot make games, above all a name without the `@` before it."""
    name = "create_environment.games"
    choices = "write @vector_games or @python_games"
    if isinstance(games, str):
        meant = f"write @{games}" if games in ("vector_games", "python_games") else choices
        raise UserError(f"{name} is the text {errors.shown(games)}; {meant}, without quotes.")
    limits.require(callable(games), name, f"is {errors.shown(games)}; {choices}.")
