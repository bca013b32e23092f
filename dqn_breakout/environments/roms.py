"""Which Atari games there are, and what to say when one is not among them."""

from __future__ import annotations

import difflib
import re

from ale_py import roms

from dqn_breakout.errors import UserError


def rom_id(game: str) -> str:
    """The ROM's name of a game: `SpaceInvaders` is `space_invaders`.

    Args:
        game: The game's name as in gymnasium's id `ALE/<game>-v5`.

    Raises:
        UserError: ale-py has no ROM of that name; the message names the nearest.
    """
    known = {_camel_case(name): name for name in roms.get_all_rom_ids()}
    if game not in known:
        folded = {name.lower(): name for name in known}
        wanted = re.sub(r"^ale/|-v\d+$|noframeskip|deterministic|[^a-z0-9]", "", str(game).lower())
        near = [folded[name] for name in difflib.get_close_matches(wanted, folded, n=3, cutoff=0.5)]
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {len(known)} games."
        raise UserError(
            f"There is no Atari game {game!r}: {hint} Names are those of gymnasium's "
            "ALE/<name>-v5 ids, such as Breakout or SpaceInvaders."
        )
    return known[game]


def _camel_case(rom_name: str) -> str:
    return "".join(part.capitalize() for part in rom_name.split("_"))
