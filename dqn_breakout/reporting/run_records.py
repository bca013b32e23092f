"""Reads what a training run left on disk: its log lines, evaluations and description.

The layout is `run_directory`'s. Everything that is used is checked, and a run may be read while it
is still writing: a log line that is only half there is left out, with a note.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dqn_breakout import config
from dqn_breakout.errors import UserError
from dqn_breakout.runs.directory import RunDirectory

METRICS: tuple[str, ...] = (
    "train_steps",
    "episodes",
    "average_return",
    "average_length",
    "loss",
    "mean_q",
    "gradient_norm",
    "epsilon",
    "env_steps_per_second",
    "replay_transitions",
    "wall_seconds",
)
"""What a log line measures at its `env_steps`. `average_return` and `average_length` (env steps)
are means over the last 100 full games, with unclipped rewards; `wall_seconds` counts anew when a
run goes on (see `RunRecord.seconds`)."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The scores of full games that one checkpoint played under one protocol.

    Attributes:
        env_steps: Environment steps that the network had been trained for.
        games: How many games were played.
        mean: Mean return of a game, unclipped.
        ci95: Low and high end of the 95 % confidence interval of `mean`; None if there is none.
        protocol: The protocol's name, such as "nature".
        median: Median return; None if the file has none.
        std: Standard deviation of the returns; None if the file has none.
        human_normalised: 0 for a random player, 1 for a human; None if the file has none.
    """

    env_steps: int
    games: int
    mean: float
    ci95: tuple[float, float] | None
    protocol: str
    median: float | None = None
    std: float | None = None
    human_normalised: float | None = None


@dataclasses.dataclass(frozen=True)
class Start:
    """One start of the training command in the run directory: the first, or one that went on.

    Attributes:
        env_steps: Where the run stood then.
        time: When that was, as the file says it; None if it does not.
        command: The command; None if the file does not say.
        git_revision: The code's revision; None if the file does not say.
    """

    env_steps: int
    time: str | None
    command: str | None
    git_revision: str | None


@dataclasses.dataclass(frozen=True, eq=False)
class RunRecord:
    """Everything that reports use of one run.

    Attributes:
        path: The run directory.
        env_steps: Where each log line stands, int64 `(N,)`, rising, N at least 1.
        metrics: For each of `METRICS` its value in each log line, float64 `(N,)`; NaN where the
            line has none.
        evaluations: In the order of their `env_steps`.
        game: The game's name; None if run.json does not say.
        seed: The run's seed; None if run.json does not say.
        starts: From run.json, in order; empty if it does not say.
        budget_env_steps: Environment steps that the run is to make; None if config.gin does not
            say.
        frame_skip: ALE frames per environment step; None if config.gin does not say.
        weights_sha256: Of the newest checkpoint's network, from summary.json; None without one.
        notes: What a reader should know about the files, one sentence each.
    """

    path: Path
    env_steps: np.ndarray
    metrics: Mapping[str, np.ndarray]
    evaluations: tuple[Evaluation, ...]
    game: str | None = None
    seed: int | None = None
    starts: tuple[Start, ...] = ()
    budget_env_steps: int | None = None
    frame_skip: int | None = None
    weights_sha256: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The run directory's own name, without the way to it."""
        return self.path.resolve().name

    @property
    def seconds(self) -> float | None:
        """Seconds of training, over all starts; None if no log line says.

        Of each start but the last, what it did after its last log line that still counts is left
        out.
        """
        total = 0.0
        before = None
        resumed = [start.env_steps for start in self.starts]
        for env_steps, seconds in zip(self.env_steps, self.metrics["wall_seconds"], strict=True):
            if math.isnan(seconds):
                continue
            if before is not None and (
                seconds < before[1] or any(before[0] <= each < env_steps for each in resumed)
            ):
                total += before[1]
            before = (int(env_steps), float(seconds))
        return None if before is None else total + before[1]

    def latest(self, metric: str) -> float | None:
        """The metric's value in the last log line; None if that line has none."""
        value = float(self.metrics[metric][-1])
        return None if math.isnan(value) else value


