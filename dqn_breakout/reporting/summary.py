"""Command: tells how a run stands, as text: python -m dqn_breakout.reporting.summary RUN_DIR."""

from __future__ import annotations

import argparse
import datetime
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from dqn_breakout import command_line
from dqn_breakout.errors import printable
from dqn_breakout.reporting.run_records import RunRecord, read_run, thinned
from dqn_breakout.runs.files import expanded

_MOST_ROWS = 12
_IN_NO_TABLE = ["train_steps", "replay_transitions", "wall_seconds", "checkpoint_seconds"]


@command_line.told
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command with these words, or those of this process."""
    command = "python -m dqn_breakout.reporting.summary"
    parser = argparse.ArgumentParser(command, description="Tell how a training run stands.")
    parser.add_argument("run_dir", metavar="RUN_DIR", type=expanded, help="a run directory")
    print(summarise(parser.parse_args(arguments).run_dir), end="")


def summarise(run_dir: Path) -> str:
    """Describes a run: what it is, how far it got, its speed, its returns, its evaluations.

    Raises:
        UserError: The directory holds no run, or a file in it is damaged.
    """
    run = read_run(run_dir)
    log = run.log.drop(columns=_IN_NO_TABLE).dropna(axis="columns", how="all")
    tables = {
        "Training (returns and lengths: means of the last 100 full games)": log,
        "Evaluations (of full games; low and high: 95 % interval)": run.evaluations,
        "Starts": run.starts.drop(columns="command"),
    }
    text = io.StringIO()
    console = Console(file=text, width=100, color_system=None, markup=False, highlight=False)
    for name, fact in _facts(run).items():
        console.print(f"{name:<19}{printable(str(fact))}", soft_wrap=True)
    for heading, rows in tables.items():
        console.print(f"\n{heading}")
        console.print("None yet" if rows.empty else _table(thinned(rows, _MOST_ROWS)))
    return text.getvalue()


def _facts(run: RunRecord) -> dict[str, Any]:
    """What is known of the run as a whole, and where it stands."""
    latest = run.log.iloc[-1].map(_shown)
    env_steps = run.log["env_steps"].iloc[-1]
    budget = run.total_env_steps
    share = f" of {budget:,} ({env_steps / budget:.0%})" if budget else ""
    games = run.log.dropna(subset="average_return").nlargest(1, "average_return")
    best = [f"{row.average_return:.2f}, at {row.env_steps:,} steps" for row in games.itertuples()]
    facts = {
        "Run": run.path,
        "Game": run.game,
        "Seed": run.seed,
        "Command": run.starts["command"].iloc[-1] if len(run.starts) else None,
        "Weights SHA-256": run.weights_sha256,
        "Environment steps": latest["env_steps"] + share,
        "ALE frames": f"{env_steps * run.frame_skip:,}" if run.frame_skip else None,
        "Train steps": latest["train_steps"],
        "Transitions stored": latest.get("replay_transitions"),
        "Time": datetime.timedelta(seconds=round(run.seconds)),
        "Speed": f"{env_steps / run.seconds:,.0f} steps/s" if run.seconds else None,
        "Best return": best[0] if best else "no full game has ended yet",
    }
    return {name: fact for name, fact in facts.items() if not pd.isna(fact)}


def _table(frame: pd.DataFrame) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in frame:
        table.add_column(str(name).replace("_", "\n"), justify="right")
    for row in frame.itertuples(index=False):
        table.add_row(*map(_shown, row))
    return table


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return printable(value)
    if pd.isna(value):
        return "-"
    return f"{value:,.0f}" if value == round(value) or abs(value) >= 1000 else f"{value:.4g}"


if __name__ == "__main__":
    sys.exit(main())
