"""What happens beside training: TensorBoard, files, evaluation. One class, one side effect.

A hook is told each row; it never touches what training depends on.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dqn_breakout import errors
from dqn_breakout.runs import metrics
from dqn_breakout.runs.directory import RunDirectory
from dqn_breakout.runs.files import naming, write_atomically, write_json
from dqn_breakout.runs.record import Lock
from dqn_breakout.training.console import tell
from dqn_breakout.training.event_file import EventFile
from dqn_breakout.training.progress import Hook, Row
from dqn_breakout.training.signals import Stopped


class TensorBoardHook(Hook):
    """Scalars of every row under `tensorboard/train`."""

    writes = "TensorBoard's event file"

    def __init__(self, run: RunDirectory):
        """Writes under the run's directory; steps are environment steps."""
        self._events = EventFile(run.train_events)

    def on_row(self, row: Row) -> None:
        """Writes the row's numbers, leaving out those there are none of."""
        tags = {name: metrics.tag(name) for name, value in row.items() if value is not None}
        self._events.write(
            row["env_steps"], {tag: float(row[name]) for name, tag in tags.items() if tag}
        )

    def close(self) -> None:
        """Closes the event file."""
        self._events.close()


class MetricsFileHook(Hook):
    """Every row as a line of `metrics.jsonl`, for plots and scripts."""

    writes = "metrics.jsonl"

    def __init__(self, run: RunDirectory, restored: Mapping[str, Any]):
        """Goes on after a checkpoint, whose counters are empty where there was none.

        Rows of work that was lost with a crash are dropped. A process may die between a checkpoint
        and its row: then that row, which the counters hold, is added.
        """
        self._path = run.metrics_jsonl
        env_steps, row = restored.get("env_steps", 0), restored.get("row")
        text = self._path.read_text(errors="replace") if self._path.exists() else ""
        kept = [line for line in text.splitlines() if 0 <= _env_steps_of(line) <= env_steps]
        if row is not None and (not kept or _env_steps_of(kept[-1]) < env_steps):
            kept.append(json.dumps(row))
        mended = "".join(line + "\n" for line in kept)
        if mended != text:
            write_atomically(self._path, mended.encode())

    def on_row(self, row: Row) -> None:
        """Appends the row; all of it or, where the disk is full, nothing."""
        line = json.dumps(row).encode() + b"\n"
        with naming(self._path), open(self._path, "ab", buffering=0) as file:
            end = file.tell()
            try:
                if file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                file.truncate(end)
                raise


class EvaluationHook(Hook):
    """Plays evaluation games; leaves scores in TensorBoard, a video, and at last scores in JSON.

    An evaluation without its JSON file is not done.
    """

    writes = "an evaluation"

    def __init__(
        self,
        lock: Lock,
        evaluate: Callable[[], dict[str, Any]],
        record: Callable[[Path], Any] | None,
        pause: Callable[[float], None],
    ):
        """Prepares the first evaluation.

        Args:
            lock: Holds the run directory, where results go.
            evaluate: Plays the games and returns the scores.
            record: Records a game as a video file; None for no videos.
            pause: Is told how many seconds an evaluation took.
        """
        self._lock = lock
        self._evaluate = evaluate
        self._record = record
        self._pause = pause
        self._events = EventFile(lock.run.eval_events)

    def evaluate(self, env_steps: int) -> None:
        """Evaluates the network of so many steps; leaves it undone where a stop was asked for.

        Raises:
            OSError: Results could not be written, or the run directory is gone.
        """
        started = time.monotonic()
        try:
            self._evaluate_and_record(env_steps)
        except Stopped:
            tell(
                f"The evaluation at {env_steps:,} steps was cut short; it comes when the run goes "
                "on."
            )
        self._pause(time.monotonic() - started)

    def _evaluate_and_record(self, env_steps: int) -> None:
        run = self._lock.run
        scores = {"env_steps": env_steps, **self._evaluate()}
        self._lock.check()  # Games may have taken minutes.
        means = {"games/return_mean": scores["mean"], "games/return_median": scores["median"]}
        self._events.write(env_steps, {tag: float(value) for tag, value in means.items()})
        no_video = None
        if self._record is not None:
            try:
                run.videos.mkdir(exist_ok=True)
                self._record(run.videos / f"{env_steps:012d}.mp4")
            except Stopped:
                raise
            except Exception as error:  # noqa: BLE001  (days of training do not end for a video)
                no_video = errors.said(error)
            self._lock.check()
        run.evaluations.mkdir(exist_ok=True)
        write_json(run.evaluation_json(env_steps), scores)
        tell(
            f"Evaluation at {env_steps:,} steps: mean return {scores['mean']:.2f} of "
            f"{scores['games']} full games ({scores['protocol']['name']} protocol)"
        )
        if no_video is not None:
            tell(f"There is no video of it: {no_video}")

    def close(self) -> None:
        """Closes the event file."""
        self._events.close()


def _env_steps_of(line: str) -> int:
    """Environment steps of a row; -1 for a line that is none."""
    try:
        number = json.loads(line)["env_steps"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return -1
    return number if type(number) is int else -1
