"""Says whether this machine can train: python -m dqn_breakout.doctor --gin_file=breakout.gin

One line for each thing that training needs, with ok or FAIL before it, and below each FAIL how to
mend it. Exits with 1 if any line fails. A process of its own looks, so that a TensorFlow that ends
it becomes a line like any other.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dqn_breakout import command_line
from dqn_breakout.command_line import PROJECT
from dqn_breakout.errors import UserError
from dqn_breakout.runs.files import expanded

_MAKE = f"make -C {shlex.quote(str(PROJECT))}"
_INSTALL = f"Run `{_MAKE} doctor`, which sets its own Python up first."
# A checkpoint's replay rows are compressed: of an 84x84 frame LZ4 left 265 to 1,566 bytes on the
# four games that were measured. Rounded up, with the rest of the row.
_DISK_BYTES_PER_TRANSITION = 2_000
# Networks of two checkpoints, TensorBoard's events, videos.
_OTHER_DISK_BYTES = 500_000_000


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the doctor's answer: what was found, and how to mend it unless it is sound."""

    text: str
    mend: str = ""

    def __str__(self) -> str:
        return f"FAIL  {self.text}\n      {self.mend}" if self.mend else f"ok    {self.text}"


def examine(
    gin_files: Sequence[str], gin_bindings: Sequence[str], run_dir: Path
) -> Iterator[Finding]:
    """Yields a finding for each thing that training needs, until one keeps the rest from sight.

    `run_dir` need not exist, and is not made.
    """
    fits = (3, 11) <= sys.version_info < (3, 14)
    yield Finding(
        f"Python {platform.python_version()} at {sys.executable}",
        "" if fits else f"Run `{_MAKE} setup PYTHON=python3.11`, or with 3.12 or 3.13.",
    )
    there = next(each for each in (run_dir, *run_dir.absolute().parents) if each.exists())
    yield check_run_directory(run_dir, there)
    try:
        import psutil
        import tensorflow as tf
        import tf_agents
        import tf_keras

        from dqn_breakout import config, experiment, machine  # noqa: F401  (what configs may name)
        from dqn_breakout.environments.builder import create_environment
        from dqn_breakout.replay import replay_buffer
    except (AttributeError, ImportError, OSError) as error:
        yield Finding(f"TensorFlow, TF-Agents and this project do not load: {error}", _INSTALL)
        return
    versions = f"TF-Agents {tf_agents.__version__}, legacy Keras {tf_keras.__version__}"
    yield Finding(f"TensorFlow {tf.__version__}, {versions} load")
    yield Finding(f"CPU: {machine.usable_cores()} cores")
    gpus = [device.name for device in tf.config.list_physical_devices("GPU")]
    yield Finding(f"GPUs: {', '.join(gpus) or 'none, training runs on the CPU'}")
    yield check_ffmpeg()
    try:
        config.parse(gin_files, gin_bindings)
        with config.building():
            environment = create_environment(0, "doctor", num_environments=1)
        config.value("build.learning")
        spec, observation = environment.pyenv.spec, environment.observation_spec()
        environment.close()
        replay = _replay(observation, spec.stacked)
    except UserError as error:
        yield Finding(f"Config {' '.join([*gin_files, *gin_bindings])}", error.message)
        return
    yield Finding(f"{spec.name} starts, with {len(spec.action_names)} actions")
    if replay:
        capacity, row_bytes = replay
        free = min(machine.memory_bytes(), int(psutil.virtual_memory().available))
        yield check_memory(capacity, row_bytes, replay_buffer.OTHER_MEMORY_BYTES, free)
        yield check_disk(there, capacity, shutil.disk_usage(there).free)


def _replay(observation: Any, stacked: bool) -> tuple[int, int] | None:
    """Transitions that the config keeps in replay and bytes of each; None where there is none."""
    from dqn_breakout import config, configurable
    from dqn_breakout.replay import frame_table, replay_buffer, stored_observations

    names = [f"create_replay_buffer.{each}" for each in ("capacity_transitions", "frame_table")]
    if all(config.value(name, None) is None for name in names):
        return None
    capacity, table = map(config.value, names)
    configurable.check(names[0], capacity, configurable.PositiveInt)
    frame_table.check_table(table)
    row = stored_observations.stored_observations(observation, stacked).row_spec
    return capacity, replay_buffer.row_bytes(row, table)


