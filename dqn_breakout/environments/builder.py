"""Builds the environment that gin describes: games, rules, frame stack, TFPyEnvironment."""

from __future__ import annotations

from typing import Any

import gin
from tf_agents.environments.tf_py_environment import TFPyEnvironment

from dqn_breakout.configurable import (
    Builder,
    Fraction,
    NonNegativeInt,
    PositiveInt,
    configurable,
    one_of,
    require,
)
from dqn_breakout.environments import reference_scores
from dqn_breakout.environments.atari_environment import AtariEnvironment
from dqn_breakout.environments.frame_stack import FrameStack4
from dqn_breakout.environments.spec import EnvironmentSpec

# The Atari 2600's NTSC picture rate.
_ALE_FRAMES_PER_SECOND = 60
# Above any machine's means, below what the emulator's 32-bit counters hold.
_MOST_ENVIRONMENTS = 10_000
_MOST_ALE_FRAMES = 2**31 - 1
_RENDER_MODES = (None, "rgb_array", "human")


@configurable(denylist=["max_ale_frames"])
def create_environment(
    seed: int,
    stream: str,
    *,
    games: Builder = gin.REQUIRED,
    game: str = gin.REQUIRED,
    num_environments: PositiveInt = gin.REQUIRED,
    frame_skip: PositiveInt = gin.REQUIRED,
    noop_max: NonNegativeInt = gin.REQUIRED,
    sticky_action_probability: Fraction = gin.REQUIRED,
    max_episode_steps: PositiveInt = gin.REQUIRED,
    terminal_on_life_loss: bool = gin.REQUIRED,
    fire_on_reset: bool = gin.REQUIRED,
    render_mode: str | None = None,
    max_ale_frames: int | None = None,
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
        max_ale_frames: Where given, the limit of a game in place of `max_episode_steps`.

    Raises:
        UserError: A value is out of range or of the wrong kind, or there is no such game.
    """
    name = "create_environment"
    if max_ale_frames is not None:
        max_episode_steps = max(1, max_ale_frames // frame_skip)
    for parameter, value, most in (
        ("num_environments", num_environments, _MOST_ENVIRONMENTS),
        ("noop_max", noop_max, _MOST_ALE_FRAMES),
        ("max_episode_steps", max_episode_steps * frame_skip, _MOST_ALE_FRAMES),
    ):
        fits = value <= most
        require(fits, f"{name}.{parameter}", f"is too large: at most {most:,} are possible.")
    one_of(f"{name}.render_mode", render_mode, _RENDER_MODES)
    rules = {
        "frame_skip": frame_skip,
        "noop_max": noop_max,
        "sticky_action_probability": sticky_action_probability,
        "max_episode_steps": max_episode_steps,
    }
    atari = games(game=game, batch_size=num_environments, render_mode=render_mode, **rules)
    # A score is a full game's either way; these decide when FIRE is pressed.
    presses = {"terminal_on_life_loss": terminal_on_life_loss, "fire_on_reset": fire_on_reset}
    spec = _spec(game, atari.action_meanings, frame_skip, {**rules, **presses})
    return TFPyEnvironment(FrameStack4(AtariEnvironment(atari, spec, seed, stream, **presses)))


def _spec(
    game: str, action_names: tuple[str, ...], frame_skip: int, rules: dict[str, Any]
) -> EnvironmentSpec:
    return EnvironmentSpec(
        name=game,
        action_names=action_names,
        stacked=True,
        frame_skip=frame_skip,
        steps_per_second=_ALE_FRAMES_PER_SECOND / frame_skip,
        random_and_human=reference_scores.random_and_human(game),
        rules=rules,
    )
