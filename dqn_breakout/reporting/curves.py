"""Command: draws the learning curves of runs, over published ones if given.

python -m dqn_breakout.reporting.curves RUN_DIR [RUN_DIR ...]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dqn_breakout import command_line
from dqn_breakout.errors import UserError
from dqn_breakout.reporting import comparison, figures, published_curves
from dqn_breakout.reporting.run_records import read_run
from dqn_breakout.runs.files import expanded, write_atomically


@command_line.told
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command with these words, or those of this process."""
    options = _parser().parse_args(arguments)
    output = options.output or expanded("panels.png" if options.panels else "curve.png")
    for path, suffixes in ((output, figures.SUFFIXES), (options.data, comparison.SUFFIXES)):
        if path and path.suffix not in suffixes:
            raise UserError(f"{path} must end in {' or '.join(suffixes)}: that says the format.")
    names = [path.resolve().name for path in options.run_dirs]
    if len(set(names)) < len(names):
        names = list(map(str, options.run_dirs))
    runs = {name: read_run(path) for name, path in zip(names, options.run_dirs, strict=True)}
    labels = options.label * len(runs) if len(options.label) == 1 else options.label or names
    if len(labels) != len(runs):
        raise UserError(
            f"There are {len(labels)} labels for {len(runs)} run directories: give one for each, "
            "or one for all (seeds of one thing)."
        )
    games = dict.fromkeys(run.game for run in runs.values() if run.game)
    if len(games) > 1:
        raise UserError(f"Returns of different games do not compare: {', '.join(games)}.")
    game = next(iter(games), None)
    metrics = figures.PANELS if options.panels else (comparison.RETURN,)
    curves = [each for name in metrics for each in comparison.training(runs, labels, name)]
    compared = _compared(options, game)
    if options.panels and compared:
        raise UserError("--published and --random_score have no place in --panels.")
    if not options.panels:
        curves += comparison.evaluations(runs, labels) + compared
    rows = comparison.joined(curves)
    title = (game or "") if options.title is None else options.title
    frame_skips = {run.frame_skip or 4 for run in runs.values()}
    frames = f" (1 step = {frame_skips.pop()} ALE frames)" if len(frame_skips) == 1 else ""
    figure = figures.draw(rows, metrics, title, frames, options.max_env_steps)
    _write(output, figures.encoded(figure, output.suffix))
    if options.data:
        _write(options.data, comparison.encoded(rows, options.data.suffix))
    for name, run in runs.items():
        if run.log[comparison.RETURN].isna().all():
            print(f"Note: no full game has ended yet in {name}.", file=sys.stderr)


def _compared(options: argparse.Namespace, game: str | None) -> list[pd.DataFrame]:
    """What the options set runs against: published curves, and a random player."""
    published = {}
    for path in options.published:
        published.update(published_curves.read(path))
    wanted = options.published or options.published_curve
    picked = published_curves.select(published, options.published_curve, game) if wanted else []
    labels = options.published_label
    if not len(labels) == len(set(labels)) == len(picked):
        raise UserError(
            f"Give a --published_label for each of {', '.join(picked)}, in this order. It says the "
            "protocol: scores of different protocols do not compare."
        )
    pairs = zip(picked, labels, strict=True)
    curves = [comparison.published(published[name], label) for name, label in pairs]
    if options.random_score is not None:
        curves.append(comparison.random_player(options.random_score))
    return curves


def _write(path: Path, content: bytes) -> None:
    try:
        write_atomically(path, content)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}.") from error
    print(f"Wrote {path}")


def _parser() -> argparse.ArgumentParser:
    text = "Draw the learning curves of runs; those of one label are seeds of one thing."
    command = "python -m dqn_breakout.reporting.curves"
    parser = argparse.ArgumentParser(command, description=text, allow_abbrev=False)
    add = parser.add_argument
    columns = ",".join(published_curves.COLUMNS)
    many: Any = {"action": "append", "default": []}
    add("run_dirs", metavar="RUN_DIR", nargs="+", type=expanded, help="a run directory")
    add("--label", **many, help="what to call a run: once for each in order, or once for all")
    add("--output", type=expanded, metavar="FILE", help="the figure, .png, .svg or .pdf")
    add("--data", type=expanded, metavar="FILE", help="also the curves as numbers, .csv or .json")
    add("--panels", action="store_true", help="loss, mean Q, epsilon and speed of runs instead")
    add("--title", help="what stands above the figure (default: the game)")
    add("--max_env_steps", type=int, metavar="N", help="where the axis ends (default: the runs)")
    add("--random_score", type=float, metavar="SCORE", help="mean return of a random player")
    add("--published", **many, type=expanded, metavar="FILE.csv", help=f"has columns {columns}")
    add("--published_curve", **many, metavar="NAME", help="such as DQN/nature_cnn (default: all)")
    add("--published_label", **many, metavar="LABEL", help="what to call it, with its protocol")
    return parser


if __name__ == "__main__":
    sys.exit(main())
