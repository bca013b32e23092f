"""Trains for an hour and watches what the process holds: memory, open files, files on disk.

The smoke configuration without end: the real network, a small replay buffer that is soon full, and
a checkpoint about twice a minute, with a replay segment written beside training before it. From
the tenth minute to the end memory may grow by less than one per cent, and the number of open files
and of files in the run directory not at all. What they take on disk is told beside: checkpoints and
segments are bounded by the replay buffer, logs grow with the rows.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import signal
import statistics
import time
from pathlib import Path

import psutil

from dqn_breakout.runs.directory import RunDirectory
from tests.chaos.campaign import Case, Trial
from tests.chaos.train_process import TrainProcess

MOST_GROWTH = 0.01
_WARM_UP_MINUTES = 10.0
_EVERY_SECONDS = 30.0
_FLAGS = (
    "--gin_file=breakout.gin",
    "--gin_file=smoke.gin",
    "--gin_bindings=train.total_env_steps = 1000000000",
    "--gin_bindings=train.checkpoint_period_env_steps = 5000",
    "--gin_bindings=create_replay_buffer.capacity_transitions = 10000",
    "--gin_bindings=train.evaluation_period_env_steps = 20000",
    "--gin_bindings=train.evaluation_video_seconds = 5",
)


@dataclasses.dataclass(frozen=True)
class Sample:
    """What a process held at a moment.

    Attributes:
        minutes: Since its start.
        env_steps: Environment steps logged so far.
        memory_bytes: Resident memory.
        open_files: Descriptors: files, pipes and the like.
        threads: Threads.
        files: Files in the run directory, but for what each evaluation adds on purpose.
        disk_bytes: All that is in the run directory, for information.
    """

    minutes: float
    env_steps: int
    memory_bytes: int
    open_files: int
    threads: int
    files: int
    disk_bytes: int


def cases(work_dir: Path, minutes: float) -> list[Case]:
    """One run, watched for so many minutes."""
    return [Case(f"{minutes:g} minutes", "fast", functools.partial(soak, minutes))]


def soak(minutes: float, trial: Trial) -> None:
    """Trains, watches and judges."""
    life = TrainProcess(
        [*_FLAGS, f"--run_dir={trial.run.path}"], trial.folder / "soak", from_scratch=True
    )
    samples = []
    began = time.monotonic()
    while (passed := (time.monotonic() - began) / 60) < minutes and life.running():
        time.sleep(min(_EVERY_SECONDS, (minutes - passed) * 60))
        with contextlib.suppress(psutil.NoSuchProcess):
            samples.append(sample(life.pid, trial.run, (time.monotonic() - began) / 60))
            print(samples[-1], flush=True)
    life.signal(signal.SIGTERM)
    trial.must_end(life.wait(), 128 + signal.SIGTERM)
    trial.told["samples"] = [dataclasses.asdict(each) for each in samples]
    judge(samples, trial)


def sample(pid: int, run: RunDirectory, minutes: float) -> Sample:
    """Looks at a process and its run directory."""
    process = psutil.Process(pid)
    kept, disk_bytes = 0, 0
    for folder, _, names in os.walk(run.path):  # It passes over folders that vanish meanwhile.
        for path in (Path(folder, name) for name in names):
            with contextlib.suppress(FileNotFoundError):
                disk_bytes += path.stat().st_size
                if path.parent not in (run.evaluations, run.videos) and path.suffix != ".tmp":
                    kept += 1
    env_steps = 0
    with contextlib.suppress(FileNotFoundError, IndexError):
        # What stands after the last line's end is half a row.
        env_steps = json.loads(run.metrics_jsonl.read_text().split("\n")[-2])["env_steps"]
    return Sample(
        minutes=round(minutes, 2),
        env_steps=env_steps,
        memory_bytes=process.memory_info().rss,
        open_files=process.num_fds(),
        threads=process.num_threads(),
        files=kept,
        disk_bytes=disk_bytes,
    )


def judge(samples: list[Sample], trial: Trial) -> None:
    """Notes what grew.

    Open files and files on disk swing while a checkpoint is written or an evaluation goes on, and
    what the first evaluation loads stays: the first third is left aside, and a leak is a least and
    a most that are both higher in the last third than in the second.
    """
    settled = [each for each in samples if each.minutes >= _WARM_UP_MINUTES]
    if not trial.must(len(settled) >= 4, f"only {len(settled)} samples after the warm-up"):
        return
    tenth = max(2, len(settled) // 10)
    first, last = (
        statistics.median(each.memory_bytes for each in part)
        for part in (settled[:tenth], settled[-tenth:])
    )
    growth = last / first - 1
    trial.told |= {"memory growth": round(growth, 4), "env_steps": samples[-1].env_steps}
    trial.must(growth < MOST_GROWTH, f"memory grew by {growth:.2%}")
    third = len(settled) // 3
    for name in ("open_files", "threads", "files"):
        before, after = (
            [getattr(each, name) for each in part]
            for part in (settled[third:-third], settled[-third:])
        )
        leaks = min(after) > min(before) and max(after) > max(before)
        trial.must(not leaks, f"{name}: at most {max(before)}, later {max(after)}")
