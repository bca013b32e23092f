"""Command: tells how a run stands, as text, for those without TensorBoard.

python -m dqn_breakout.reporting.summary RUN_DIR
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from dqn_breakout.errors import UserError, printable
from dqn_breakout.reporting.run_records import Evaluation, RunRecord, read_run

_MOST_ROWS = 12
_NONE = "-"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: The words after the command's name; None for those of this process.

    Returns:
        The exit code: 0, or `UserError.EXIT_CODE` after a message on stderr.
    """
    parser = argparse.ArgumentParser(
        prog="python -m dqn_breakout.reporting.summary",
        description="Tell how a training run stands.",
        allow_abbrev=False,
    )
    parser.add_argument("run_dir", metavar="RUN_DIR", type=Path, help="a run directory")
    options = parser.parse_args(arguments)
    try:
        print(summarise(options.run_dir), end="")
    except UserError as error:
        print(error.message, file=sys.stderr)
        return UserError.EXIT_CODE
    return 0


def summarise(run_dir: str | os.PathLike[str]) -> str:
    """Describes a run: what it is, how far it got, its speed, its returns, its evaluations.

    Args:
        run_dir: The run directory.

    Returns:
        Some dozens of lines, at most about 90 letters wide but for the command.

    Raises:
        UserError: The directory holds no run, or a file in it is damaged.
    """
    run = read_run(run_dir)
    parts = [_about(run), _progress(run), _training(run), _evaluations(run)]
    if run.notes:
        parts.append("".join(f"Note: {printable(note)}\n" for note in run.notes))
    return "\n".join(parts)


def _about(run: RunRecord) -> str:
    newest = run.starts[-1] if run.starts else None
    facts = [
        ("Run", str(run.path)),
        ("Game", run.game),
        ("Seed", None if run.seed is None else str(run.seed)),
        ("Command", newest.command if newest else None),
        ("Git revision", newest.git_revision if newest else None),
        ("Started", _started(run)),
        ("Weights SHA-256", run.weights_sha256),
    ]
    return "".join(f"{name:<17}{printable(fact)}\n" for name, fact in facts if fact)


def _started(run: RunRecord) -> str | None:
    if not run.starts:
        return None
    first, last = run.starts[0], run.starts[-1]
    times = len(run.starts) - 1
    if not times:
        return first.time
    often = "once" if times == 1 else f"{times} times"
    when = f", {last.time}" if last.time else ""
    return f"{first.time or ''}; went on {often}, last from {last.env_steps:,} env steps{when}"


def _progress(run: RunRecord) -> str:
    env_steps = int(run.env_steps[-1])
    seconds = run.seconds
    steps = f"{env_steps:,}"
    if run.budget_env_steps:
        share = 100 * env_steps / run.budget_env_steps
        steps += f" of {run.budget_env_steps:,} ({share:.0f} %)"
    speed = run.latest("env_steps_per_second")
    facts = [
        ("Environment steps", steps),
        *([("ALE frames", f"{env_steps * run.frame_skip:,}")] if run.frame_skip else []),
        ("Train steps", _count(run.latest("train_steps"))),
        ("Full games", _count(run.latest("episodes"))),
        ("Replay buffer", f"{_count(run.latest('replay_transitions'))} transitions"),
        ("Time", _duration(seconds)),
    ]
    if seconds:
        facts.append(("Speed, whole run", f"{env_steps / seconds:,.0f} env steps/s"))
    if speed is not None:
        facts.append(("Speed, latest", f"{speed:,.0f} env steps/s"))
    return "Progress\n" + "".join(f"  {name:<20}{fact}\n" for name, fact in facts)


def _training(run: RunRecord) -> str:
    """The log lines, evenly thinned; the last one is always there."""
    count = run.env_steps.size
    chosen = np.unique(np.linspace(0, count - 1, min(count, _MOST_ROWS)).round().astype(np.int64))
    columns: list[tuple[str, str | None, Callable[[float], str]]] = [
        ("env steps", None, _count),
        ("games", "episodes", _count),
        ("return", "average_return", lambda value: f"{value:.2f}"),
        ("length", "average_length", lambda value: f"{value:,.0f}"),
        ("loss", "loss", lambda value: f"{value:.3g}"),
        ("mean Q", "mean_q", lambda value: f"{value:.3g}"),
        ("epsilon", "epsilon", lambda value: f"{value:.3f}"),
        ("steps/s", "env_steps_per_second", lambda value: f"{value:,.0f}"),
    ]
    rows = [[name for name, _, _ in columns]]
    for index in chosen:
        row = []
        for _, metric, shown in columns:
            value = float((run.env_steps if metric is None else run.metrics[metric])[index])
            row.append(_NONE if np.isnan(value) else shown(value))
        rows.append(row)
    heading = "Training (return and length: means of the last 100 full games, rewards unclipped)\n"
    returns = run.metrics["average_return"]
    best = ""
    if np.isfinite(returns).any():
        index = int(np.nanargmax(returns))
        best = f"  Best return {returns[index]:.2f}, at {run.env_steps[index]:,} env steps\n"
    else:
        best = "  No full game has ended yet\n"
    return heading + _table(rows) + best


def _evaluations(run: RunRecord) -> str:
    if not run.evaluations:
        return "Evaluations\n  None yet\n"
    names = ("env steps", "protocol", "games", "mean", "95 % interval", "median", "std", "human")
    rows = [list(names)]
    rows += [
        [
            _count(each.env_steps),
            printable(each.protocol),
            str(each.games),
            f"{each.mean:.2f}",
            _interval(each),
            _NONE if each.median is None else f"{each.median:.1f}",
            _NONE if each.std is None else f"{each.std:.2f}",
            _NONE if each.human_normalised is None else f"{100 * each.human_normalised:.1f} %",
        ]
        for each in run.evaluations[-_MOST_ROWS:]
    ]
    left_out = len(run.evaluations) - _MOST_ROWS
    heading = "Evaluations (full games, rewards unclipped; human: 0 % is random, 100 % a human)\n"
    earlier = f"  {left_out} earlier left out\n" if left_out > 0 else ""
    return heading + earlier + _table(rows)


def _interval(evaluation: Evaluation) -> str:
    if evaluation.ci95 is None:
        return _NONE
    low, high = evaluation.ci95
    return f"{low:.2f} to {high:.2f}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(
        "  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) + "\n"
        for row in rows
    )


def _count(value: float | None) -> str:
    return _NONE if value is None else f"{value:,.0f}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return _NONE
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


if __name__ == "__main__":
    sys.exit(main())