def check_run_directory(run_dir: Path, there: Path) -> Finding:
    """Whether `there`, what exists of a run directory's path, can be written."""
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        return Finding(
            f"Run directory {run_dir}: {there} cannot be written ({error.strerror})",
            f"Mend its permissions (chmod u+w {shlex.quote(str(there))}), or choose another with "
            "--run_dir.",
        )
    return Finding(f"Run directory {run_dir} can be written")


def check_ffmpeg() -> Finding:
    """Whether there is an ffmpeg that runs, for videos."""
    try:
        import imageio_ffmpeg

        return Finding(f"ffmpeg {imageio_ffmpeg.get_ffmpeg_version()}, for videos")
    except (ImportError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        mend = f"Run `{_MAKE} setup`, or name one: export IMAGEIO_FFMPEG_EXE=/path/to/ffmpeg"
        return Finding(f"ffmpeg, for videos, does not run: {error}", mend)


def check_memory(transitions: int, row_bytes: int, other_bytes: int, free_bytes: int) -> Finding:
    """Whether free memory holds a full replay buffer, and `other_bytes` that training takes."""
    needed = transitions * row_bytes + other_bytes
    fitting = (free_bytes - other_bytes) // row_bytes // 10_000 * 10_000
    mend = "Close other programs, or use a machine with more memory."
    if fitting > 0:
        binding = f"create_replay_buffer.capacity_transitions={fitting}"
        mend = f"Close other programs, or train with --gin_bindings={binding}"
    return Finding(
        f"Memory: {_gb(needed)} needed with {transitions:,} transitions in replay, "
        f"{_gb(free_bytes)} free",
        mend if needed > free_bytes else "",
    )


def check_disk(there: Path, transitions: int, free_bytes: int) -> Finding:
    """Whether the disk that holds `there` has room for a run's checkpoints, replay included."""
    needed = transitions * _DISK_BYTES_PER_TRANSITION + _OTHER_DISK_BYTES
    return Finding(
        f"Disk: {_gb(needed)} needed at most for checkpoints, {_gb(free_bytes)} free at {there}",
        "Make room there, or choose a --run_dir elsewhere." if needed > free_bytes else "",
    )


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


@command_line.told
def _tell(gin_files: Sequence[str], gin_bindings: Sequence[str], run_dir: Path) -> int:
    """Prints the findings; returns 1 if any of them is a failure, else 0."""
    failures = 0
    for finding in examine(gin_files, gin_bindings, run_dir):
        failures += bool(finding.mend)
        print(finding, flush=True)
    print("All is well." if not failures else f"{failures} of these lines must be mended.")
    return 1 if failures else 0


def _process(*question: Any) -> None:
    sys.exit(_tell(*question))


@command_line.told
def main(arguments: Sequence[str] | None = None) -> int:
    """Has the findings printed; returns 1 if any of them is a failure, else 0."""
    parser = argparse.ArgumentParser(prog="python -m dqn_breakout.doctor", description=__doc__)
    add = parser.add_argument
    add("--gin_file", action="append", help="as in train.py (default: breakout.gin)")
    add("--gin_bindings", action="append", default=[], help="as in train.py")
    add("--run_dir", type=expanded, default="runs", help="where the run would live")
    given = parser.parse_args(arguments)
    question = (given.gin_file or ["breakout.gin"], given.gin_bindings, given.run_dir)
    process = multiprocessing.get_context("spawn").Process(target=_process, args=question)
    process.start()
    process.join()
    if process.exitcode is not None and process.exitcode < 0:
        ended_by = signal.Signals(-process.exitcode).name
        mend = "TensorFlow's packages need a processor with AVX, which this one may lack."
        print(Finding(f"TensorFlow ends the process with {ended_by}", mend))
        return 1
    return process.exitcode or 0


if __name__ == "__main__":
    sys.exit(main())
