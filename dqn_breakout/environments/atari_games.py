"""Which Atari games there are, and what to say when one is not among them."""

from __future__ import annotations

import difflib
import re

import ale_py
import gymnasium

from dqn_breakout import errors
from dqn_breakout.errors import UserError

gymnasium.register_envs(ale_py)

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
