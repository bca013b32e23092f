"""Command: draws the learning curves of runs, over published ones if given.

    python -m dqn_breakout.reporting.curves RUN_DIR [RUN_DIR ...]

writes curve.png; --panels draws loss, Q values, epsilon and speed instead; --help lists the rest.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from dqn_breakout.errors import UserError
from dqn_breakout.reporting import comparison, curve_data, figures, published_curves
from dqn_breakout.reporting.comparison import Curve
from dqn_breakout.reporting.run_records import RunRecord, read_run


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: The words after the command's name; None for those of this process.

    Returns:
        The exit code: 0, or `UserError.EXIT_CODE` after a message on stderr.
    """
    options = _parser().parse_args(arguments)
    try:
        notes = _draw(options)
    except UserError as error:
        print(error.message, file=sys.stderr)
        return UserError.EXIT_CODE
    for note in notes:
        print(f"Note: {note}", file=sys.stderr)
    return 0


def read_runs(paths: Sequence[Path]) -> list[RunRecord]:
    """Reads several run directories.

    Raises:
        UserError: A directory is given twice, or one cannot be read.
    """
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in seen:
            raise UserError(f"The run directory {path} is given twice; give each run once.")
        seen.add(path.resolve())
    return [read_run(path) for path in paths]


def labels_of(runs: Sequence[RunRecord], given: Sequence[str]) -> list[str]:
    """Returns the label of each run.

    Args:
        runs: The runs.
        given: One label per run in their order, or a single one for all of them, or none: then
            each run is called by its directory's name.

    Raises:
        UserError: There are more or fewer labels than that, one is blank, or names without labels
            are not unique.
    """
    if any(not label.strip() for label in given):
        raise UserError("A --label is empty; give a name that the figure can show.")
    if len(given) == len(runs):
        return list(given)
    if len(given) == 1:
        return [given[0]] * len(runs)
    if given:
        raise UserError(
            f"There are {len(given)} labels for {len(runs)} run directories: give --label once for "
            "each of them in order, or once for all (seeds of one thing)."
        )
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        raise UserError(
            "Several run directories have the same name; give --label once for each of them in "
            "order (the same label for seeds of one thing)."
        )
    return names


def published(
    paths: Sequence[Path], names: Sequence[str], labels: Sequence[str], game: str | None
) -> list[Curve]:
    """Reads and picks published curves.

    Args:
        paths: CSV files, see `published_curves`.
        names: Which curves, as `published_curves.select` takes them; empty for all of the game.
        labels: One label per picked curve.
        game: The game that the runs play; None if unknown.

    Raises:
        UserError: A file is wrong, a name means no curve, or there is not one label per curve.
    """
    if not paths:
        if names or labels:
            raise UserError(
                "--published_curve and --published_label need --published FILE.csv, the file that "
                "holds the curves."
            )
        return []
    every = [curve for path in paths for curve in published_curves.read(path)]
    picked = published_curves.select(every, names, game)
    if len(labels) != len(picked) or any(not label.strip() for label in labels):
        listing = ", ".join(curve.name for curve in picked)
        raise UserError(
            f"There are {len(labels)} labels for {len(picked)} published curves ({listing}): pick "
            "curves with --published_curve, and give --published_label once for each of them in "
            "this order. A label says the protocol, such as 'Dopamine DQN (sticky actions 0.25, "
            "5 seeds)': scores of different protocols do not compare."
        )
    return [
        comparison.published_curve(curve, label)
        for curve, label in zip(picked, labels, strict=True)
    ]


def _draw(options: argparse.Namespace) -> list[str]:
    """Writes what the options ask for; returns notes for the reader."""
    for option, path, suffixes in (
        ("--output", options.output, figures.SUFFIXES),
        ("--data", options.data, curve_data.SUFFIXES),
    ):
        if path is not None and path.suffix not in suffixes:
            raise UserError(f"{option} must end in {' or '.join(suffixes)}, but is {path}.")
        if path is not None and not path.parent.is_dir():
            raise UserError(f"{option}: there is no directory {path.parent}; make it first.")
    runs = read_runs(options.run_dirs)
    labels = labels_of(runs, options.label)
    game = comparison.game_of(runs)
    frame_skip = comparison.frame_skip_of(runs)
    title = options.title if options.title is not None else game
    notes = [note for run in runs for note in run.notes]
    if options.panels:
        if options.published or options.random_score is not None:
            raise UserError(
                "--published and --random_score belong to the learning curve: leave them out with "
                "--panels."
            )
        curves = [
            curve
            for metric in figures.PANELS
            for curve in comparison.training_curves(runs, labels, metric)
        ]
        figure = figures.panels(curves, title, options.max_env_steps, frame_skip)
    else:
        curves = comparison.training_curves(runs, labels, comparison.RETURN)
        drawn = {(curve.label, curve.run) for curve in curves}
        for run, label in zip(runs, labels, strict=True):
            if (label, run.name) not in drawn:
                notes.append(f"{run.path}: no full game has ended yet, so it has no curve.")
        curves += comparison.evaluation_curves(runs, labels)
        curves += published(
            options.published, options.published_curve, options.published_label, game
        )
        if options.random_score is not None:
            curves.append(comparison.random_player(options.random_score))
        figure = figures.learning_curve(curves, title, options.max_env_steps, frame_skip)
    output = options.output or Path("panels.png" if options.panels else "curve.png")
    figures.save(figure, output)
    print(f"Wrote {output}")
    if options.data is not None:
        curve_data.write(curves, options.data)
        print(f"Wrote {options.data}")
    return notes


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dqn_breakout.reporting.curves",
        description="Draw the learning curves of training runs.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("run_dirs", metavar="RUN_DIR", nargs="+", type=Path, help="a run directory")
    add(
        "--label",
        action="append",
        default=[],
        help="what to call a run: once per RUN_DIR in order, or once for all; runs of one label "
        "are seeds of one thing, drawn thin with their mean (default: the directory's name)",
    )
    add(
        "--output",
        type=Path,
        metavar="FILE",
        help="the figure, .png, .svg or .pdf (default: curve.png or panels.png)",
    )
    add(
        "--data",
        type=Path,
        metavar="FILE",
        help="also write the curves as numbers, .csv or .json",
    )
    add(
        "--panels",
        action="store_true",
        help="draw loss, mean Q value, epsilon and env steps per second instead of returns",
    )
    add("--title", help="what stands above the figure (default: the game)")
    add(
        "--max_env_steps",
        type=_positive_count,
        metavar="N",
        help="where the axis ends (default: where the runs end)",
    )
    add(
        "--random_score",
        type=_finite_number,
        metavar="SCORE",
        help="mean return of a random player, drawn as a horizontal line",
    )
    add(
        "--published",
        action="append",
        default=[],
        type=Path,
        metavar="FILE.csv",
        help=f"published curves, with the columns {','.join(published_curves.COLUMNS)}",
    )
    add(
        "--published_curve",
        action="append",
        default=[],
        metavar="NAME",
        help="which published curve to draw, such as DQN/nature_cnn; may be repeated (default: "
        "all of the game)",
    )
    add(
        "--published_label",
        action="append",
        default=[],
        metavar="LABEL",
        help="what to call a published curve, with its protocol; once for each",
    )
    return parser


def _positive_count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 18 and int(text) > 0):
        raise argparse.ArgumentTypeError(f"must be a whole number of 1 or more, but is {text!r}")
    return int(text)


def _finite_number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"must be a number, but is {text!r}")
    return number


if __name__ == "__main__":
    sys.exit(main())
