"""Where a run stands, in numbers, and who is told: console, TensorBoard, metrics.jsonl."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from dqn_breakout.collection.metrics import CollectionMetrics
from dqn_breakout.learning.learning import Turn

Row = dict[str, Any]
"""Numbers of a run by name, None for those there are none of; see `runs.metrics.METRICS`."""


class Hook:
    """A side effect of training; what it cannot write raises OSError.

    Attributes:
        writes: What it writes, as a message names it.
        into_run_directory: Whether it writes there, and so must not while that is gone.
    """

    writes: str
    into_run_directory = True

    def on_turn(self, turn: Turn) -> None:
        """After each turn; must be cheap."""

    def on_row(self, row: Row) -> None:
        """At each log period and each checkpoint."""

    def close(self) -> None:
        """When the run ends or stops."""


class ProgressMeter:
    """Gathers turns into rows."""

    def __init__(
        self,
        metrics: CollectionMetrics,
        metric_names: Sequence[str],
        status: Callable[[], dict[str, Any]],
    ):
        """Starts the clock.

        Args:
            metrics: Give environment steps and scores.
            metric_names: What turns are measured by; see `Learning.metric_names`.
            status: Gives what the learning says of itself; see `Learning.status`.
        """
        self._metrics = metrics
        self._metric_names = metric_names
        self._status = status
        self._started = self._last_time = time.monotonic()
        self._first_env_steps = self._last_env_steps = metrics.env_steps
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._train_steps = 0

    def add(self, turn: Turn) -> None:
        """Takes a turn into account."""
        for name, value in turn.metrics.items():
            self._sums[name] += float(value.numpy()) * turn.train_steps_taken
        self._train_steps += turn.train_steps_taken

    def pause(self, seconds: float) -> None:
        """Leaves out time that was not training: an evaluation, say."""
        self._last_time += seconds
        self._started += seconds

    @property
    def overall_env_steps_per_second(self) -> float:
        """Speed of this process since it began."""
        passed = time.monotonic() - self._started
        return (self._metrics.env_steps - self._first_env_steps) / max(passed, 1e-9)

    def row(self) -> Row:
        """Where the run stands; sums start anew."""
        now, env_steps = time.monotonic(), self._metrics.env_steps
        means = {name: total / self._train_steps for name, total in self._sums.items()}
        row = {
            "env_steps": env_steps,
            "episodes": self._metrics.episodes,
            "average_return": self._metrics.average_return,
            "average_length": self._metrics.average_length,
            **dict.fromkeys(self._metric_names),
            **means,
            **self._status(),
            "env_steps_per_second": (env_steps - self._last_env_steps)
            / max(now - self._last_time, 1e-9),
            "wall_seconds": now - self._started,
            "checkpoint_seconds": None,
        }
        self._last_time, self._last_env_steps = now, env_steps
        self._sums.clear()
        self._train_steps = 0
        return row
