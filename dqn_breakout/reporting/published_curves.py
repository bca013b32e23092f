"""Reads published learning curves from CSV files and picks the ones to draw.

A file has the columns `COLUMNS`, one row per point: `mean_return` is the mean over `seeds` runs
after `env_steps` environment steps, `std_over_seeds` their standard deviation (empty if unknown).
Rows that agree in game, encoder and agent are one curve.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dqn_breakout.errors import UserError

COLUMNS: tuple[str, ...] = (
    "game",
    "encoder",
    "agent",
    "env_steps",
    "mean_return",
    "std_over_seeds",
    "seeds",
)

_Row = tuple[int, float, float, int]  # env_steps, mean_return, std_over_seeds, seeds


@dataclasses.dataclass(frozen=True, eq=False)
class PublishedCurve:
    """One published curve.

    Attributes:
        game: The game, as the file spells it.
        encoder: The network, such as "nature_cnn".
        agent: The algorithm, such as "DQN".
        env_steps: int64 `(N,)`, rising.
        mean_return: Mean over the seeds, float64 `(N,)`.
        std_over_seeds: Standard deviation over the seeds, float64 `(N,)`; NaN where unknown.
        seeds: How many seeds each point is the mean of, int64 `(N,)`.
    """

    game: str
    encoder: str
    agent: str
    env_steps: np.ndarray
    mean_return: np.ndarray
    std_over_seeds: np.ndarray
    seeds: np.ndarray

    @property
    def name(self) -> str:
        """How `select` names this curve: `game/encoder/agent`."""
        return f"{self.game}/{self.encoder}/{self.agent}"


def read(path: Path) -> list[PublishedCurve]:
    """Reads all curves of a file, in the order in which they first appear.

    Raises:
        UserError: The file is missing, has not the columns `COLUMNS`, has no row, or a row is
            wrong; the message names the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"The published curves {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a CSV file: it is not UTF-8 text.") from error
    rows: dict[tuple[str, str, str], list[_Row]] = {}
    reader = csv.DictReader(io.StringIO(text), strict=True)
    try:
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise UserError(
                f"{path} has no column {', '.join(missing)}: its first line must name the columns "
                f"{','.join(COLUMNS)}."
            )
        for row in reader:
            place = f"Line {reader.line_num} of {path}"
            if any(row[column] is None for column in COLUMNS):
                raise UserError(f"{place} is cut short: it needs {len(COLUMNS)} values.")
            name = (row["game"].strip(), row["encoder"].strip(), row["agent"].strip())
            rows.setdefault(name, []).append(_point(place, row))
    except csv.Error as error:
        raise UserError(f"Line {reader.line_num} of {path} is not CSV: {error}.") from error
    if not rows:
        raise UserError(f"{path} holds no curve: it has no line below the names of its columns.")
    return [_curve(path, name, points) for name, points in rows.items()]


def select(
    curves: Sequence[PublishedCurve], names: Sequence[str], game: str | None
) -> list[PublishedCurve]:
    """Picks curves by name.

    Upper and lower case and punctuation do not matter: "Space Invaders" is "spaceinvaders".

    Args:
        curves: Where to pick.
        names: One name per curve to pick: words of its game, encoder and agent with "/" between
            them, such as "DQN/nature_cnn", enough of them to mean one curve. Empty: all curves.
        game: Only curves of this game; None for those of any.

    Returns:
        The curves in the order of `names`.

    Raises:
        UserError: There is none of this game, or a name means none or several of them.
    """
    of_game = [curve for curve in curves if game is None or _plain(curve.game) == _plain(game)]
    which = f" of {game}" if game else ""
    if not of_game:
        games = ", ".join(dict.fromkeys(curve.game for curve in curves))
        raise UserError(f"There is no published curve{which}; those given are of {games}.")
    if not names:
        return of_game
    picked = []
    for name in names:
        words = {_plain(word) for word in name.split("/")}
        found = [
            curve
            for curve in of_game
            if words <= {_plain(curve.game), _plain(curve.encoder), _plain(curve.agent)}
        ]
        if len(found) != 1:
            listing = ", ".join(curve.name for curve in found or of_game)
            problem = "means several curves" if found else f"is no published curve{which}"
            raise UserError(f"{name!r} {problem}; give one of {listing}.")
        picked.append(found[0])
    return picked


def _point(place: str, row: dict[str, str]) -> _Row:
    std = row["std_over_seeds"].strip()
    return (
        _whole_number(place, row, "env_steps", 0),
        _number(place, row, "mean_return"),
        _number(place, row, "std_over_seeds") if std else math.nan,
        _whole_number(place, row, "seeds", 1),
    )


def _whole_number(place: str, row: dict[str, str], column: str, least: int) -> int:
    text = row[column].strip()
    if text.isascii() and text.isdecimal() and len(text) <= 18 and int(text) >= least:
        return int(text)
    raise UserError(
        f"{place}: {column} must be a whole number of {least} or more, but is {text!r}."
    )


def _number(place: str, row: dict[str, str], column: str) -> float:
    text = row[column].strip()
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{place}: {column} must be a number, but is {text!r}.")
    return number


def _curve(path: Path, name: tuple[str, str, str], points: list[_Row]) -> PublishedCurve:
    points = sorted(points)
    env_steps = [point[0] for point in points]
    for earlier, later in itertools.pairwise(env_steps):
        if earlier == later:
            raise UserError(f"{path} gives the curve {'/'.join(name)} twice at {later} env_steps.")
    return PublishedCurve(
        *name,
        env_steps=np.array(env_steps, np.int64),
        mean_return=np.array([point[1] for point in points], np.float64),
        std_over_seeds=np.array([point[2] for point in points], np.float64),
        seeds=np.array([point[3] for point in points], np.int64),
    )


def _plain(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())
