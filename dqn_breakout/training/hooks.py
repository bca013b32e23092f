"""What happens beside training: console, TensorBoard, evaluation. One class, one side effect.

A hook is told each row; it never touches what training depends on.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol, TextIO

import tensorflow as tf
from tqdm import tqdm

from dqn_breakout.run_directory import RunDirectory, write_json
from dqn_breakout.training.loop import Iteration
from dqn_breakout.training.progress import Row


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


class ConsoleHook:
    """A progress bar on a terminal; a line per row elsewhere."""

    def __init__(self, total_env_steps: int, env_steps: int, stream: TextIO = sys.stderr):
        """Shows progress from `env_steps` to `total_env_steps` on `stream`."""
        self._total = total_env_steps
        self._stream = stream
        self._bar = (
            tqdm(
                total=total_env_steps,
                initial=env_steps,
                unit=" steps",
                unit_scale=True,
                dynamic_ncols=True,
                file=stream,
                bar_format="{percentage:3.0f}% {bar} {n_fmt}/{total_fmt} [{elapsed}<{remaining}, "
                "{rate_fmt}]{postfix}",
            )
            if stream.isatty()
            else None
        )

    def on_iteration(self, iteration: Iteration) -> None:
        """Moves the bar."""
        if self._bar is not None:
            self._bar.update(min(iteration.env_steps, self._total) - self._bar.n)

    def on_row(self, row: Row) -> None:
        """Shows the row's numbers."""
        if self._bar is not None:
            self._bar.set_postfix_str(self._numbers(row))
            return
        left = max(self._total - row.env_steps, 0) / max(row.env_steps_per_second, 1e-9)
        print(
            f"{row.env_steps:>10,} steps ({row.env_steps / self._total:4.0%}), "
            f"{self._numbers(row)}, {row.env_steps_per_second:,.0f} steps/s, "
            f"{format_seconds(left)} left",
            file=self._stream,
            flush=True,
        )

    def close(self) -> None:
        """Leaves the bar as it is and goes to the next line."""
        if self._bar is not None:
            self._bar.close()

    @staticmethod
    def _numbers(row: Row) -> str:
        score = "-" if row.average_return is None else f"{row.average_return:.2f}"
        loss = "-" if row.loss is None else f"{row.loss:.4f}"
        return (
            f"{row.episodes:,} games, mean return {score}, loss {loss}, epsilon {row.epsilon:.3f}"
        )


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
    """Every row as a line of `metrics.jsonl`, for plots and scripts."""

    def __init__(self, run: RunDirectory, env_steps: int):
        """Goes on after `env_steps`: rows of work that was lost with a crash are dropped."""
        self._path = run.metrics_jsonl
        if self._path.exists():
            kept = [
                line
                for line in self._path.read_text().splitlines()
                if (number := _env_steps_of(line)) is not None and number <= env_steps
            ]
            temporary = self._path.with_suffix(".jsonl.tmp")
            temporary.write_text("".join(line + "\n" for line in kept))
            os.replace(temporary, self._path)

    def on_iteration(self, iteration: Iteration) -> None:
        """Nothing."""

    def on_row(self, row: Row) -> None:
        """Appends the row."""
        with open(self._path, "a") as file:
            file.write(json.dumps(row.as_dict()) + "\n")

    def close(self) -> None:
        """Nothing is open between rows."""


class EvaluationHook:
    """Plays evaluation games now and then; scores go to TensorBoard's eval run and to JSON files."""

    def __init__(
        self,
        run: RunDirectory,
        evaluate: Callable[[int], dict[str, Any]],
        period_env_steps: int,
        env_steps: int,
        pause: Callable[[float], None],
    ):
        """Prepares the first evaluation.

        Args:
            run: Where results go.
            evaluate: Plays the games; is given the environment steps so far, returns the scores.
            period_env_steps: Environment steps between evaluations.
            env_steps: Where the run stands.
            pause: Is told how many seconds an evaluation took.
        """
        self._run = run
        self._evaluate = evaluate
        self._period = Period(period_env_steps, env_steps)
        self._pause = pause
        self._writer = tf.summary.create_file_writer(str(run.eval_events))

    def on_iteration(self, iteration: Iteration) -> None:
        """Evaluates when a period has passed."""
        if self._period.due(iteration.env_steps):
            self.evaluate(iteration.env_steps)

    def on_row(self, row: Row) -> None:
        """Nothing."""

    def evaluate(self, env_steps: int) -> dict[str, Any]:
        """Evaluates now.

        Returns:
            The scores, as they were written.
        """
        started = time.monotonic()
        scores = {"env_steps": env_steps, **self._evaluate(env_steps)}
        self._run.evaluations.mkdir(exist_ok=True)
        write_json(self._run.evaluations / f"{env_steps:012d}.json", scores)
        with self._writer.as_default(step=env_steps):
            tf.summary.scalar("games/return_mean", float(scores["mean"]))
            tf.summary.scalar("games/return_median", float(scores["median"]))
        self._writer.flush()
        tqdm.write(
            f"Evaluation at {env_steps:,} steps: mean return {scores['mean']:.2f} of "
            f"{scores['games']} full games ({scores['protocol']['name']} protocol)",
            file=sys.stderr,
        )
        self._pause(time.monotonic() - started)
        return scores

    def close(self) -> None:
        """Closes the event file."""
        self._writer.close()


def format_seconds(seconds: float) -> str:
    """Seconds as people read them: `45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _env_steps_of(line: str) -> int | None:
    try:
        return int(json.loads(line)["env_steps"])
    except (ValueError, KeyError, TypeError):
        return None
