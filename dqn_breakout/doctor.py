"""Says whether this machine can train: python -m dqn_breakout.doctor --gin_file=breakout.gin

One line for each thing that training needs, with ok or FAIL before it, and below each FAIL how to
mend it; skip stands before what could not be looked at because of a line above. Exits with 1 if any
line fails. What imports TensorFlow runs in a process of its own, so that a TensorFlow that cannot
even be loaded becomes a line like any other.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from dqn_breakout import compatibility
from dqn_breakout.errors import UserError
from dqn_breakout.runs.files import expanded

_ROOT = Path(__file__).resolve().parents[1]
_INSTALL = "Run `make setup`, and use its Python: .venv/bin/python -m dqn_breakout.doctor"
# A checkpoint's replay rows are compressed: of an 84x84 frame LZ4 left 265 to 1,566 bytes on the
# four games that were measured. Rounded up, with the rest of the row.
_DISK_BYTES_PER_TRANSITION = 2_000
# Networks of two checkpoints, TensorBoard's events, videos.
_OTHER_DISK_BYTES = 500_000_000


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the doctor's answer.

    Attributes:
        text: What was looked at and found.
        mend: How to mend it; empty where it is sound.
        skipped: Whether it was not looked at, because of a finding before it.
    """

    text: str
    mend: str = ""
    skipped: bool = False

    def __str__(self) -> str:
        if self.skipped:
            return f"skip  {self.text}"
        return f"FAIL  {self.text}\n      {self.mend}" if self.mend else f"ok    {self.text}"


def examine(
    gin_files: Sequence[str], gin_bindings: Sequence[str], run_dir: Path
) -> Iterator[Finding]:
    """Yields a finding for each thing that training with a config needs.

    Args:
        gin_files: The config, as train.py takes it.
        gin_bindings: Bindings after the files.
        run_dir: Where the run would live; it need not exist, and is not made.
    """
    try:
        tomllib = importlib.import_module("tomllib")
    except ImportError:
        yield Finding(f"Python {platform.python_version()} is older than 3.11", _INSTALL)
        return
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    installed = list(check_versions(project["requires-python"], project["dependencies"]))
    yield from installed
    if any(finding.mend for finding in installed):
        yield Finding("Nothing else was looked at: it needs these packages.", skipped=True)
        return
    # Not above: it needs packages itself.
    from dqn_breakout import machine

    yield check_cpu(_processor_flags(), machine.usable_cores())
    yield check_ffmpeg()
    yield check_run_directory(run_dir)

    facts = _probe_in_own_process(gin_files, gin_bindings)
    if isinstance(facts, Finding):
        yield facts
        yield Finding("GPUs, ROM, memory and disk: they need the line above.", skipped=True)
        return
    yield Finding(f"TensorFlow and TF-Agents load, with legacy Keras {facts['keras']}")
    yield check_gpus(facts["gpus"], compatibility.has_nvidia_driver())
    yield check_rom(facts["game"], facts["rom"])
    yield check_memory(facts["transitions"], facts["row_bytes"], facts["other_bytes"])
    yield check_disk(run_dir, facts["transitions"])


def check_versions(requires_python: str, dependencies: Sequence[str]) -> Iterator[Finding]:
    """Compares what is installed with what the project declares.

    Args:
        requires_python: Versions of Python, such as ">=3.11,<3.14".
        dependencies: Packages with their versions, such as "numpy>=2".
    """
    try:
        requirements = importlib.import_module("packaging.requirements")
        specifiers = importlib.import_module("packaging.specifiers")
    except ImportError:
        yield Finding(f"Python {platform.python_version()} at {sys.executable}")
        yield Finding("packaging is not installed", _INSTALL)
        return
    python = platform.python_version()
    fits = python in specifiers.SpecifierSet(requires_python)
    yield Finding(
        f"Python {python} at {sys.executable} ({requires_python} declared)",
        "" if fits else "Run `make setup PYTHON=python3.11`, or with another version that fits.",
    )
    for dependency in dependencies:
        requirement = requirements.Requirement(dependency)
        wanted = f"{requirement.specifier} declared"
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield Finding(f"{requirement.name} is not installed ({wanted})", _INSTALL)
            continue
        fits = requirement.specifier.contains(version, prereleases=True)
        yield Finding(f"{requirement.name} {version} ({wanted})", "" if fits else _INSTALL)


def check_cpu(flags: set[str], cores: int) -> Finding:
    """Tells the cores and whether they multiply in bfloat16; neither can be wrong.

    Args:
        flags: What the processor reports, in Linux's words; empty where it is not known.
        cores: Cores that this process may use.
    """
    bf16 = sorted(flags & {"amx_bf16", "avx512_bf16", "bf16"})
    told = f"yes ({', '.join(bf16)})" if bf16 else "no" if flags else "not known"
    return Finding(f"CPU: {cores} cores, bfloat16: {told}")


