"""Trains for an hour and watches what the process holds: memory, open files, files on disk.

    python -m tests.chaos.soak                  an hour
    python -m tests.chaos.soak --minutes 20     less; memory is compared from the tenth minute on

The smoke configuration without end: the real network, a small replay buffer that is soon full, and
a checkpoint about twice a minute, with a replay segment written beside training before it. From
the tenth minute to the end memory may grow by less than one per cent, and the number of open files
and of files in the run directory not at all. What they take on disk is told beside: checkpoints and
segments are bounded by the replay buffer, logs grow with the rows.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import statistics
import sys
import time
from pathlib import Path

import psutil

from dqn_breakout.runs.directory import RunDirectory
from tests.chaos import campaign
from tests.chaos.train_process import TrainProcess

MOST_GROWTH = 0.01
_WARM_UP_MINUTES = 10.0
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
        disk_bytes: All that is in the run directory. Logs grow with the rows, and evaluations add
            to it: for information.
    """

    minutes: float
    env_steps: int
    memory_bytes: int
    open_files: int
    threads: int
    files: int
    disk_bytes: int


def sample(process: psutil.Process, run: RunDirectory, minutes: float) -> Sample:
    """Looks at a process and its run directory."""
    kept, disk_bytes = 0, 0
    for folder, _, names in os.walk(run.path):  # It passes over folders that vanish meanwhile.
        for path in (Path(folder, name) for name in names):
            with contextlib.suppress(FileNotFoundError):
                disk_bytes += path.stat().st_size
                if path.parent not in (run.evaluations, run.videos) and path.suffix != ".tmp":
                    kept += 1
    return Sample(
        minutes=round(minutes, 2),
        env_steps=_env_steps(run),
        memory_bytes=process.memory_info().rss,
        open_files=process.num_fds(),
        threads=process.num_threads(),
        files=kept,
        disk_bytes=disk_bytes,
    )


def watch(run: RunDirectory, minutes: float, every_seconds: float) -> tuple[list[Sample], int]:
    """Trains for so many minutes; the samples, and the exit code after SIGTERM."""
    life = TrainProcess(
        [*_FLAGS, f"--run_dir={run.path}"], run.path.with_suffix(".out"), plain=True
    )
    process = psutil.Process(life.pid)
    samples = []
    began = time.monotonic()
    print("minutes    env steps   memory MB   open files   threads   files   disk MB", flush=True)
    while (passed := (time.monotonic() - began) / 60) < minutes and life.running():
        time.sleep(min(every_seconds, max(0.0, minutes * 60 - passed * 60)))
        if not life.running():
            break
        now = sample(process, run, (time.monotonic() - began) / 60)
        samples.append(now)
        print(
            f"{now.minutes:7.1f} {now.env_steps:12,} {now.memory_bytes / 1e6:11.1f} "
            f"{now.open_files:12} {now.threads:9} {now.files:7} "
            f"{now.disk_bytes / 1e6:9.1f}",
            flush=True,
        )
    life.signal(signal.SIGTERM)
    ended = life.wait()
    if ended.code != 128 + signal.SIGTERM:
        print(ended.err[-2000:], file=sys.stderr)
    return samples, ended.code


def faults_of(samples: list[Sample], code: int) -> tuple[list[str], dict[str, float]]:
    """What did not hold, and the numbers that were compared.

    Open files and files on disk swing while a checkpoint is written or an evaluation goes on, and
    what the first evaluation loads stays: the first third is left aside, and a leak is a least and
    a most that are both higher in the last third than in the second.
    """
    faults = [] if code == 128 + signal.SIGTERM else [f"exit code {code}"]
    settled = [each for each in samples if each.minutes >= _WARM_UP_MINUTES]
    if len(settled) < 4:
        return [*faults, f"only {len(settled)} samples after minute {_WARM_UP_MINUTES:.0f}"], {}
    tenth = max(2, len(settled) // 10)
    first, last = (
        statistics.median(each.memory_bytes for each in part)
        for part in (settled[:tenth], settled[-tenth:])
    )
    growth = last / first - 1
    if growth >= MOST_GROWTH:
        faults.append(f"memory grew by {growth:.2%}")
    third = len(settled) // 3
    for name in ("open_files", "threads", "files"):
        before, after = (
            [getattr(each, name) for each in part]
            for part in (settled[third:-third], settled[-third:])
        )
        if min(after) > min(before) and max(after) > max(before):
            faults.append(f"{name.replace('_', ' ')}: {max(before)}, later {max(after)}")
    return faults, {
        "memory_after_warm_up_bytes": first,
        "memory_at_the_end_bytes": last,
        "growth": growth,
        "env_steps": samples[-1].env_steps,
    }


def _env_steps(run: RunDirectory) -> int:
    try:
        lines = run.metrics_jsonl.read_text().split("\n")[:-1]
        return int(json.loads(lines[-1])["env_steps"]) if lines else 0
    except FileNotFoundError:
        return 0


def main() -> int:
    """Trains, watches and judges."""
    parser = campaign.arguments(str(__doc__).splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--every_seconds", type=float, default=30.0)
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    work_dir: Path = campaign.working_directory(options)
    run = RunDirectory(work_dir / "soak")
    shutil.rmtree(run.path, ignore_errors=True)
    samples, code = watch(run, options.minutes, options.every_seconds)
    faults, numbers = faults_of(samples, code)
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "name": "soak",
            "faults": faults,
            **numbers,
            "samples": [dataclasses.asdict(each) for each in samples],
        }
        options.output.write_text(json.dumps(content, indent=2) + "\n")
    if numbers:
        print(f"memory grew by {numbers['growth']:.2%} after minute {_WARM_UP_MINUTES:.0f}")
    print("\n".join(["FAILED", *faults]) if faults else "held")
    if options.work_dir is None and not faults:
        shutil.rmtree(work_dir)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
