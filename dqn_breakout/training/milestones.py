"""When rows, checkpoints and evaluations are due, and in which order, so that none is ever lost.

A checkpoint is written before what only shows it, and says what is still to follow: of a process
that dies in between, the next one does the rest.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gin

from dqn_breakout.configurable import NonNegativeInt, PositiveInt, configurable
from dqn_breakout.learning.learning import Turn
from dqn_breakout.runs.checkpoint import RunCheckpointer
from dqn_breakout.runs.directory import RunDirectory
from dqn_breakout.runs.files import write_json
from dqn_breakout.runs.record import Lock
from dqn_breakout.training.hooks import EvaluationHook, OutputErrors
from dqn_breakout.training.progress import Hook, ProgressMeter, Row
from dqn_breakout.training.signals import StopSignals


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


@dataclasses.dataclass(frozen=True)
class Pending:
    """What a run has not done yet that was due when its checkpoint was written.

    Attributes:
        row: The row to be shown; None if it was shown.
        evaluation: Whether there is an evaluation to be played.
    """

    row: Row | None
    evaluation: bool

    @classmethod
    def at(cls, run: RunDirectory, counters: Mapping[str, Any], last_row_env_steps: int) -> Pending:
        """What is pending after a restored checkpoint.

        Args:
            run: The run.
            counters: The checkpoint's; empty where there was none.
            last_row_env_steps: Environment steps of the last row in `metrics.jsonl`; -1 for none.
        """
        env_steps = int(counters.get("env_steps", 0))
        row = counters.get("row") if env_steps > last_row_env_steps else None
        due = counters.get("evaluation_due", False)
        return cls(row, due and not run.evaluation_json(env_steps).exists())


@configurable(name="train")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long a run is, and when it leaves what; gin's `train`.

    Attributes:
        total_env_steps: The budget in environment steps, random fill included; there is a
            checkpoint at its end.
        log_period_env_steps: Environment steps between rows of numbers.
        checkpoint_period_env_steps: Environment steps between checkpoints.
        keep_checkpoints: How many checkpoints stay on disk.
        evaluation_period_env_steps: Environment steps between evaluations.
        evaluation_games: Full games of an evaluation.
        evaluation_protocol: Name of the evaluation's protocol.
        evaluation_video_seconds: Seconds of a game to record at each evaluation; 0 for no video.
        go_on_without_checkpoints: Whether to train on where a file cannot be written (a full disk,
            a directory that is gone) instead of stopping; the next is tried when it is due. The
            last checkpoint must succeed.
    """

    total_env_steps: PositiveInt = gin.REQUIRED
    log_period_env_steps: PositiveInt = gin.REQUIRED
    checkpoint_period_env_steps: PositiveInt = gin.REQUIRED
    keep_checkpoints: PositiveInt = gin.REQUIRED
    evaluation_period_env_steps: PositiveInt = gin.REQUIRED
    evaluation_games: PositiveInt = gin.REQUIRED
    evaluation_protocol: str = gin.REQUIRED
    evaluation_video_seconds: NonNegativeInt = gin.REQUIRED
    go_on_without_checkpoints: bool = gin.REQUIRED


