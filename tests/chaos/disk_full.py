"""Fills the disk at every write of a short run: the last checkpoint is sound, and the run goes on.

    python -m tests.chaos.disk_full                  at each operation that needs room
    python -m tests.chaos.disk_full --operation 27   at that one
    python -m tests.chaos.disk_full --tmpfs          a file system that is really full (needs root)

From one operation on, each that needs room fails with "No space left on device", and half of what
was to be written stands on the disk, as on a real one. Then there is room again, and the same
command is given: it must end as a run that was left alone.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from dqn_breakout import checkpoint_files
from dqn_breakout.run_directory import RunDirectory
from tests.chaos import campaign, file_operations
from tests.chaos.campaign import Result
from tests.chaos.tiny_run import PATHS, compare, flags, operations, reference
from tests.chaos.train_process import TrainProcess, warm_up

# From less than one checkpoint to room for all that a tiny run ever has at once.
_TMPFS_KILOBYTES = range(24, 1700, 90)


def refused(ended_code: int, err: str) -> list[str]:
    """What is wrong with how a process took a full disk; nothing where it said so and stopped."""
    faults = []
    lines = err.strip().splitlines()
    if ended_code != 2:
        faults.append(f"exit code {ended_code}")
    if "Traceback" in err:
        faults.append(f"a stack trace: {lines[-1]}")
    elif not lines or "No space left on device" not in lines[-1]:
        faults.append(f"no word of the disk: {lines[-1] if lines else 'nothing at all'}")
    return faults


def unsound(run: RunDirectory) -> list[str]:
    """What is wrong with the newest checkpoint, its replay segments and the half-written files."""
    faults = []
    for path in checkpoint_files.checkpoints(run.checkpoints)[:1]:
        try:
            checkpoint_files.open_checkpoint(path).verify(run.replay)
        except checkpoint_files.DamagedCheckpoint as error:
            faults.append(f"the last checkpoint is not sound: {error}")
    return faults


def at_operation(number: int, path: str, work_dir: Path) -> Result:
    """A run that meets a full disk at one operation, and goes on once there is room again."""
    kind, name = operations(path, work_dir)[number - 1]
    run = RunDirectory(work_dir / f"full-{path}-{number}")
    shutil.rmtree(run.path, ignore_errors=True)
    ended = TrainProcess(
        flags(path, run),
        work_dir / f"{run.path.name}.out",
        prepare=file_operations.full_at(run.path, number),
    ).wait()
    faults = [*refused(ended.code, ended.err), *unsound(run)]
    saved = checkpoint_files.checkpoints(run.checkpoints)
    told: dict[str, Any] = {"path": path, "at": f"{kind} {name}", "saved before": len(saved)}
    again = TrainProcess(flags(path, run), work_dir / f"{run.path.name}-again.out").wait()
    if again.code != 0:
        faults.append(f"with room again: exit code {again.code}: {again.err[-500:]}")
    else:
        faults += compare(run, path, work_dir)
    if not faults:
        shutil.rmtree(run.path)
    return Result(f"--operation {number}", faults, told)


def each_kind(path: str, work_dir: Path) -> list[int]:
    """Numbers of operations that need room: of each kind on each file, the first and the second.

    At the second there is an earlier checkpoint, which must stay sound.
    """
    seen: dict[tuple[str, str], int] = {}
    chosen = []
    for number, (kind, name) in enumerate(operations(path, work_dir), start=1):
        # Two checkpoints, segments or evaluations differ in numbers only.
        like = (kind, re.sub(r"\d+", "0", name))
        seen[like] = seen.get(like, 0) + 1
        if kind in file_operations.NEED_ROOM and seen[like] <= 2:
            chosen.append(number)
    return chosen


# --- A file system that is really full -----------------------------------------------------------


def on_tmpfs(kilobytes: int, path: str, work_dir: Path) -> Result:
    """A run on a file system of so many kilobytes, which is then made larger."""
    folder = work_dir / f"tmpfs-{kilobytes}"
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", folder], check=True
    )
    try:
        run = RunDirectory(folder / "run")
        ended = TrainProcess(flags(path, run), work_dir / f"tmpfs-{kilobytes}.out").wait()
        if ended.code == 0:
            return Result(f"--kilobytes {kilobytes}", [], {"path": path, "it": "fitted"})
        faults = [*refused(ended.code, ended.err), *unsound(run)]
        saved = checkpoint_files.checkpoints(run.checkpoints)
        subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
        again = TrainProcess(flags(path, run), work_dir / f"tmpfs-{kilobytes}-again.out").wait()
        if again.code != 0:
            faults.append(f"with room again: exit code {again.code}: {again.err[-500:]}")
        else:
            faults += compare(run, path, work_dir)
        told = {"path": path, "checkpoints saved before": len(saved)}
        return Result(f"--kilobytes {kilobytes}", faults, told)
    finally:
        subprocess.run(["umount", folder], check=True)


def may_mount(work_dir: Path) -> bool:
    """Whether this process may mount a file system."""
    folder = work_dir / "mount"
    folder.mkdir(exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", folder],
        stderr=subprocess.DEVNULL,
        check=False,
    )
    if mounted.returncode:
        return False
    subprocess.run(["umount", folder], check=True)
    return True


def main() -> int:
    """Runs the campaign that the flags ask for."""
    parser = campaign.arguments(str(__doc__).splitlines()[0])
    parser.add_argument("--operation", type=int, nargs="+", help="only at these operations")
    parser.add_argument("--path", choices=PATHS, default="fast")
    parser.add_argument("--tmpfs", action="store_true", help="really full file systems instead")
    parser.add_argument("--kilobytes", type=int, nargs="+", help="only file systems of these sizes")
    options = parser.parse_args()
    work_dir = campaign.working_directory(options)
    warm_up()
    reference(options.path, work_dir)
    if options.tmpfs or options.kilobytes:
        if os.geteuid() != 0 or not may_mount(work_dir):
            print("Only root may mount a file system: this part is left out.")
            return 0
        full = functools.partial(on_tmpfs, path=options.path, work_dir=work_dir)
        return campaign.run_all(
            "full tmpfs", options.kilobytes or _TMPFS_KILOBYTES, full, options, work_dir
        )
    each = functools.partial(at_operation, path=options.path, work_dir=work_dir)
    numbers = options.operation or each_kind(options.path, work_dir)
    return campaign.run_all("disk full at each write", numbers, each, options, work_dir)


if __name__ == "__main__":
    sys.exit(main())
