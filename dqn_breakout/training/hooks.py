"""What happens beside training: TensorBoard, files, evaluation. One class, one side effect.

A hook is told each row; it never touches what training depends on.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import tensorflow as tf

from dqn_breakout.errors import UserError
from dqn_breakout.run_directory import RunDirectory, write_json
from dqn_breakout.training.console import tell
from dqn_breakout.training.loop import Iteration
from dqn_breakout.training.progress import Row
from dqn_breakout.training.signals import Stopped


class Hook(Protocol):
    """A side effect of training."""

    def on_iteration(self, iteration: Iteration) -> None:
        """After each turn of the loop; must be cheap."""

    def on_row(self, row: Row) -> None:
        """At each log period."""

    def close(self) -> None:
        """When the run ends or stops."""


class Period:
    """Tells when another `period` environment steps have passed; a resumed run keeps the rhythm."""

    def __init__(self, period_env_steps: int, env_steps: int):
        """Starts counting periods from `env_steps`."""
        self._period = period_env_steps
        self._passed = env_steps // period_env_steps

    def due(self, env_steps: int) -> bool:
        """Whether a period ended since the last call that said so."""
        passed = env_steps // self._period
        if passed == self._passed:
            return False
        self._passed = passed
        return True


class TensorBoardHook:
    """Scalars of every row under `tensorboard/train`."""

    _TAGS = {
        "average_return": "games/return_mean_of_last_100",
        "average_length": "games/length_mean_of_last_100_env_steps",
        "episodes": "games/count",
        "loss": "train/loss",
        "mean_q": "train/mean_q",
        "gradient_norm": "train/gradient_norm",
        "epsilon": "train/epsilon",
        "train_steps": "train/train_steps",
        "env_steps_per_second": "speed/env_steps_per_second",
        "replay_transitions": "replay/transitions",
        "checkpoint_seconds": "checkpoint/pause_seconds",
    }

    def __init__(self, run: RunDirectory):
        """Writes under the run's directory; steps are environment steps."""
        self._writer = tf.summary.create_file_writer(str(run.train_events))

    def on_iteration(self, iteration: Iteration) -> None:
        """Nothing."""

    def on_row(self, row: Row) -> None:
        """Writes the row's numbers, leaving out those there are none of."""
        with self._writer.as_default(step=row.env_steps):
            for field, tag in self._TAGS.items():
                value = getattr(row, field)
                if value is not None:
                    tf.summary.scalar(tag, float(value))
        self._writer.flush()

    def close(self) -> None:
        """Closes the event file."""
        self._writer.close()


class MetricsFileHook:
    """Every row as a line of `metrics.jsonl`, for plots and scripts.

    Attributes:
        last_env_steps: Environment steps of the last row in the file; -1 where there is none.
    """

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
            temporary = self._path.with_suffix(".jsonl.tmp")
            temporary.write_text("".join(line + "\n" for line in kept))
            os.replace(temporary, self._path)

    def on_iteration(self, iteration: Iteration) -> None:
        """Nothing."""

    def on_row(self, row: Row) -> None:
        """Appends the row."""
        with open(self._path, "a") as file:
            file.write(json.dumps(row.as_dict()) + "\n")
        self.last_env_steps = row.env_steps

    def close(self) -> None:
        """Nothing is open between rows."""


class EvaluationHook:
    """Plays evaluation games; leaves scores in TensorBoard and JSON, and a video."""

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
        self._writer = tf.summary.create_file_writer(str(run.eval_events))

    def evaluate(self, env_steps: int) -> None:
        """Evaluates the network as it is; leaves it undone where a stop was asked for."""
        started = time.monotonic()
        try:
            self._run_evaluation(env_steps)
        except Stopped:
            tell(
                f"The evaluation at {env_steps:,} steps was cut short; it comes when the run goes "
                "on."
            )
        self._pause(time.monotonic() - started)

    def _run_evaluation(self, env_steps: int) -> None:
        scores = {"env_steps": env_steps, **self._evaluate()}
        self._run.evaluations.mkdir(exist_ok=True)
        write_json(self._run.evaluation_json(env_steps), scores)
        with self._writer.as_default(step=env_steps):
            tf.summary.scalar("games/return_mean", float(scores["mean"]))
            tf.summary.scalar("games/return_median", float(scores["median"]))
        self._writer.flush()
        tell(
            f"Evaluation at {env_steps:,} steps: mean return {scores['mean']:.2f} of "
            f"{scores['games']} full games ({scores['protocol']['name']} protocol)"
        )
        if self._record is None:
            return
        path = self._run.videos / f"{env_steps:012d}.mp4"
        path.parent.mkdir(exist_ok=True)
        try:
            self._record(path)
        except UserError as error:
            # Days of training do not end for want of a video.
            tell(f"There is no video of it: {error.message}")

    def close(self) -> None:
        """Closes the event file."""
        self._writer.close()


def _env_steps_of(line: str) -> int | None:
    try:
        return int(json.loads(line)["env_steps"])
    except (ValueError, KeyError, TypeError):
        return None