@dataclasses.dataclass(kw_only=True)
class Milestones:
    """What a run leaves behind as it goes: rows, checkpoints, evaluations.

    Attributes:
        run: The run.
        schedule: When things are due.
        env_steps: Environment steps when this process began.
        meter: Makes rows of turns.
        checkpointer: Writes checkpoints, and ahead of them; the run is restored from it.
        weights_sha256: Gives the network's, for `summary.json`.
        hooks: Are shown turns and rows.
        evaluation: Plays and leaves scores.
        lock: Holds the run directory.
        stop: Tells that a stop was asked for.
        output_errors: Decides what becomes of an error in writing; never of the last checkpoint's.
        last_row_env_steps: Environment steps of the last row in `metrics.jsonl`; -1 for none.
    """

    run: RunDirectory
    schedule: Schedule
    env_steps: int
    meter: ProgressMeter
    checkpointer: RunCheckpointer
    weights_sha256: Callable[[], str]
    hooks: Sequence[Hook]
    evaluation: EvaluationHook
    lock: Lock
    stop: StopSignals
    output_errors: OutputErrors
    last_row_env_steps: int

    def __post_init__(self) -> None:
        schedule, env_steps = self.schedule, self.env_steps
        self._log_period = Period(schedule.log_period_env_steps, env_steps)
        self._save_period = Period(schedule.checkpoint_period_env_steps, env_steps)
        self._evaluation_period = Period(schedule.evaluation_period_env_steps, env_steps)
        self._saved = True
        counters = self.checkpointer.restored_counters
        self._pending = Pending.at(self.run, counters, self.last_row_env_steps)

    def nothing_left(self) -> bool:
        """Whether the budget is spent and all that was due is done.

        `summary.json` is written anew where it is of another moment: a kill may have come before.
        """
        if self.env_steps < self.schedule.total_env_steps:
            return False
        if not self._summary_is_of_this_moment():
            self._write_summary(self.meter.row())
        return self._pending == Pending(None, False)

    def make_up(self) -> bool:
        """Does what the process before left undone; returns whether a turn may follow."""
        if self._pending.row is not None:
            self._show(self._pending.row)
        return not self._pending.evaluation or self._evaluate(self.env_steps)

    def after(self, turn: Turn) -> bool:
        """Does what is due after a turn; returns whether another may follow.

        Raises:
            OSError: A file could not be written; checkpoints written before are sound.
        """
        self.meter.add(turn)
        with self.output_errors.attempt("the replay buffer's rows"):
            self.lock.check()
            self.checkpointer.write_ahead()
        for hook in self.hooks:
            hook.on_turn(turn)
        # Asked once: a signal that comes while rows are written is for the next turn, or this one
        # would end unsaved.
        stopping = self.stop.received is not None
        last = stopping or turn.env_steps >= self.schedule.total_env_steps
        log_due = self._log_period.due(turn.env_steps)
        evaluation_due = self._evaluation_period.due(turn.env_steps)
        save_due = self._save_period.due(turn.env_steps) or last or evaluation_due
        self._saved = False
        if log_due or save_due:
            row = self.meter.row()
            if save_due:
                row = self._save(row, evaluation_due, last)
            self._show(row)
        if stopping:
            return False
        return not evaluation_due or self._evaluate(turn.env_steps)

    def _save(self, row: Row, evaluation_due: bool, last: bool) -> Row:
        """Writes a checkpoint; returns the row with the seconds that it took."""
        started = time.monotonic()
        counters = {
            "env_steps": row["env_steps"],
            "train_steps": row["train_steps"],
            "row": row,
            "evaluation_due": evaluation_due,
        }
        # After the last one there is nothing to go on to: without it, work would be lost.
        with contextlib.nullcontext() if last else self.output_errors.attempt("a checkpoint"):
            self.lock.check()
            self.checkpointer.save(counters)
            self._saved = True
            row = {**row, "checkpoint_seconds": time.monotonic() - started}
        with self.output_errors.attempt("summary.json"):
            self.lock.check()
            self._write_summary(row)
        return row

    def _write_summary(self, row: Row) -> None:
        summary = {
            "env_steps": row["env_steps"],
            "train_steps": row["train_steps"],
            "episodes": row["episodes"],
            "env_steps_per_second": self.meter.overall_env_steps_per_second,
            "average_return": row["average_return"],
            "average_length_env_steps": row["average_length"],
            "epsilon": row["epsilon"],
            "weights_sha256": self.weights_sha256(),
        }
        write_json(self.run.summary_json, summary)

    def _summary_is_of_this_moment(self) -> bool:
        try:
            summary = json.loads(self.run.summary_json.read_text())
            found = summary["env_steps"], summary["weights_sha256"]
        except (OSError, ValueError, LookupError, TypeError):
            return False
        return found == (self.env_steps, self.weights_sha256())

    def _show(self, row: Row) -> None:
        for hook in self.hooks:
            with self.output_errors.attempt(hook.writes):
                if hook.into_run_directory:
                    self.lock.check()
                hook.on_row(row)

    def _evaluate(self, env_steps: int) -> bool:
        """Evaluates; returns whether a turn may follow.

        After a stop, the evaluation is still due, and the last checkpoint says so: none may. But
        if that could not be written, another turn gives it another try.
        """
        with self.output_errors.attempt(self.evaluation.writes):
            self.lock.check()
            self.evaluation.evaluate(env_steps, self.lock.check)
        return self.stop.received is None or not self._saved
