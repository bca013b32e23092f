"""Builds the environment that gin describes: games, rules, frame stack, TFPyEnvironment."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import gin
import numpy as np
from tf_agents.environments.tf_py_environment import TFPyEnvironment

from dqn_breakout.configurable import (
    Builder,
    Fraction,
    NonNegativeInt,
    PositiveInt,
    configurable,
    require,
)
from dqn_breakout.environments.frame_stack import STACK_FRAMES, FrameStack, FrameStack4
from dqn_breakout.environments.games_environment import GamesEnvironment

# Above any machine's means, below what 32-bit counters of emulators hold.
_MOST_ENVIRONMENTS = 10_000
_MOST_FRAMES = 2**31 - 1


@configurable(denylist=["max_ale_frames", "render_mode"])
def create_environment(
    seed: int,
    stream: str,
    *,
    games: Builder = gin.REQUIRED,
    num_environments: PositiveInt = gin.REQUIRED,
    max_episode_steps: PositiveInt = gin.REQUIRED,
    game: str | None = None,
    id: str | None = None,  # noqa: A002  (gymnasium's word for it)
    frame_skip: PositiveInt | None = None,
    noop_max: NonNegativeInt | None = None,
    sticky_action_probability: Fraction | None = None,
    terminal_on_life_loss: bool = gin.REQUIRED,
    fire_on_reset: bool = gin.REQUIRED,
    stack_frames: PositiveInt | None = None,
    render_mode: str | None = None,
    max_ale_frames: int | None = None,
) -> TFPyEnvironment:
    """Builds a `TFPyEnvironment` of games: Atari's, preprocessed and stacked, or any other `Games`.

    Rewards are unclipped, episodes full games; observations of Atari uint8 `(B, 84, 84, 4)`.
    Evaluation calls this too and passes what its protocol fixes; gin gives the rest.

    Args:
        seed: The run's seed.
        stream: The random stream that game seeds come from.
        games: Of Atari `@vector_games` (C++ threads) or `@python_games` (one by one);
            `@gymnasium_games`; or others.
        num_environments: How many games run side by side.
        max_episode_steps: Environment steps after which a game is truncated.
        game: The game's name as in gymnasium's id `ALE/<game>-v5`.
        id: gymnasium's id of another environment, such as `CartPole-v1`.
        frame_skip: ALE frames per environment step, each with the same action. Skipping happens
            here alone: the emulator itself runs with frameskip 1.
        noop_max: At most so many no-op ALE frames open a game, 0 for none, and none in a game that
            has no such action. gymnasium draws from 1 to this number, ale-py's vector environment
            from 0.
        sticky_action_probability: Chance that an ALE frame repeats the action before.
        terminal_on_life_loss: Whether a lost life ends bootstrapping (discount 0).
        fire_on_reset: Whether FIRE is pressed after a start and after such a lost life.
        stack_frames: How many of a game's newest frames make an observation; None where the games'
            observations are whole.
        render_mode: None, "rgb_array" or "human".
        max_ale_frames: Where given, the limit of a game in place of `max_episode_steps`.

    Raises:
        UserError: A value is out of range, of the wrong kind, missing or not for these games, or
            there is no such game.
    """
    if max_ale_frames is not None:
        max_episode_steps = max(1, max_ale_frames // (frame_skip or 1))
    of_games = {
        "game": game,
        "id": id,
        "frame_skip": frame_skip,
        "noop_max": noop_max,
        "sticky_action_probability": sticky_action_probability,
    }
    given = {name: value for name, value in of_games.items() if value is not None}
    _check(games, num_environments, max_episode_steps, given)
    played = games(
        batch_size=num_environments,
        max_episode_steps=max_episode_steps,
        render_mode=render_mode,
        **given,
    )
    # A score is a full game's either way; these decide when FIRE is pressed.
    presses = {"terminal_on_life_loss": terminal_on_life_loss, "fire_on_reset": fire_on_reset}
    rules = {**played.spec.rules, "max_episode_steps": max_episode_steps, **presses}
    spec = dataclasses.replace(played.spec, rules=rules, stacked=stack_frames is not None)
    environment = GamesEnvironment(played, spec, seed, stream, **presses)
    if stack_frames is None:
        return TFPyEnvironment(environment)
    if stack_frames == STACK_FRAMES and played.observation_spec.dtype == np.uint8:
        return TFPyEnvironment(FrameStack4(environment))
    return TFPyEnvironment(FrameStack(environment, stack_frames))


def _check(
    games: Any,
    num_environments: int,
    max_episode_steps: int,
    given: dict[str, Any],
) -> None:
    """Refuses what is too large, what these games do not know, and the lack of what they need."""
    name = "create_environment"
    for parameter, value, most in (
        ("num_environments", num_environments, _MOST_ENVIRONMENTS),
        ("noop_max", given.get("noop_max", 0), _MOST_FRAMES),
        ("max_episode_steps", max_episode_steps * given.get("frame_skip", 1), _MOST_FRAMES),
    ):
        fits = value <= most
        require(fits, f"{name}.{parameter}", f"is too large: at most {most:,} are possible.")
    known = inspect.signature(games).parameters
    if any(each.kind is each.VAR_KEYWORD for each in known.values()):
        return
    called = f"@{games.__name__}"
    for parameter in given:
        message = f"means nothing to {called}: leave it out, or bind it to None."
        require(parameter in known, f"{name}.{parameter}", message)
    passed = {"batch_size", "max_episode_steps", "render_mode", *given}
    for parameter, each in known.items():
        there = parameter in passed or each.default is not each.empty
        require(there, f"{name}.{parameter}", f"must be bound: {called} needs it.")
