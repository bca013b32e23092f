"""When rows, checkpoints and evaluations are due, and in which order, so that none is ever lost.

A checkpoint is written before what only shows it, and says what is still to follow: of a process
that dies in between, the next one does the rest.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import time
from collections.abc import Callable, Sequence

import gin

from dqn_breakout.configurable import NonNegativeInt, PositiveInt, configurable
from dqn_breakout.evaluation import protocols
from dqn_breakout.learning.learning import Turn
from dqn_breakout.runs.checkpoint import RunCheckpointer
from dqn_breakout.runs.files import write_json
from dqn_breakout.runs.record import Lock
from dqn_breakout.training.hooks import EvaluationHook
from dqn_breakout.training.output_errors import OutputErrors
from dqn_breakout.training.progress import Hook, ProgressMeter, Row
from dqn_breakout.training.signals import StopSignals


def period_ended(period_env_steps: int, before: int, now: int) -> bool:
    """Whether a multiple of a period was reached after `before` environment steps, by `now`."""
    return now // period_env_steps > before // period_env_steps


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

    def __post_init__(self) -> None:
        protocols.by_name(self.evaluation_protocol)  # Or refused before anything else happens.


@dataclasses.dataclass(kw_only=True)
class Milestones:
    """What a run leaves behind as it goes: rows, checkpoints, evaluations.

    Attributes:
        schedule: When things are due.
        meter: Makes rows of turns.
        checkpointer: Writes checkpoints, and ahead of them; the run is restored from it.
        weights_sha256: Gives the network's, for `summary.json`.
        hooks: Are shown turns and rows.
        evaluation: Plays and leaves scores.
        lock: Holds the run directory.
        stop: Tells that a stop was asked for.
    """

    schedule: Schedule
    meter: ProgressMeter
    checkpointer: RunCheckpointer
    weights_sha256: Callable[[], str]
    hooks: Sequence[Hook]
    evaluation: EvaluationHook
    lock: Lock
    stop: StopSignals

    def __post_init__(self) -> None:
        restored = self.checkpointer.restored_counters
        self._env_steps = restored.get("env_steps", 0)
        self._output_errors = OutputErrors(self.lock, self.schedule.go_on_without_checkpoints)
        # It was due with the restored checkpoint, and is not done.
        self._evaluation_pending = (
            restored.get("evaluation_due", False)
            and not self.lock.run.evaluation_json(self._env_steps).exists()
        )
        self._saved = True

    def nothing_left(self) -> bool:
        """Whether the budget is spent and all that was due is done.

        `summary.json` is written anew where it is of another moment: a kill may have come before.
        """
        if self._env_steps < self.schedule.total_env_steps:
            return False
        if not self._summary_is_of_this_moment():
            self._write_summary(self.meter.row())
        return not self._evaluation_pending

    def make_up(self) -> bool:
        """Evaluates where the process before left it undone; returns whether a turn may follow."""
        return not self._evaluation_pending or self._evaluate(self._env_steps)

    def after(self, turn: Turn) -> bool:
        """Does what is due after a turn; returns whether another may follow.

        Raises:
            OSError: A file could not be written; checkpoints written before are sound.
        """
        self.meter.add(turn)
        self._output_errors.attempt("the replay buffer's rows", self.checkpointer.write_ahead)
        for hook in self.hooks:
            hook.on_turn(turn)
        # Asked once: a signal that comes while rows are written is for the next turn, or this one
        # would end unsaved.
        stopping = self.stop.received is not None
        last = stopping or turn.env_steps >= self.schedule.total_env_steps
        before, self._env_steps = self._env_steps, turn.env_steps
        due = functools.partial(period_ended, before=before, now=turn.env_steps)
        log_due = due(self.schedule.log_period_env_steps)
        evaluation_due = due(self.schedule.evaluation_period_env_steps)
        save_due = due(self.schedule.checkpoint_period_env_steps) or last or evaluation_due
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
        save = functools.partial(self.checkpointer.save, counters)
        self._saved = self._output_errors.attempt("a checkpoint", save, must_succeed=last)
        if self._saved:
            row = {**row, "checkpoint_seconds": time.monotonic() - started}
        self._output_errors.attempt("summary.json", functools.partial(self._write_summary, row))
        return row

    def _write_summary(self, row: Row) -> None:
        summary = {
            "env_steps": row["env_steps"],
            "train_steps": row["train_steps"],
            "episodes": row["episodes"],
            "env_steps_per_second": self.meter.overall_env_steps_per_second,
            "average_return": row["average_return"],
            "average_length_env_steps": row["average_length"],
            "epsilon": row.get("epsilon"),
            "weights_sha256": self.weights_sha256(),
        }
        write_json(self.lock.run.summary_json, summary)

    def _summary_is_of_this_moment(self) -> bool:
        try:
            summary = json.loads(self.lock.run.summary_json.read_text())
            found = summary["env_steps"], summary["weights_sha256"]
        except (OSError, ValueError, LookupError, TypeError):
            return False
        return found == (self._env_steps, self.weights_sha256())

    def _show(self, row: Row) -> None:
        for hook in self.hooks:
            show = functools.partial(hook.on_row, row)
            self._output_errors.attempt(hook.writes, show, in_run=hook.into_run_directory)

    def _evaluate(self, env_steps: int) -> bool:
        """Evaluates; returns whether a turn may follow.

        After a stop, the evaluation is still due, and the last checkpoint says so: none may. But
        if that could not be written, another turn gives it another try.
        """
        evaluate = functools.partial(self.evaluation.evaluate, env_steps)
        self._output_errors.attempt(self.evaluation.writes, evaluate)
        return self.stop.received is None or not self._saved

    def close(self) -> None:
        """Closes hooks and evaluation, which write what they have left."""
        for each in (*self.hooks, self.evaluation):
            self._output_errors.attempt(each.writes, each.close, in_run=False)