def read_run(path: str | os.PathLike[str]) -> RunRecord:
    """Reads a run directory.

    Args:
        path: The run directory.

    Raises:
        UserError: There is no such directory, nothing was logged there yet, or a file in it is
            damaged; the message names the file and the line.
    """
    run = RunDirectory(path)
    if not run.path.is_dir():
        raise UserError(
            f"There is no directory {run.path}. Give the run directory of a training run, the one "
            "that train.py names when it starts."
        )
    env_steps, metrics, notes = _read_metrics(run.metrics_jsonl)
    about = _read_object(run.run_json) if run.run_json.exists() else {}
    summary = _read_object(run.summary_json) if run.summary_json.exists() else {}
    settings = _settings(run.config_gin)
    return RunRecord(
        path=run.path,
        env_steps=env_steps,
        metrics=metrics,
        evaluations=_read_evaluations(run.evaluations),
        game=_optional_text(run.run_json, about, "game"),
        seed=_optional_whole_number(run.run_json, about, "seed"),
        starts=_starts(run.run_json, about.get("starts", [])),
        budget_env_steps=_setting(settings, "train.total_env_steps"),
        frame_skip=_setting(settings, "create_environment.frame_skip"),
        weights_sha256=_optional_text(run.summary_json, summary, "weights_sha256"),
        notes=tuple(notes),
    )


# --- Log lines ------------------------------------------------------------------------------------


def _read_metrics(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray], list[str]]:
    """Returns the log lines as columns, and notes about the file.

    A run that goes on from a checkpoint logs again what came after that checkpoint; of lines that
    repeat a stretch of environment steps the last ones count.
    """
    content = _content(path, missing="The run has logged nothing yet, or this is no run directory.")
    lines: list[tuple[int, list[float]]] = []
    notes: list[str] = []
    logged_again = 0
    not_finite = 0
    for number, line in _whole_lines(path, content, notes):
        env_steps, values = _log_line(f"Line {number} of {path}", line)
        while lines and lines[-1][0] >= env_steps:
            logged_again += lines.pop()[0] > env_steps
        not_finite += sum(math.isinf(value) for value in values)
        lines.append((env_steps, [value if math.isfinite(value) else math.nan for value in values]))
    if not lines:
        raise UserError(
            f"{path} holds no log line: the run has logged nothing yet. Try again when training "
            "has begun."
        )
    if logged_again:
        notes.append(
            f"{path}: {_counted(logged_again, 'line')} left out: the run went on from an earlier "
            "checkpoint and logged those environment steps again."
        )
    if not_finite:
        notes.append(
            f"{path}: {_counted(not_finite, 'value')} left out that {_verb(not_finite)} not finite "
            "(NaN or infinity): training may have diverged."
        )
    columns = np.array([values for _, values in lines], np.float64)
    return (
        np.array([env_steps for env_steps, _ in lines], np.int64),
        {metric: columns[:, index] for index, metric in enumerate(METRICS)},
        notes,
    )


