"""Which Atari games there are, what is known of each, and what to say when there is none."""

from __future__ import annotations

import difflib
import functools
import re
from typing import Any

import ale_py
import gymnasium
import numpy as np
from ale_py import roms
from tf_agents.specs import array_spec

from dqn_breakout import errors
from dqn_breakout.environments import reference_scores
from dqn_breakout.environments.spec import EnvironmentSpec
from dqn_breakout.errors import UserError

gymnasium.register_envs(ale_py)
# The emulator introduces itself on stderr, once for each game, unless it is told not to.
ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)

# What `create_environment` hands on to its games, and nobody else binds.
OF_ENVIRONMENT = (
    "game",
    "batch_size",
    "frame_skip",
    "noop_max",
    "sticky_action_probability",
    "max_episode_steps",
    "render_mode",
)
# A preprocessed frame: gray, 84x84 (Mnih et al. 2015, Methods, "Preprocessing").
FRAME_SPEC = array_spec.BoundedArraySpec((84, 84), np.uint8, 0, 255, name="observation")
# Above what a game lasts, below what the emulator's 32-bit counter holds. Games are cut off by
# environment steps: where ale-py itself cuts one off, its last frame is out of date.
NO_LIMIT_ALE_FRAMES = 2**31 - 1
# A shorter period buys faster restores with slower games, as seeding reloads the ROM.
RESEED_PERIOD_ENV_STEPS = 5_000
# The Atari 2600's NTSC picture rate.
_ALE_FRAMES_PER_SECOND = 60
# Ids of gymnasium's that stand for a game with rules of its own: ALE/Breakout-v5, Breakout-v4,
# BreakoutDeterministic-v4, Breakout-ramNoFrameskip-v0.
_FULL_ID = re.compile(r"(?:ALE/)?([A-Za-z0-9]+?)(?:-ram)?(?:Deterministic|NoFrameskip)?-v\d+")


def rom_id(game: str) -> str:
    """The ROM's name of a game: `SpaceInvaders` is `space_invaders`.

    Args:
        game: The game's name as in gymnasium's id `ALE/<game>-v5`.

    Raises:
        UserError: gymnasium has no `ALE/<game>-v5`; the message names the nearest.
    """
    known = _rom_ids()
    if isinstance(game, str) and game in known:
        return known[game]
    text = game if isinstance(game, str) else ""
    full_id = _FULL_ID.fullmatch(text)
    near = _nearest(full_id[1] if full_id else text, known)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {len(known)} games."
    rule = (
        "create_environment.game takes the names of gymnasium's ALE/<name>-v5 ids, such as "
        "Breakout or SpaceInvaders."
    )
    if full_id and full_id[1] in known:
        hint = f"did you mean {full_id[1]}?"
        rule = (
            "Give the plain name, without what stands around it in gymnasium's ALE/<name>-v5 ids: "
            "frames are skipped once, by create_environment.frame_skip."
        )
    raise UserError(f"There is no Atari game {errors.shown(game)}: {hint} {rule}")


def opening_noops(game: str, noop_max: int) -> int:
    """At most so many no-ops open a game: `noop_max`, but 0 where there is no such action.

    Backgammon is one of those games: gymnasium refuses to open it so, and ale-py's vector
    environment presses what no player of it can.
    """
    return noop_max if "NOOP" in _action_names(rom_id(game)) else 0


def atari_spec(game: str, **rules: Any) -> EnvironmentSpec:
    """What others ask of an Atari game that is played by these rules."""
    frame_skip = rules["frame_skip"]
    return EnvironmentSpec(
        name=game,
        action_names=_action_names(rom_id(game)),
        frame_skip=frame_skip,
        steps_per_second=_ALE_FRAMES_PER_SECOND / frame_skip,
        random_and_human=reference_scores.random_and_human(game),
        protocols=("nature", "machado", "training"),
        rules={**rules, "max_ale_frames": rules["max_episode_steps"] * frame_skip},
    )


@functools.cache
def _action_names(rom: str) -> tuple[str, ...]:
    emulator: Any = ale_py.ALEInterface()
    emulator.loadROM(roms.get_rom_path(rom))
    return tuple(action.name for action in emulator.getMinimalActionSet())


def _rom_ids() -> dict[str, str]:
    """The name in `ALE/<name>-v5` -> the ROM's name, of every game that gymnasium registered."""
    return {
        spec.name: str(spec.kwargs["game"])
        for spec in gymnasium.registry.values()
        if spec.namespace == "ALE" and spec.version == 5
    }


def _nearest(wanted: str, names: dict[str, str]) -> list[str]:
    """Up to three names that are spelt most like `wanted`, the nearest first."""
    folded = {name.lower(): name for name in names}
    letters = re.sub(r"[^a-z0-9]", "", wanted.lower())
    if letters in folded:
        return [folded[letters]]
    return [folded[name] for name in difflib.get_close_matches(letters, folded, n=3, cutoff=0.5)]
