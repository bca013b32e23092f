"""What it costs that a run goes on to the bit: python -m benchmarks.resume_cost --help

Two real `train.py` of the same configuration and seed take turns on the machine; while one runs,
the other is stopped. One writes replay segments beside training, and checkpoints; the other writes
neither. Both write their rows of numbers; neither evaluates.

A checkpoint of `breakout.gin` comes too rarely to be timed often. So two costs are measured apart
and put together by `COST_FORMULA`: what the segments take from the speed between checkpoints; and
how long training stands still for a checkpoint, which comes more often here. How long hardly
depends on how often: nearly all was written before, beside training. On a machine that others use
too, speeds differ by more than that; the processor time that an environment step takes hardly does,
and is told beside. See docs/reliability.md.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import report, rounds, this_project
from benchmarks.processes import ROOT, Child, TrainProcess
from dqn_breakout.errors import UserError

ON, OFF = "exact resume on", "exact resume off"
COST_FORMULA = (
    "1 - r * t / (t + pause): r = median over rounds of on / off, environment steps a second "
    "without the pauses; t = checkpoint_period_env_steps / (on, median); pause = median of all "
    "checkpoints"
)
_NEVER = 10**9
# The first turns compile.
_ROWS_OF_WARM_UP = 3


def warm_up(run: TrainProcess) -> None:
    """Stops a run after a few train steps; never in a checkpoint, whose row comes after it."""
    trained = 0
    while trained < _ROWS_OF_WARM_UP:
        trained += sum(row["train_steps"] > 0 for row in run.next_rows())
    run.process.suspend()


def go_on(run: TrainProcess, seconds: float) -> dict[str, Any]:
    """Lets a run train for at least so long, from one row to another, and stops it again."""
    run.new_rows()
    run.process.resume()
    # Up to the first row nothing is timed: caches are then its own.
    first, started = run.next_rows()[-1], time.perf_counter()
    worked = run.cpu_seconds()
    rows, passed = [], 0.0
    while passed < seconds:
        rows += run.next_rows()
        passed = time.perf_counter() - started
    worked = run.cpu_seconds() - worked
    run.process.suspend()
    env_steps = rows[-1]["env_steps"] - first["env_steps"]
    pauses = [each for row in rows if (each := row["checkpoint_seconds"]) is not None]
    return {
        "env_steps": env_steps,
        "seconds": passed,
        "checkpoint_seconds": pauses,
        "env_steps_per_second": env_steps / (passed - sum(pauses)),
        "processor_ms_per_env_step": 1000 * worked / env_steps,
    }


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = report.parser("resume_cost", __doc__, rounds=8, seconds=60.0, seed=1)
    made.add_argument(
        "--checkpoint_period_env_steps",
        type=report.positive_int,
        default=10_000,
        help="between the checkpoints that are timed",
    )
    return made


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything, as the result holds it.

    Raises:
        UserError: gin is wrong, a run ended early, or there was no checkpoint to time.
    """
    options.gin_period_env_steps = this_project.configured(
        options.gin_file, options.gin_bindings, "train.checkpoint_period_env_steps"
    )
    runs = ROOT / "runs"
    runs.mkdir(exist_ok=True)
    with contextlib.ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix=".cost-", dir=runs)))
        both: dict[str, Child] = {}
        for name in (ON, OFF):
            report.tell(f"{name}: the random fill, the first train steps ...")
            both[name] = running.enter_context(run := _start(options, name, folder))
            warm_up(run)
        measured = list(rounds.take(both, options.rounds, lambda run: go_on(run, options.seconds)))
    return {
        "formula": COST_FORMULA,
        "env_steps_per_second": rounds.medians(measured, "env_steps_per_second"),
        **cost(measured, options.gin_period_env_steps),
        "rounds": measured,
    }


def _start(options: argparse.Namespace, name: str, folder: Path) -> TrainProcess:
    period = options.checkpoint_period_env_steps if name == ON else _NEVER
    program = ("train.py",) if name == ON else ("-c", this_project.TRAIN_WITHOUT_WRITING_AHEAD)
    bindings = [
        *options.gin_bindings,
        f"train.checkpoint_period_env_steps = {period}",
        f"train.evaluation_period_env_steps = {_NEVER}",
        f"train.total_env_steps = {_NEVER}",
    ]
    return TrainProcess(name, folder / name.replace(" ", "-"), options.gin_file, bindings, program)


def cost(measured: Sequence[dict[str, Any]], checkpoint_period_env_steps: int) -> dict[str, float]:
    """Puts the two costs together, for a run with a checkpoint so often.

    Returns:
        `of_writing_ahead`, `of_checkpoints` and `cost`, shares of the speed without either;
        `pause_seconds`, of one checkpoint; and `of_processor_time`, what writing ahead and the
        timed checkpoints add to the processor time of an environment step.

    Raises:
        UserError: There was no checkpoint.
    """
    pauses = [seconds for each in measured for seconds in each["checkpoint_seconds"]]
    if not pauses:
        raise UserError(
            "No checkpoint came while it was timed. Give more --seconds or --rounds, or fewer "
            "--checkpoint_period_env_steps."
        )
    ratio, pause = rounds.ratio(measured, ON, OFF), statistics.median(pauses)
    speed = rounds.medians(measured, "env_steps_per_second")[ON]
    between = checkpoint_period_env_steps / speed
    training = between / (between + pause)
    return {
        "of_processor_time": rounds.ratio(measured, ON, OFF, "processor_ms_per_env_step") - 1,
        "of_writing_ahead": 1 - ratio,
        "of_checkpoints": 1 - training,
        "pause_seconds": pause,
        "cost": 1 - ratio * training,
    }


def show(result: dict[str, Any]) -> None:
    """Prints the result as tables; costs are shares of the speed, pauses left out of it."""
    measured = result["rounds"]
    work = rounds.medians(measured, "processor_ms_per_env_step")
    report.table(
        [rounds.speed_row(measured, name) | {"processor ms a step": work[name]} for name in work]
    )
    report.table([cost(measured, result["settings"]["gin_period_env_steps"])])


if __name__ == "__main__":
    report.run(parser(), measure, show)
