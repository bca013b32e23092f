"""This project with its replay buffer filled to a level: the memory it takes, how fast it is."""

from __future__ import annotations

import gc
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks import contestant
from benchmarks.this_project import ThisProject
from dqn_breakout.errors import UserError
from dqn_breakout.runs import checkpoint_files

# Written and read at a time while the buffer is filled: small beside what is measured.
_ROWS_IN_A_PIECE = 64
# As many transitions as a checkpoint holds in memory while it writes one of its segments.
_SEGMENT_TRANSITIONS = 4_096
_ENV_STEPS_IN_A_PIECE = 1_000
_FIRST_TRAINING_SECONDS = 3.0
_SAMPLINGS = 200
_PLAYER = Path(__file__).resolve().parents[1] / "pretrained" / "breakout" / "checkpoints"


class FilledReplay(ThisProject):
    """`ThisProject` whose buffer is filled with what was really played, over and over."""

    @property
    def capacity_bytes(self) -> int:
        """What the project itself says that a full buffer takes."""
        return self._parts.replay_buffer.capacity_bytes

    def play(self, env_steps: int) -> None:
        """Plays without training, with the network of `pretrained/breakout` at the run's epsilon.

        Frames of random play compress better than those of a game that is going well. What is
        played here goes into the replay buffer and into no count.
        """
        import tensorflow as tf
        from tf_agents.drivers.dynamic_step_driver import DynamicStepDriver

        parts = self._parts
        weights = checkpoint_files.open_checkpoint(checkpoint_files.existing(_PLAYER)[0]).arrays(
            "network"
        )
        for name, variable in zip(sorted(weights), parts.agent.q_network.variables, strict=True):
            variable.assign(weights[name])
        driver = DynamicStepDriver(
            parts.environment,
            parts.agent.collect_policy,
            [parts.replay_buffer.add_batch],
            num_steps=_ENV_STEPS_IN_A_PIECE,
        )
        run = tf.function(driver.run, autograph=False)
        self._played_from = parts.replay_buffer.rows_added
        for _ in range(0, env_steps, _ENV_STEPS_IN_A_PIECE):
            parts.collector.time_step, _ = run(parts.collector.time_step, ())
        self._played_to = parts.replay_buffer.rows_added

    def fill_to(self, transitions: int) -> None:
        """Stores played rows again until so many transitions were stored, overwritten ones too.

        A piece is read and written at a time, through the buffer, as a checkpoint's rows are.
        """
        buffer = self._parts.replay_buffer
        wanted = transitions // buffer.num_environments
        period = self._played_to - self._played_from
        while (there := buffer.rows_added) < wanted:
            start = there - period
            stop = start + min(_ROWS_IN_A_PIECE, wanted - there)
            buffer.write_rows(there, buffer.read_rows(start, stop))

    def memory(self) -> dict[str, int]:
        """Memory of this process in bytes, now and at most so far, and what is stored."""
        gc.collect()
        buffer = self._parts.replay_buffer
        stored = min(buffer.rows_added, buffer.max_length) * buffer.num_environments
        return {
            "transitions": stored,
            "resident_bytes": int(psutil.Process().memory_info().rss),
            "peak_bytes": _peak_bytes(),
        }

    def sampling(self) -> dict[str, float]:
        """Milliseconds of one group's sampling by itself, a median, and its transitions."""
        import tensorflow as tf

        learner = self._parts.learner
        number = learner.batch_size * learner.train_steps_per_group
        sample = tf.function(lambda: self._parts.replay_buffer.sample_transitions(number))
        sample()
        seconds = []
        for _ in range(_SAMPLINGS):
            started = time.perf_counter()
            sample()
            seconds.append(time.perf_counter() - started)
        return {"milliseconds": statistics.median(seconds) * 1e3, "transitions": number}

    def write_segment(self) -> None:
        """Writes a checkpoint's segment of rows, which is what a checkpoint takes memory for."""
        buffer = self._parts.replay_buffer
        stop = buffer.rows_added
        start = max(0, stop - _SEGMENT_TRANSITIONS // buffer.num_environments)
        with tempfile.TemporaryDirectory() as folder:
            rows = buffer.read_rows(start, stop)._asdict()
            checkpoint_files.write_segment(Path(folder), "rows.npz.lz4", rows)


def _peak_bytes() -> int:
    """The most memory that this process ever had resident."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def _start(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    project = FilledReplay(settings)
    built = project.memory()
    facts = project.fill()
    project.play(settings["played_env_steps"])
    project.train_until(time.perf_counter() + _FIRST_TRAINING_SECONDS)

    def level(transitions: int) -> dict[str, Any]:
        """Fills up to a level and says what that took."""
        started = time.perf_counter()
        project.fill_to(transitions)
        project.train_until(time.perf_counter() + 1.0)
        return {"seconds": time.perf_counter() - started, **project.memory()}

    def training(seconds: float) -> dict[str, Any]:
        """Trains for a time."""
        env_steps, updates = project.counts()
        started = time.perf_counter()
        project.train_until(started + seconds)
        env_steps_now, updates_now = project.counts()
        return {
            "env_steps": env_steps_now - env_steps,
            "updates": updates_now - updates,
            "seconds": time.perf_counter() - started,
        }

    def checkpoint() -> dict[str, int]:
        """Writes a segment and says what memory that took."""
        project.write_segment()
        return project.memory()

    ready = {
        **facts,
        "env_steps_per_iteration": project.env_steps_per_iteration,
        "capacity_bytes": project.capacity_bytes,
        "memory": built,
    }
    return ready, {
        "level": level,
        "training": training,
        "sampling": project.sampling,
        "checkpoint": checkpoint,
    }


if __name__ == "__main__":
    contestant.serve(_start, tell=(UserError,))
