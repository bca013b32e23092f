"""What a result came from, versions, git revision and machine, and how it uses the processors."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

# Where a control group limits a process's memory, as containers do (version 2, version 1).
_MEMORY_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_PACKAGES = (
    "ale-py",
    "gin-config",
    "gymnasium",
    "numpy",
    "opencv-python-headless",
    "tensorflow",
    "tf-agents",
    "tf-keras",
)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on."""
    return {
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in _PACKAGES},
    }


def git_revision() -> str | None:
    """The checkout's revision, with `-dirty` where files differ; None outside a checkout."""
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()


def circumstances() -> dict[str, Any]:
    """What a run's record says of a start: revision, versions, machine and names of its GPUs."""
    import tensorflow as tf  # Not above: a command that is refused does not wait for it.

    details = tf.config.experimental.get_device_details
    gpus = tf.config.get_visible_devices("GPU")
    return {
        "git_revision": git_revision(),
        "versions": versions(),
        "machine": description(),
        "gpus": [details(gpu).get("device_name", "GPU") for gpu in gpus],
    }


def description() -> dict[str, Any]:
    """Processor, cores, those of them that this process may use, and memory."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "memory_bytes": memory_bytes(),
    }


def usable_cores() -> int:
    """Cores that this process may run on, where the system tells; else all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def share_threads() -> None:
    """Shares the processors between what a training process does side by side.

    All of them help inside single operations; one thread trains, one computes the targets that are
    needed next, and one plays.

    Raises:
        RuntimeError: TensorFlow has computed something already, and has its threads.
    """
    import tensorflow as tf  # Not above: doctor looks at machines where it does not load.

    tf.config.threading.set_intra_op_parallelism_threads(usable_cores())
    tf.config.threading.set_inter_op_parallelism_threads(3)


def memory_bytes() -> int:
    """Memory that this process may use at most: the machine's, or its container's limit if less."""
    texts = [path.read_text().strip() for path in _MEMORY_LIMITS if path.is_file()]
    limits = [int(text) for text in texts if text.isdigit()]
    return min([int(psutil.virtual_memory().total), *limits])


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
