"""What happens beside training: TensorBoard, files, evaluation. One class, one side effect.

A hook is told each row; it never touches what training depends on.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from dqn_breakout import errors
from dqn_breakout.errors import UserError
from dqn_breakout.runs import metrics
from dqn_breakout.runs.directory import RunDirectory
from dqn_breakout.runs.files import naming, write_atomically, write_json
from dqn_breakout.training.console import tell
from dqn_breakout.training.progress import Hook, Row
from dqn_breakout.training.signals import Stopped


class OutputErrors:
    """Whether training goes on where a file cannot be written, and says so."""

    def __init__(self, goes_on: bool):
        """Passes errors on unless training `goes_on`."""
        self._goes_on = goes_on
        self._failing: set[str] = set()

    @contextlib.contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """Goes on without `what` if writing it fails; says so once, until it succeeds again.

        Raises:
            OSError: It could not be written, and training is not to go on without.
        """
        try:
            yield
        except OSError as error:
            if not self._goes_on:
                raise
            if what not in self._failing:
                tell(
                    f"Could not write {what} ({errors.cause(error)}); going on without, as "
                    "train.go_on_without_checkpoints says."
                )
            self._failing.add(what)
        else:
            self._failing.discard(what)

    def close(self, output: Hook) -> None:
        """Closes an output; see `attempt`."""
        with self.attempt(output.writes):
            output.close()


class EventFile:
    """Scalars under one folder, for TensorBoard."""

    def __init__(self, folder: Path):
        """Opens no file before the first scalar."""
        self._folder = folder
        self._writer: Any = None

    def write(self, env_steps: int, scalars: dict[str, float]) -> None:
        """Writes scalars by tag, and flushes them.

        Raises:
            OSError: They could not be written.
        """
        with self._os_errors():
            if self._writer is None:
                self._writer = tf.summary.create_file_writer(str(self._folder))
            with self._writer.as_default(step=env_steps):
                for tag, value in scalars.items():
                    tf.summary.scalar(tag, value)
            self._writer.flush()

    def close(self) -> None:
        """Closes the file.

        Raises:
            OSError: What was left to write could not be written.
        """
        with self._os_errors():
            if self._writer is not None:
                self._writer.close()

    @contextlib.contextmanager
    def _os_errors(self) -> Iterator[None]:
        """Makes OSErrors of TensorFlow's own, which are none even where the disk is full."""
        try:
            yield
        except tf.errors.OpError as error:
            reason = errors.first_line(error)
            raise OSError(errno.EIO, reason, str(self._folder)) from error


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
    """Every row as a line of `metrics.jsonl`, for plots and scripts.

    Attributes:
        last_env_steps: Environment steps of the last row that was there; -1 where there was none.
    """

    writes = "metrics.jsonl"

    def __init__(self, run: RunDirectory, env_steps: int):
        """Goes on after `env_steps`: rows of work that was lost with a crash are dropped."""
        self._path = run.metrics_jsonl
        self.last_env_steps = -1
        if self._path.exists():
            kept = []
            for line in self._path.read_text(errors="replace").splitlines():
                number = _env_steps_of(line)
                if number is not None and number <= env_steps:
                    kept.append(line)
                    self.last_env_steps = number
            write_atomically(self._path, "".join(line + "\n" for line in kept).encode())

    def on_row(self, row: Row) -> None:
        """Appends the row; all of it or, where the disk is full, nothing."""
        line = json.dumps(row).encode() + b"\n"
        with naming(self._path), open(self._path, "ab", buffering=0) as file:
            end = file.tell()
            try:
                written = file.write(line)
                if written < len(line):
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
        run: RunDirectory,
        evaluate: Callable[[], dict[str, Any]],
        record: Callable[[Path], Any] | None,
        pause: Callable[[float], None],
    ):
        """Prepares the first evaluation.

        Args:
            run: Where results go.
            evaluate: Plays the games and returns the scores.
            record: Records a game as a video file; None for no videos.
            pause: Is told how many seconds an evaluation took.
        """
        self._run = run
        self._evaluate = evaluate
        self._record = record
        self._pause = pause
        self._events = EventFile(run.eval_events)

    def evaluate(self, env_steps: int, check_directory: Callable[[], None]) -> None:
        """Evaluates the network as it is; leaves it undone where a stop was asked for.

        Args:
            env_steps: Environment steps of the network.
            check_directory: Raises OSError where the run's directory is no longer there. Asked
                before results are written, since games may have taken minutes.

        Raises:
            OSError: The directory is gone, or results could not be written.
        """
        started = time.monotonic()
        try:
            self._run_evaluation(env_steps, check_directory)
        except Stopped:
            tell(
                f"The evaluation at {env_steps:,} steps was cut short; it comes when the run goes "
                "on."
            )
        self._pause(time.monotonic() - started)

    def _run_evaluation(self, env_steps: int, check_directory: Callable[[], None]) -> None:
        scores = {"env_steps": env_steps, **self._evaluate()}
        check_directory()
        means = {"games/return_mean": scores["mean"], "games/return_median": scores["median"]}
        self._events.write(env_steps, {tag: float(value) for tag, value in means.items()})
        no_video = self._record_video(env_steps)
        check_directory()
        self._run.evaluations.mkdir(exist_ok=True)
        write_json(self._run.evaluation_json(env_steps), scores)
        tell(
            f"Evaluation at {env_steps:,} steps: mean return {scores['mean']:.2f} of "
            f"{scores['games']} full games ({scores['protocol']['name']} protocol)"
        )
        if no_video is not None:
            tell(f"There is no video of it: {no_video.message}")

    def _record_video(self, env_steps: int) -> UserError | None:
        """Records a game, if asked to; returns what kept it from being recorded.

        Days of training do not end for want of a video.
        """
        if self._record is None:
            return None
        path = self._run.videos / f"{env_steps:012d}.mp4"
        path.parent.mkdir(exist_ok=True)
        try:
            self._record(path)
        except UserError as error:
            return error
        return None

    def close(self) -> None:
        """Closes the event file."""
        self._events.close()


def _env_steps_of(line: str) -> int | None:
    try:
        number = json.loads(line)["env_steps"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return number if type(number) is int else None
