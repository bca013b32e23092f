"""Reads what a training run left on disk, in the layout of `runs.directory`, as data frames.

A run may be read while it still writes: a last log line that is cut short is left out.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dqn_breakout import config
from dqn_breakout.errors import UserError
from dqn_breakout.runs.directory import RunDirectory
from dqn_breakout.runs.metrics import METRICS

_OF_START = ["env_steps", "time", "command", "git_revision"]
_OF_EVALUATION = ["env_steps", "protocol", "games", "mean", "low", "high", "median", "std"]


@dataclasses.dataclass(frozen=True, eq=False)
class RunRecord:
    """Everything that reports use of one run; None and NaN where its files do not say."""

    path: Path
    log: pd.DataFrame
    """A row for each log line, `env_steps` (int64) rising; a float64 column for each other of
    `metrics.METRICS` and for whatever else was logged."""
    evaluations: pd.DataFrame
    """A row for each, `env_steps` rising: `protocol` (its name), `games`, `mean`, `low` and `high`
    (its 95 % interval), `median`, `std`, `human_normalised` (0: a random player, 1: a human)."""
    starts: pd.DataFrame  # A row for each time that training began or went on.
    game: str | None
    seed: int | None
    total_env_steps: int | None  # That the run is to make.
    frame_skip: int | None  # ALE frames per environment step.
    weights_sha256: str | None  # Of the newest checkpoint's network.

    @property
    def seconds(self) -> float:
        """Seconds of training over all starts, up to the last log line of each."""
        # A start from an older checkpoint takes the place of those that had got further.
        starts = self.starts["env_steps"][::-1].cummin()[::-1]
        process = np.searchsorted(starts, self.log["env_steps"])
        return float(self.log["wall_seconds"].groupby(process).last().sum())


def read_run(path: Path) -> RunRecord:
    """Reads a run directory.

    Raises:
        UserError: There is no such directory, nothing was logged there yet, or a file in it is
            damaged; the message names the file and the line.
    """
    run = RunDirectory(path)
    if not run.path.is_dir():
        raise UserError(f"There is no directory {run.path}. Give the directory of a training run.")
    about = _object(_read(run.run_json) or "{}", run.run_json)
    summary = _object(_read(run.summary_json) or "{}", run.summary_json)
    settings = config.bindings(_read(run.config_gin))
    return RunRecord(
        path=run.path,
        log=_read_log(run.metrics_jsonl),
        evaluations=_read_evaluations(run.evaluations),
        starts=pd.DataFrame(about.get("starts", []), columns=_OF_START),
        game=about.get("game"),
        seed=about.get("seed"),
        total_env_steps=_count(settings, "train.total_env_steps"),
        frame_skip=_count(settings, "create_environment.frame_skip"),
        weights_sha256=summary.get("weights_sha256"),
    )


def thinned(frame: pd.DataFrame, most_rows: int) -> pd.DataFrame:
    """At most so many of a frame's rows, evenly spread, the first and the last among them."""
    chosen = np.linspace(0, len(frame) - 1, min(len(frame), most_rows))
    return frame.iloc[chosen.round().astype(np.int64)]


def _read_log(path: Path) -> pd.DataFrame:
    *lines, _ = _read(path).split("\n")
    if not lines:
        raise UserError(f"{path} holds no log line: no run is there, or it has logged nothing yet.")
    log = pd.DataFrame(_object(line, f"Line {n} of {path}") for n, line in enumerate(lines, 1))
    log = log.reindex(columns=log.columns.union(list(METRICS), sort=False)).astype(np.float64)
    return log.replace([math.inf, -math.inf], math.nan).astype({"env_steps": np.int64})


def _read_evaluations(folder: Path) -> pd.DataFrame:
    rows = []
    for path in sorted(folder.glob("[0-9]*.json")):
        scores = _object(_read(path), path)
        low, high = scores["ci95"] or (math.nan, math.nan)
        rows.append({**scores, "protocol": scores["protocol"]["name"], "low": low, "high": high})
    return pd.DataFrame(rows, columns=[*_OF_EVALUATION, "human_normalised"])


def _count(settings: Mapping[str, str], name: str) -> int | None:
    value = settings.get(name, "")
    return int(value) if value.isdecimal() else None


def _read(path: Path) -> str:
    """The text of a file; empty if there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error


def _object(text: str, place: str | Path) -> dict[str, Any]:
    try:
        return dict(json.loads(text))
    except (TypeError, ValueError) as error:
        raise UserError(f"{place} is damaged: it is not JSON. Mend it or take it away.") from error