def _whole_lines(
    path: Path, content: bytes, notes: list[str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields number and content of each line; a last line that was cut off becomes a note."""
    lines = content.split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            if number == len(lines):  # No newline ends it: its writer was stopped, or is at work.
                notes.append(
                    f"{path}: the last line, {number}, is not whole and is left out (the run was "
                    "stopped while writing it, or is writing it now)."
                )
                return
            raise UserError(
                f"Line {number} of {path} is damaged: it is not JSON. Mend or delete that line."
            ) from error
        if not isinstance(value, dict):
            raise UserError(
                f"Line {number} of {path} is damaged: it is not a JSON object. Mend or delete "
                "that line."
            )
        yield number, value


def _log_line(place: str, line: Mapping[str, Any]) -> tuple[int, list[float]]:
    """Returns a line's environment steps, and its value for each of `METRICS`.

    NaN stands for a value that the line lacks, infinity for one that is there and not finite.
    """
    env_steps = _whole_number(place, line, "env_steps")
    values = []
    for metric in METRICS:
        value = line.get(metric)
        if value is None:
            values.append(math.nan)
            continue
        number = _float(value)
        if number is None:
            raise UserError(f"{place}: {metric} must be a number or null, but is {_shown(value)}.")
        values.append(number if math.isfinite(number) else math.inf)
    return env_steps, values


# --- Evaluations ----------------------------------------------------------------------------------


def _read_evaluations(folder: Path) -> tuple[Evaluation, ...]:
    """Reads the evaluations during training: the files named by their environment steps."""
    if not folder.is_dir():
        return ()
    paths = sorted(
        path for path in folder.glob("*.json") if re.fullmatch(r"[0-9]{1,18}", path.stem)
    )
    found = [_evaluation(path) for path in paths]
    return tuple(sorted(found, key=lambda evaluation: evaluation.env_steps))


def _evaluation(path: Path) -> Evaluation:
    content = _read_object(path)
    place = str(path)
    env_steps = _whole_number(place, {"env_steps": int(path.stem), **content}, "env_steps")
    protocol = content.get("protocol")
    name = protocol.get("name") if isinstance(protocol, dict) else None
    if not isinstance(name, str) or not name:
        raise UserError(
            f"{path} does not name its protocol, and scores mean nothing without one. Evaluate "
            "again, or move the file away."
        )
    games = _whole_number(place, content, "games")
    if not games:
        raise UserError(f"{path}: games must be 1 or more, but is 0.")
    mean = _optional_number(place, content, "mean")
    if mean is None:
        raise UserError(f"{path} has no mean. Evaluate again, or move the file away.")
    return Evaluation(
        env_steps=env_steps,
        games=games,
        mean=mean,
        ci95=_interval(place, content.get("ci95")),
        protocol=name,
        median=_optional_number(place, content, "median"),
        std=_optional_number(place, content, "std"),
        human_normalised=_optional_number(place, content, "human_normalised"),
    )


def _interval(place: str, value: object) -> tuple[float, float] | None:
    if value is None:
        return None
    if isinstance(value, list) and len(value) == 2:
        low, high = (_float(end) for end in value)
        finite = low is not None and high is not None and math.isfinite(high - low)
        if finite and low is not None and high is not None and low <= high:
            return low, high
    raise UserError(
        f"{place}: ci95 must be null or [low, high], two numbers in that order, but is "
        f"{_shown(value)}."
    )


# --- What the run is ------------------------------------------------------------------------------


def _starts(path: Path, value: object) -> tuple[Start, ...]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise UserError(f"{path}: starts must be a list of objects, but is {_shown(value)}.")
    return tuple(
        Start(
            env_steps=_whole_number(str(path), each, "env_steps"),
            time=_optional_text(path, each, "time"),
            command=_optional_text(path, each, "command"),
            git_revision=_optional_text(path, each, "git_revision"),
        )
        for each in value
    )


def _settings(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    content = _content(path, missing="It was there a moment ago: try again.")
    try:
        return config.bindings(content.decode())
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is damaged: it is not text. Mend it or move it away.") from error
    except UserError as error:
        raise UserError(f"{path} is damaged. {error.message}") from error


def _setting(settings: Mapping[str, str], name: str) -> int | None:
    """Returns a whole number of 1 or more; None where the configuration has none."""
    value = settings.get(name, "")
    if value.startswith("%"):
        value = settings.get(value[1:], "")
    return int(value) if re.fullmatch(r"[1-9][0-9]{0,17}", value) else None


# --- Files and values -----------------------------------------------------------------------------


def _content(path: Path, missing: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path}. {missing}") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error


def _read_object(path: Path) -> dict[str, Any]:
    content = _content(path, missing="It was there a moment ago: try again.")
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: it is not JSON. Mend it or move it away.") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged: it is not a JSON object. Mend it or move it away.")
    return value


def _float(value: object) -> float | None:
    """Returns a JSON number as a float, which may be NaN or infinite; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _whole_number(place: str, content: Mapping[str, Any], key: str) -> int:
    value = content.get(key)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
        return value
    found = f"but is {_shown(value)}" if key in content else "but is missing"
    raise UserError(f"{place}: {key} must be a whole number of 0 or more, {found}.")


def _optional_number(place: str, content: Mapping[str, Any], key: str) -> float | None:
    value = content.get(key)
    if value is None:
        return None
    number = _float(value)
    if number is None or not math.isfinite(number):
        raise UserError(f"{place}: {key} must be a finite number, but is {_shown(value)}.")
    return number


def _optional_text(path: Path, content: Mapping[str, Any], key: str) -> str | None:
    value = content.get(key)
    if value is None or isinstance(value, str):
        return value or None
    raise UserError(f"{path}: {key} must be text, but is {_shown(value)}.")


def _optional_whole_number(path: Path, content: Mapping[str, Any], key: str) -> int | None:
    value = content.get(key)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise UserError(f"{path}: {key} must be a whole number, but is {_shown(value)}.")


def _shown(value: object, limit: int = 60) -> str:
    text = json.dumps(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun} is" if count == 1 else f"{count} {noun}s are"


def _verb(count: int) -> str:
    return "is" if count == 1 else "are"