def check_gpus(gpus: Sequence[str], has_driver: bool) -> Finding:
    """Tells the GPUs that TensorFlow sees; training needs none.

    Args:
        gpus: Their names.
        has_driver: Whether an NVIDIA driver is there.
    """
    if gpus:
        return Finding(f"GPUs: {', '.join(gpus)}")
    if has_driver:
        return Finding(
            "GPUs: TensorFlow sees none, training runs on the CPU; for the NVIDIA card here, run "
            "`make setup LOCK=requirements-cuda.lock`"
        )
    return Finding("GPUs: none, training runs on the CPU")


def check_ffmpeg() -> Finding:
    """Whether there is an ffmpeg that runs, for videos."""
    mend = "Run `make setup`, or name one: export IMAGEIO_FFMPEG_EXE=/path/to/ffmpeg"
    try:
        path = importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe()
        answer = subprocess.run([path, "-version"], capture_output=True, text=True, check=True)
    except (ImportError, RuntimeError, OSError, subprocess.SubprocessError) as error:
        return Finding(f"ffmpeg, for videos, does not run: {error}", mend)
    return Finding(f"ffmpeg, for videos: {answer.stdout.split(' Copyright')[0]}")


def check_run_directory(run_dir: Path) -> Finding:
    """Whether a run could be written there; neither it nor its parents are made."""
    there = _nearest_existing(run_dir)
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        return Finding(
            f"Run directory {run_dir}: {there} cannot be written ({error.strerror})",
            f"Mend its permissions (chmod u+w {there}), or choose another with --run_dir.",
        )
    return Finding(f"Run directory {run_dir} can be written")


def check_rom(game: str, rom: str | None) -> Finding:
    """Whether ale-py holds the game's ROM.

    Args:
        game: The game's name.
        rom: The ROM's path, if any.
    """
    if rom is None or not Path(rom).is_file():
        return Finding(f"ROM of {game}: not found in ale-py", _INSTALL)
    return Finding(f"ROM of {game}: {rom}")


def check_memory(
    transitions: int,
    row_bytes: int,
    other_bytes: int,
    total_bytes: int | None = None,
    available_bytes: int | None = None,
) -> Finding:
    """Whether the memory that is free now holds a full replay buffer and what training takes.

    Args:
        transitions: The replay buffer's capacity.
        row_bytes: Bytes of one transition.
        other_bytes: What training takes beside the replay buffer.
        total_bytes: What this process may use at most; by default the machine is asked.
        available_bytes: What is free of it; by default the machine is asked.
    """
    # Imported here: without psutil, a line of its own says so.
    from dqn_breakout import machine

    total = total_bytes or machine.memory_bytes()
    memory = importlib.import_module("psutil").virtual_memory()
    available = available_bytes or min(total, memory.available)
    needed = transitions * row_bytes + other_bytes
    text = (
        f"Memory: {_gb(needed)} needed with {transitions:,} transitions in replay, "
        f"{_gb(available)} of {_gb(total)} free"
    )
    if needed <= available:
        return Finding(text)
    fitting = max(0, available - other_bytes) // row_bytes // 10_000 * 10_000
    mend = f"Lower the replay buffer: create_replay_buffer.capacity_transitions = {fitting}"
    if not fitting:
        mend = "Use a machine with more memory."
    if needed <= total:
        mend = f"Close other programs. Or: {mend[0].lower()}{mend[1:]}"
    return Finding(text, mend)


def check_disk(run_dir: Path, transitions: int, free_bytes: int | None = None) -> Finding:
    """Whether the disk under the run directory holds a run's checkpoints.

    Args:
        run_dir: The run directory.
        transitions: The replay buffer's capacity; checkpoints hold it, compressed.
        free_bytes: What is free there; by default the disk is asked.
    """
    there = _nearest_existing(run_dir)
    free = shutil.disk_usage(there).free if free_bytes is None else free_bytes
    needed = transitions * _DISK_BYTES_PER_TRANSITION + _OTHER_DISK_BYTES
    text = f"Disk: {_gb(needed)} needed at most for checkpoints, {_gb(free)} free at {there}"
    mend = "Make room there, or choose a --run_dir on another disk."
    return Finding(text, "" if needed <= free else mend)


