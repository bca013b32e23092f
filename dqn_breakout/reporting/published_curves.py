"""Reads published learning curves from CSV files and picks the ones to draw.

A file has the columns `COLUMNS`, one row per point: `mean_return` is the mean over `seeds` runs
after `env_steps` environment steps, `std_over_seeds` their standard deviation (empty if unknown).
Rows that agree in game, encoder and agent are one curve, named `game/encoder/agent`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dqn_breakout.errors import UserError, cause, first_line

_NAME = {"game": str, "encoder": str, "agent": str}
_NUMBERS = {"env_steps": int, "mean_return": float, "std_over_seeds": float, "seeds": int}
COLUMNS = [*_NAME, *_NUMBERS]


def read(path: Path) -> dict[str, pd.DataFrame]:
    """Reads all curves of a file: their points by their names, in the file's order.

    Raises:
        UserError: The file cannot be read, lacks a column, or holds a value of the wrong kind.
    """
    kinds: Any = {"usecols": COLUMNS, "dtype": _NAME | _NUMBERS}
    unknown = {"std_over_seeds": [""]}  # And nothing else: an encoder may be called "None".
    try:
        points = pd.read_csv(path, keep_default_na=False, na_values=unknown, **kinds)
    except (OSError, ValueError) as error:
        reason = cause(error) if isinstance(error, OSError) else first_line(error)
        raise UserError(
            f"{path} cannot be read as CSV with the columns {','.join(COLUMNS)}: {reason}."
        ) from error
    return {"/".join(name): curve for name, curve in points.groupby(list(_NAME), sort=False)}


def select(curves: Iterable[str], names: Sequence[str], game: str | None) -> Sequence[str]:
    """Picks curves of a game (None: of any game) by their names; without names, all of them.

    Words of a curve's name do, such as "DQN/nature_cnn", where they mean one curve; upper and lower
    case and punctuation do not matter.

    Raises:
        UserError: There is none of this game, or a name means none or several of them.
    """
    of_game = [each for each in curves if not game or _words(each.split("/")[0]) == _words(game)]
    if not of_game:
        raise UserError(f"There is no published curve of {game or 'any game'} in the files given.")
    picked = []
    for name in names:
        found = [each for each in of_game if _words(name) <= _words(each)]
        if len(found) != 1:
            several = "several curves" if found else "no published curve here"
            raise UserError(f"{name!r} means {several}; give one of {', '.join(found or of_game)}.")
        picked += found
    return picked or of_game


def _words(name: str) -> set[str]:
    return {"".join(filter(str.isalnum, word)) for word in name.casefold().split("/")}
