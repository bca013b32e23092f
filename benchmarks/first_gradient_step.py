"""How long `python train.py` takes from a shell's prompt to the first gradient step."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import processes
from dqn_breakout.run_directory import RunDirectory

_LOOKS_EVERY_SECONDS = 0.01


def seconds(gin_files: Sequence[str], gin_bindings: Sequence[str]) -> float:
    """Starts a run in a new directory, waits for its first train steps, and ends it.

    The run writes a row after each turn of its loop; the time is that until a row with train steps
    stands in `metrics.jsonl`. Imports, the random fill, compilation and the whole first turn of
    training are in it.

    Args:
        gin_files: The run's gin files.
        gin_bindings: Its bindings.

    Raises:
        MeasurementError: The run ended before.
    """
    with tempfile.TemporaryDirectory(prefix="first-gradient-step-") as folder:
        run = RunDirectory(folder)
        command = [sys.executable, "train.py", f"--run_dir={folder}"]
        command += [f"--gin_file={name}" for name in gin_files]
        command += [f"--gin_bindings={binding}" for binding in gin_bindings]
        command.append("--gin_bindings=train.log_period_env_steps=1")
        started = time.perf_counter()
        process = processes.OwnProcess("train.py", command, talks=False)
        try:
            while not trains(run.metrics_jsonl):
                if process.has_ended():
                    raise process.ended()
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