def probe(gin_files: Sequence[str], gin_bindings: Sequence[str]) -> dict[str, Any]:
    """Collects what only TensorFlow, gin and the project's own parts know.

    Args:
        gin_files: The config, as train.py takes it.
        gin_bindings: Bindings after the files.

    Returns:
        Values that JSON holds.

    Raises:
        UserError: The config is wrong.
    """
    import tensorflow as tf
    import tf_keras
    from ale_py import roms

    from dqn_breakout import config, experiment, limits  # noqa: F401  (registers the configurables)
    from dqn_breakout.environments.roms import rom_id
    from dqn_breakout.replay import frame_replay_buffer
    from dqn_breakout.replay.frame_table import chosen_table

    config.parse(gin_files, gin_bindings)
    frame_table = "create_replay_buffer.frame_table"
    table = chosen_table(frame_table, config.value(frame_table))
    game = config.value("create_environment.game")
    capacity = "create_replay_buffer.capacity_transitions"
    rom = roms.get_rom_path(rom_id(game))
    return {
        "keras": tf_keras.__version__,
        "gpus": [device.name for device in tf.config.list_physical_devices("GPU")],
        "game": game,
        "rom": str(rom) if rom else None,
        "transitions": limits.positive_int(capacity, config.value(capacity)),
        "row_bytes": frame_replay_buffer.row_bytes((84, 84), table),
        "other_bytes": frame_replay_buffer.OTHER_MEMORY_BYTES,
    }


def _probe_in_own_process(
    gin_files: Sequence[str], gin_bindings: Sequence[str]
) -> dict[str, Any] | Finding:
    """Runs `probe` in a fresh interpreter: its facts, or the finding of what went wrong."""
    code = (
        "import json, sys\n"
        "from dqn_breakout import doctor, errors\n"
        "try:\n"
        "    answer = doctor.probe(*json.loads(sys.argv[1]))\n"
        "except errors.UserError as error:\n"
        "    answer = {'user_error': error.message}\n"
        "print(json.dumps(answer))\n"
    )
    question = json.dumps([list(gin_files), list(gin_bindings)])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(_ROOT), *sys.path[1:]])}
    result = subprocess.run(
        [sys.executable, "-c", code, question],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if result.returncode != 0:
        return _describe_crash(result.returncode, result.stderr)
    answer: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    if "user_error" in answer:
        return Finding(f"Config {' '.join([*gin_files, *gin_bindings])}", answer["user_error"])
    return answer


def _describe_crash(exit_code: int, stderr: str) -> Finding:
    """The finding for a process that could not load TensorFlow, TF-Agents and this project."""
    last = next((line for line in reversed(stderr.splitlines()) if line.strip()), "no message")
    if exit_code in (-signal.SIGILL, -signal.SIGABRT):
        mend = "TensorFlow's packages need a processor with AVX, which this one may lack."
        return Finding(f"TensorFlow stops with {signal.Signals(-exit_code).name}: {last}", mend)
    return Finding(
        f"TensorFlow and TF-Agents do not load: {last}",
        f"{_INSTALL}\n      If it stays: python -c 'import dqn_breakout.experiment' says more.",
    )


def _nearest_existing(path: Path) -> Path:
    """The path itself or the first of its parents that exists."""
    absolute = path.absolute()
    return next(place for place in (absolute, *absolute.parents) if place.exists())


def _processor_flags() -> set[str]:
    """What the processor reports it can do, in Linux's words; empty on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return {
        flag
        for line in lines
        if line.startswith(("flags", "Features"))
        for flag in line.partition(":")[2].split()
    }


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the findings; returns 1 if any of them is a failure, 2 for a wrong flag, else 0."""
    parser = argparse.ArgumentParser(
        prog="python -m dqn_breakout.doctor",
        description="Says whether this machine can train with a config, and how to mend what it "
        "lacks.",
    )
    parser.add_argument(
        "--gin_file",
        action="append",
        metavar="FILE",
        help="a gin file: a path, or a name in gin/; may be repeated (default: breakout.gin)",
    )
    parser.add_argument(
        "--gin_bindings", action="append", default=[], metavar="BINDING", help="as in train.py"
    )
    parser.add_argument(
        "--run_dir",
        type=Path,
        default=Path("runs"),
        metavar="DIR",
        help="where the run would live (default: runs)",
    )
    options = parser.parse_args(arguments)
    try:
        run_dir = expanded(options.run_dir)
    except UserError as error:
        print(error.message, file=sys.stderr)
        return UserError.EXIT_CODE
    failures = 0
    for finding in examine(options.gin_file or ["breakout.gin"], options.gin_bindings, run_dir):
        failures += bool(finding.mend)
        print(finding, flush=True)
    print("All is well." if not failures else f"{failures} of these lines must be mended.")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
