"""When rows, checkpoints and evaluations are due, and in which order, so that none is ever lost.

A checkpoint is written before what only shows it, and says what is still to follow: of a process
that dies in between, the next one does the rest.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dqn_breakout import errors
from dqn_breakout.runs.checkpoint import RunCheckpointer
from dqn_breakout.runs.directory import RunDirectory
from dqn_breakout.runs.record import Lock
from dqn_breakout.training.console import ConsoleHook, tell
from dqn_breakout.training.hooks import EvaluationHook, Hook, Output
from dqn_breakout.training.loop import Iteration
from dqn_breakout.training.progress import ProgressMeter, Row
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
class Owed:
    """What a run has not done yet that was due when its checkpoint was written.

    Attributes:
        row: The row to be shown; None if it was shown.
        evaluation: Whether there is an evaluation to be played.
    """

    row: Row | None
    evaluation: bool

    @classmethod
    def at(cls, run: RunDirectory, counters: dict[str, Any], last_row_env_steps: int) -> Owed:
        """What is owed after a restored checkpoint.

        Args:
            run: The run.
            counters: The checkpoint's; empty where there was none.
            last_row_env_steps: Environment steps of the last row in `metrics.jsonl`.
        """
        env_steps = int(counters.get("env_steps", 0))
        row = Row.from_dict(counters.get("row")) if env_steps > last_row_env_steps else None
        due = counters.get("evaluation_due") is True
        return cls(row, due and not run.evaluation_json(env_steps).exists())


NOTHING = Owed(None, False)


class Writing:
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

    def close(self, output: Output) -> None:
        """Closes an output; see `attempt`."""
        with self.attempt(output.writes):
            output.close()


@dataclasses.dataclass(frozen=True)
class Schedule:
    """When things are due, in environment steps.

    Attributes:
        total_env_steps: The budget; there is a checkpoint at its end.
        log_period_env_steps: Between rows.
        checkpoint_period_env_steps: Between checkpoints.
        evaluation_period_env_steps: Between evaluations.
    """

    total_env_steps: int
    log_period_env_steps: int
    checkpoint_period_env_steps: int
    evaluation_period_env_steps: int


class Milestones:
    """What a run leaves behind as it goes: rows, checkpoints, evaluations."""

    def __init__(
        self,
        schedule: Schedule,
        env_steps: int,
        *,
        meter: ProgressMeter,
        checkpointer: RunCheckpointer,
        write_summary: Callable[[Row], None],
        hooks: Sequence[Hook],
        evaluation: EvaluationHook,
        lock: Lock,
        stop: StopSignals,
        writing: Writing,
    ):
        """Prepares what comes after `env_steps`.

        Args:
            schedule: When things are due.
            env_steps: Environment steps so far.
            meter: Makes rows of turns.
            checkpointer: Writes checkpoints, and ahead of them.
            write_summary: Writes `summary.json`.
            hooks: Are shown turns and rows.
            evaluation: Plays and leaves scores.
            lock: Holds the run directory.
            stop: Tells that a stop was asked for.
            writing: Decides what becomes of an error in writing; never of the last checkpoint's.
        """
        self._env_steps = env_steps
        self._total_env_steps = schedule.total_env_steps
        self._log_period = Period(schedule.log_period_env_steps, env_steps)
        self._save_period = Period(schedule.checkpoint_period_env_steps, env_steps)
        self._evaluation_period = Period(schedule.evaluation_period_env_steps, env_steps)
        self._meter = meter
        self._checkpointer = checkpointer
        self._write_summary = write_summary
        self._hooks = hooks
        self._evaluation = evaluation
        self._lock = lock
        self._stop = stop
        self._writing = writing
        self._saved = True

    def make_up(self, owed: Owed) -> bool:
        """Does what the process before still owed; returns whether a turn may follow."""
        if owed.row is not None:
            self._show(owed.row)
        return not owed.evaluation or self._evaluate(self._env_steps)

    def after(self, iteration: Iteration) -> bool:
        """Does what is due after a turn; returns whether another may follow.

        Raises:
            OSError: A file could not be written; checkpoints written before are sound.
        """
        self._meter.add(iteration)
        with self._writing.attempt("the replay buffer's rows"):
            self._lock.check()
            self._checkpointer.write_ahead()
        for hook in self._hooks:
            hook.on_iteration(iteration)
        # Asked once: a signal that comes while rows are written is for the next turn, or this one
        # would end unsaved.
        stopping = self._stop.received is not None
        last = stopping or iteration.env_steps >= self._total_env_steps
        log_due = self._log_period.due(iteration.env_steps)
        evaluation_due = self._evaluation_period.due(iteration.env_steps)
        save_due = self._save_period.due(iteration.env_steps) or last or evaluation_due
        self._saved = False
        if log_due or save_due:
            row = self._meter.row()
            if save_due:
                row = self._save(row, evaluation_due, last)
            self._show(row)
        if stopping:
            return False
        return not evaluation_due or self._evaluate(iteration.env_steps)

    def _save(self, row: Row, evaluation_due: bool, last: bool) -> Row:
        """Writes a checkpoint; returns the row with the seconds that it took."""
        started = time.monotonic()
        counters = {
            "env_steps": row.env_steps,
            "train_steps": row.train_steps,
            "row": row.as_dict(),
            "evaluation_due": evaluation_due,
        }
        # After the last one there is nothing to go on to: without it, work would be lost.
        with contextlib.nullcontext() if last else self._writing.attempt("a checkpoint"):
            self._lock.check()
            self._checkpointer.save(counters)
            self._saved = True
            row = dataclasses.replace(row, checkpoint_seconds=time.monotonic() - started)
        with self._writing.attempt("summary.json"):
            self._lock.check()
            self._write_summary(row)
        return row

    def _show(self, row: Row) -> None:
        for hook in self._hooks:
            with self._writing.attempt(hook.writes):
                # The console shows rows while the directory is gone; all others write into it.
                if not isinstance(hook, ConsoleHook):
                    self._lock.check()
                hook.on_row(row)

    def _evaluate(self, env_steps: int) -> bool:
        """Evaluates; returns whether a turn may follow.

        After a stop, the evaluation is still due, and the last checkpoint says so: none may. But
        if that could not be written, another turn gives it another try.
        """
        with self._writing.attempt(self._evaluation.writes):
            self._lock.check()
            self._evaluation.evaluate(env_steps, self._lock.check)
        return self._stop.received is None or not self._saved
