"""Fills the disk at every write of a short run: what has a final name is whole; the run goes on.

    python -m tests.chaos.disk_full                  at operations of each kind that needs room
    python -m tests.chaos.disk_full --operation 27   at that one
    python -m tests.chaos.disk_full --go_on          training was told to go on without checkpoints
    python -m tests.chaos.disk_full --tmpfs          a file system that is really full (needs root)

From one operation on, each that needs room fails with "No space left on device", and half of what
was to be written stands on the disk, as on a real one. Each checkpoint must be sound then, and no
file with a final name half-written. Then there is room again, and the same command is given: it
must end as a run that was left alone.

With `train.go_on_without_checkpoints` the disk stays full and the run goes on to its end. It says
what is missing, once for each thing, and ends with an error if there is no room for the last
checkpoint either. With room again, in the same process or at the next start, it ends as a run that
was left alone.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lz4.frame
import numpy as np

from dqn_breakout import config
from dqn_breakout.errors import UserError
from dqn_breakout.runs import checkpoint_files
from dqn_breakout.runs.directory import RunDirectory
from tests.chaos import campaign, file_operations, run_outcome
from tests.chaos.campaign import Result
from tests.chaos.file_operations import Operation
from tests.chaos.tiny_run import PATHS, compare, flags, operations, reference
from tests.chaos.train_process import TrainProcess, warm_up

GO_ON = "--gin_bindings=train.go_on_without_checkpoints = True"
_NO_ROOM = "No space left on device"
# From less than one checkpoint to room for all that a tiny run ever has at once.
_TMPFS_KILOBYTES = range(24, 1700, 90)
_GO_ON_KILOBYTES = (24, 300, 600, 900, 1200)
# TensorBoard's folder alone has no room: for any file, or for a second page of one.
_EVENTS = ("nr_inodes=1", "size=8k")


def refused(ended_code: int, err: str) -> list[str]:
    """What is wrong with how a process took a full disk; nothing where it said so and stopped."""
    faults = []
    lines = err.strip().splitlines()
    if ended_code != 2:
        faults.append(f"exit code {ended_code}")
    if "Traceback" in err:
        faults.append(f"a stack trace: {lines[-1]}")
    elif not lines or _NO_ROOM not in lines[-1]:
        faults.append(f"no word of the disk: {lines[-1] if lines else 'nothing at all'}")
    return [*faults, *_of_no_file(err)]


def unsound(run: RunDirectory, path: str, work_dir: Path) -> list[str]:
    """What is wrong with any file under a final name, before anything is mended.

    TensorFlow writes TensorBoard's events piece by piece under their final names; all else is whole
    or not there, and metrics.jsonl ends with a whole row.

    Args:
        run: A run that met a full disk.
        path: Which of the two paths.
        work_dir: Where the run lies that was left alone.
    """
    faults = []
    for each in checkpoint_files.checkpoints(run.checkpoints):
        try:
            checkpoint_files.open_checkpoint(each).verify(run.replay)
        except checkpoint_files.DamagedCheckpoint as error:
            faults.append(f"a checkpoint is not sound: {error}")
    bindings = config.bindings(
        RunDirectory(reference(path, work_dir)).config_gin.read_text()
    ).keys()
    for file in run.path.rglob("*"):
        name = file.relative_to(run.path)
        if any(part.startswith(".") for part in name.parts):
            continue
        try:
            if file.suffix == ".json":
                json.loads(file.read_text())
            elif file == run.metrics_jsonl:
                assert file.read_text()[-1:] in ("", "\n"), "the last row is cut short"
                run_outcome.rows(run)
            elif file == run.config_gin:
                lacks = bindings - config.bindings(file.read_text()).keys()
                assert not lacks, f"it lacks {sorted(lacks)}"
            elif file.parent == run.replay:
                # One that was written ahead is in no manifest yet.
                np.load(io.BytesIO(lz4.frame.decompress(file.read_bytes())), allow_pickle=False)
        except (AssertionError, UserError, RuntimeError, ValueError, zipfile.BadZipFile) as error:
            faults.append(f"{name} is half-written: {error}")
    return faults


def went_on(run: RunDirectory, code: int, err: str) -> list[str]:
    """What is wrong with how a process trained on with a full disk, as it was told to.

    It spends its budget. Without a checkpoint of the end all of it would be lost: then, and only
    then, it ends with an error.
    """
    budget = run_outcome.setting(run, "train.total_env_steps")
    last = f"{budget:,} environment steps"
    if any(int(path.name) == budget for path in checkpoint_files.checkpoints(run.checkpoints)):
        faults = [] if code == 0 and f"\nDone: {last}" in err else [f"exit code {code}"]
        if _NO_ROOM not in err:
            faults.append("no word of the disk")
        faults += ["a stack trace"] if "Traceback" in err else []
    else:
        faults = refused(code, err)
        if f" at {last} " not in err:
            faults.append("the budget was not spent")
    return [*faults, *(each for each in _of_no_file(err) if each not in faults)]


def said_again(err: str) -> list[str]:
    """What a process said is missing and said again, although it was missing all the time."""
    said = [line.split(" (")[0] for line in err.splitlines() if "; going on " in line]
    faults = [f"said {said.count(each)} times: {each}" for each in {*said} if said.count(each) > 1]
    return faults if said else ["no word of what is missing"]


def _of_no_file(err: str) -> list[str]:
    """Sentences that name no file: the system tells none where a write or a flush fails."""
    return [line for line in err.splitlines() if _NO_ROOM in line and "None" in line]


def ended_as_left_alone(run: RunDirectory, path: str, work_dir: Path) -> list[str]:
    """As `compare`, but rows and evaluations may be missing for want of room, not differ."""
    faults = compare(run, path, work_dir, logs=False)
    expected = run_outcome.outcome(RunDirectory(reference(path, work_dir)))
    found = run_outcome.outcome(run)
    faults += [f"row {row}" for row in found["rows"] if row not in expected["rows"]]
    for name, returns in found["evaluations"].items():
        if expected["evaluations"].get(name) != returns:
            faults.append(f"evaluation {name}: {returns}")
    return faults


def _said(operation: Operation) -> str:
    return f"{operation.kind} {operation.name}{' beside training' if operation.beside else ''}"


def at_operation(number: int, path: str, work_dir: Path, go_on: bool = False) -> Result:
    """A run that meets a full disk at one operation, and goes on once there is room again."""
    operation = operations(path, work_dir)[number - 1]
    run = RunDirectory(work_dir / f"full-{path}-{number}{'-go_on' if go_on else ''}")
    shutil.rmtree(run.path, ignore_errors=True)
    command = flags(path, run, *((GO_ON,) if go_on else ()))
    ended = TrainProcess(
        command,
        work_dir / f"{run.path.name}.out",
        prepare=file_operations.full_at(run.path, operation),
    ).wait()
    if go_on:
        faults = [
            *went_on(run, ended.code, ended.err),
            *said_again(ended.err),
            *unsound(run, path, work_dir),
        ]
    else:
        faults = [*refused(ended.code, ended.err), *unsound(run, path, work_dir)]
    saved = checkpoint_files.checkpoints(run.checkpoints)
    told: dict[str, Any] = {"path": path, "at": _said(operation), "saved before": len(saved)}
    faults += _with_room_again(run, command, path, work_dir)
    if not faults:
        shutil.rmtree(run.path)
    return Result(f"{'--go_on ' if go_on else ''}--operation {number}", faults, told)


def _with_room_again(run: RunDirectory, command: list[str], path: str, work_dir: Path) -> list[str]:
    """The same command again, with room."""
    ended = TrainProcess(command, work_dir / f"{run.path.name}-again.out").wait()
    if ended.code != 0:
        return [f"with room again: exit code {ended.code}: {ended.err[-500:]}"]
    if GO_ON in command:
        return ended_as_left_alone(run, path, work_dir)
    return compare(run, path, work_dir)


# --- A file system that is really full -----------------------------------------------------------


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Callable[[], None]]:
    """A small file system at `folder`; what is given makes room in it."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)

    def make_room() -> None:
        more = "remount,size=64m,nr_inodes=10000"
        subprocess.run(["mount", "-o", more, folder], check=True)

    try:
        yield make_room
    finally:
        subprocess.run(["umount", folder], check=True)


