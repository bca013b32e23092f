"""What a result came from, versions, git revision and machine, and how it uses the processors."""

from __future__ import annotations

import math
import os
import platform
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

# Where control groups, by which containers limit processes, are shown.
_GROUPS, _OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
# Distributions and what they are imported as; another may bring the same, such as tensorflow-cpu.
_PACKAGES = {
    "ale-py": "ale_py",
    "gin-config": "gin",
    "gymnasium": "gymnasium",
    "numpy": "numpy",
    "opencv-python-headless": "cv2",
    "tensorflow": "tensorflow",
    "tf-agents": "tf_agents",
    "tf-keras": "tf_keras",
}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on."""
    return {"python": platform.python_version(), **{each: _version(each) for each in _PACKAGES}}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        others = metadata.packages_distributions().get(_PACKAGES[package], [])
        return ", ".join(f"{metadata.version(each)} ({each})" for each in others) or "unknown"


def git_revision() -> str | None:
    """The checkout's revision, with `-dirty` where files differ; None outside a checkout.

    A repository that a copy of the project lies in, or that git's variables name, is another.
    """
    checkout = Path(__file__).resolve().parents[1]
    named = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    variables = {name: value for name, value in os.environ.items() if name not in named}
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=checkout,
            env={**variables, "GIT_CEILING_DIRECTORIES": str(checkout.parent)},
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
    """Cores that this process may keep busy: those it may run on, or a container's share if less.

    A share is rounded up to whole cores.
    """
    usable = getattr(os, "sched_getaffinity", None)  # Linux alone tells.
    cores = [len(usable(0)) if usable else os.cpu_count() or 1]
    for group in _control_groups("cpu"):
        times = ("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")  # Version 2, version 1.
        for names in times:
            told = [word for name in names for word in _text(group / name).split()]
            if len(told) == 2 and all(map(str.isdecimal, told)):  # "max" or "-1" is no limit.
                cores.append(max(1, math.ceil(int(told[0]) / int(told[1]))))
    return min(cores)


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
    limits = [
        int(word)
        for group in _control_groups("memory")
        for name in ("memory.max", "memory.limit_in_bytes")  # Version 2, version 1.
        for word in _text(group / name).split()
        if word.isdecimal()
    ]
    return min([int(psutil.virtual_memory().total), *limits])


def _control_groups(controller: str) -> Iterator[Path]:
    """The groups that limit this process: its own and all around it, of both versions.

    A container may be shown its own group in the place of the root: then inner ones are not there.
    """
    for line in _text(_OWN_GROUPS).splitlines():
        _, controllers, path = line.split(":", 2)  # No controller is named in version 2.
        if controllers == "" or controller in controllers.split(","):
            root = _GROUPS / controller if controllers else _GROUPS
            group = root / path.strip("/")
            yield from (each for each in (group, *group.parents) if each.is_relative_to(root))


def _text(path: Path) -> str:
    """What stands in a file; nothing where it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _processor() -> str:
    for line in _text(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
