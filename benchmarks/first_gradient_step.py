"""How long `python train.py` takes from a shell's prompt to the first gradient step."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import processes
from benchmarks.report import MeasurementError
from dqn_breakout.runs.directory import RunDirectory

_LOOKS_EVERY_SECONDS = 0.01
# Of the options, only a replay buffer that is too large makes `train.py` name this one.
_TOO_LITTLE_MEMORY = "--ignore_memory"


class TooLittleMemory(MeasurementError):
    """This machine's memory is too small for the run's replay buffer."""


def seconds(gin_files: Sequence[str], gin_bindings: Sequence[str], threads: int | None) -> float:
    """Starts a run in a new directory, waits for its first train steps, and ends it.

    The run writes its first row after its second turn, the first that trains where play overlaps
    with training, and what is timed ends when that row stands in `metrics.jsonl`. Imports, the
    random fill, compilation and both turns are in it.

    Args:
        gin_files: The run's gin files.
        gin_bindings: Its bindings.
        threads: Processor cores that it may use; None for all.

    Raises:
        UserError: The gin files or bindings are wrong.
        TooLittleMemory: The run's replay buffer, of its full size, does not fit this machine.
        MeasurementError: The run ended before for another reason.
    """
    from dqn_breakout import config, experiment  # noqa: F401  (registers what gin configures)

    config.parse(gin_files, gin_bindings)
    # The fill's last step, of all games, may go beyond it, and the turn after it only plays where
    # play overlaps with training.
    first_row = (
        config.value("create_collector.random_fill_env_steps")
        + config.value("create_environment.num_environments")
        + config.value("create_collector.env_steps_per_iteration")
    )
    with tempfile.TemporaryDirectory(prefix="first-gradient-step-") as folder:
        run = RunDirectory(folder)
        command = [sys.executable, "train.py", f"--run_dir={folder}"]
        command += [f"--gin_file={name}" for name in gin_files]
        command += [f"--gin_bindings={binding}" for binding in gin_bindings]
        command.append(f"--gin_bindings=train.log_period_env_steps = {first_row}")
        started = time.perf_counter()
        process = processes.OwnProcess("train.py", command, talks=False, threads=threads)
        try:
            while not trains(run.metrics_jsonl):
                if process.has_ended():
                    error = process.ended()
                    if _TOO_LITTLE_MEMORY in error.message:
                        raise TooLittleMemory(error.message)
                    raise error
                time.sleep(_LOOKS_EVERY_SECONDS)
            return time.perf_counter() - started
        finally:
            process.close(at_once=True)


def trains(metrics_jsonl: Path) -> bool:
    """Whether a run's rows tell of a train step."""
    if not metrics_jsonl.exists():
        return False
    # The last line may still be without its end.
    rows = metrics_jsonl.read_text().split("\n")[:-1]
    return any(json.loads(row)["train_steps"] > 0 for row in rows)