def on_tmpfs(case: tuple[str, str, str], path: str, work_dir: Path) -> Result:
    """A run on a file system that becomes full, and on which room is then made.

    Args:
        case: What lies on it (`run`, the whole run directory, or `events`, TensorBoard's folder);
            its options for `mount`; and what follows: `stop`, training stops; `go on`, it goes on
            to its end; `room`, room is made as soon as it says that something is missing.
        path: Which of the two paths.
        work_dir: Where the run lies that was left alone.
    """
    what, options, then = case
    name = f"--tmpfs --only '{' '.join(case)}'"
    folder = work_dir / f"tmpfs-{re.sub('[^a-z0-9]+', '-', '-'.join(case))}"
    run = RunDirectory(folder / "run")
    shutil.rmtree(folder, ignore_errors=True)
    command = flags(path, run, *(() if then == "stop" else (GO_ON,)))
    place = folder if what == "run" else run.train_events.parent
    with mounted(place, options) as make_room:
        life = TrainProcess(command, work_dir / f"{folder.name}.out")
        if then == "room":
            life.wait_until(lambda: _NO_ROOM in life.err())
            make_room()
        ended = life.wait()
        saved = checkpoint_files.checkpoints(run.checkpoints)
        told: dict[str, Any] = {"path": path, "checkpoints saved": len(saved)}
        if ended.code == 0 and _NO_ROOM not in ended.err:
            return Result(name, [], {**told, "it": "fitted"})
        # What says what the run is of is not to be done without.
        begun = "DQN on Breakout" in ended.err
        if then != "stop" and begun:
            faults = [*went_on(run, ended.code, ended.err), *unsound(run, path, work_dir)]
        else:
            faults = [*refused(ended.code, ended.err), *unsound(run, path, work_dir)]
        if then == "room" and begun:
            if ended.code == 0:
                faults += ended_as_left_alone(run, path, work_dir)
        else:
            make_room()
            faults += _with_room_again(run, command, path, work_dir)
    return Result(name, faults, told)


def _tmpfs_cases() -> list[tuple[str, str, str]]:
    return [
        *(("run", f"size={size}k", "stop") for size in _TMPFS_KILOBYTES),
        *(
            ("run", f"size={size}k", then)
            for size in _GO_ON_KILOBYTES
            for then in ("go on", "room")
        ),
        *(("events", size, then) for size in _EVENTS for then in ("stop", "go on", "room")),
    ]


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
    parser.add_argument("--only", default="", help="only file systems with this in their names")
    parser.add_argument("--go_on", action="store_true", help="train on with a disk that stays full")
    options = parser.parse_args()
    work_dir = campaign.working_directory(options)
    warm_up()
    reference(options.path, work_dir)
    if options.tmpfs:
        if os.geteuid() != 0 or not may_mount(work_dir):
            why = "only root may mount a file system"
            return campaign.left_out("full tmpfs", why, options)
        cases = [each for each in _tmpfs_cases() if options.only in " ".join(each)]
        full = functools.partial(on_tmpfs, path=options.path, work_dir=work_dir)
        return campaign.run_all("full tmpfs", cases, full, options, work_dir)
    known = operations(options.path, work_dir)
    numbers = file_operations.of_each_kind(known, file_operations.NEED_ROOM)
    name = "disk full at each write"
    if options.go_on:
        name = "disk stays full from each write on"
        # Before, the run has no record of what it is: it is refused, told to go on or not.
        begun = next(n for n, each in enumerate(known, 1) if each.name.startswith("replay"))
        numbers = [n for n in numbers if n >= begun and known[n - 1].kind == "write"]
    each = functools.partial(
        at_operation, path=options.path, work_dir=work_dir, go_on=options.go_on
    )
    return campaign.run_all(name, options.operation or numbers, each, options, work_dir)


if __name__ == "__main__":
    sys.exit(main())
