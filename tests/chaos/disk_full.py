"""Fills the disk at every write of a short run: what has a final name is whole; the run goes on.

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
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import lz4.frame
import numpy as np

from dqn_breakout import config
from dqn_breakout.errors import UserError
from dqn_breakout.runs import checkpoint_files
from dqn_breakout.runs.directory import RunDirectory
from tests.chaos import file_operations, run_outcome
from tests.chaos.campaign import Case, LeftOut, Trial
from tests.chaos.file_operations import Operation
from tests.chaos.tiny_run import operations, reference
from tests.chaos.train_process import Ended

PATH = "fast"
GO_ON = "--gin_bindings=train.go_on_without_checkpoints = True"
_NO_ROOM = "No space left on device"
# From less than one checkpoint to room for all that a tiny run ever has at once.
_TMPFS_KILOBYTES = range(24, 1700, 90)
_GO_ON_KILOBYTES = (24, 300, 600, 900, 1200)
# TensorBoard's folder alone has no room: for any file, or for a second page of one.
_EVENTS = ("nr_inodes=1", "size=8k")


def cases(work_dir: Path) -> list[Case]:
    """At the first and second operation of each kind on each file that needs room."""
    known = file_operations.of_each_kind(operations(PATH, work_dir), file_operations.NEED_ROOM)
    return [Case(f"at {each}", PATH, functools.partial(full_at, each)) for each in known]


def cases_that_go_on(work_dir: Path) -> list[Case]:
    """At each file that is written once the run has a record of what it is."""
    known = operations(PATH, work_dir)
    begun = next(place for place, each in enumerate(known) if each.name.startswith("replay"))
    written = file_operations.of_each_kind(known, ["write"])
    return [
        Case(f"at {each}, going on", PATH, functools.partial(full_at, each, go_on=True))
        for each in written
        if known.index(each) >= begun
    ]


def full_at(operation: Operation, trial: Trial, *, go_on: bool = False) -> None:
    """A run that meets a full disk at one operation, and goes on once there is room again."""
    fill = functools.partial(file_operations.fill_disk_at, trial.run.path, operation)
    ended = trial.start(*((GO_ON,) if go_on else ()), prepare=fill).wait()
    if go_on:
        must_have_gone_on(ended, trial)
        must_say_once(ended, trial)
    else:
        _must_be_refused(ended, trial)
    trial.told["saved before"] = len(run_outcome.saved_steps(trial.run))
    _must_be_sound(trial)
    _with_room_again(go_on, trial)


def _with_room_again(go_on: bool, trial: Trial) -> None:
    if go_on:
        trial.must_go_on(GO_ON, logs="may lack")
    else:
        trial.must_go_on()


def _must_be_refused(ended: Ended, trial: Trial) -> None:
    """One error that speaks of the disk, and of no file called None.

    The system names no file where a write or a flush fails.
    """
    trial.must_end(ended, 2, _NO_ROOM)
    told = [line for line in ended.err.splitlines() if _NO_ROOM in line]
    trial.must(not any("None" in line for line in told), f"no file is named: {told}")


def must_have_gone_on(ended: Ended, trial: Trial) -> None:
    """The budget is spent.

    Without a checkpoint of the end all of it would be lost: then, and only then, there is an error.
    """
    budget = run_outcome.setting(trial.run, "train.total_env_steps")
    if budget in run_outcome.saved_steps(trial.run):
        trial.must_end(ended)
        trial.must(f"\nDone: {budget:,} environment steps" in ended.err, "it is not done")
        trial.must(_NO_ROOM in ended.err, "no word of the disk")
    else:
        _must_be_refused(ended, trial)
        trial.must(f" at {budget:,} environment steps " in ended.err, "the budget was not spent")


def must_say_once(ended: Ended, trial: Trial) -> None:
    """What was missing all the time is said, and not again."""
    said = [line.split(" (")[0] for line in ended.err.splitlines() if "; going on " in line]
    trial.must(bool(said), "no word of what is missing")
    for each in {*said}:
        trial.must(said.count(each) == 1, f"said {said.count(each)} times: {each}")


def _must_be_sound(trial: Trial) -> None:
    """Every file under a final name is whole, before anything is mended.

    TensorFlow writes TensorBoard's events piece by piece under their final names; all else is whole
    or not there, and metrics.jsonl ends with a whole row.
    """
    run = trial.run
    for each in checkpoint_files.checkpoints(run.checkpoints):
        try:
            checkpoint_files.open_checkpoint(each).verify(run.replay)
        except checkpoint_files.DamagedCheckpoint as error:
            trial.must(False, f"a checkpoint is not sound: {error}")
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
                whole = reference(trial.path, trial.work_dir).config_gin
                bindings, found = (
                    config.bindings(each.read_text()).keys() for each in (whole, file)
                )
                assert bindings <= found, f"it lacks {sorted(bindings - found)}"
            elif file.parent == run.replay:
                # One that was written ahead is in no manifest yet.
                np.load(io.BytesIO(lz4.frame.decompress(file.read_bytes())), allow_pickle=False)
        except (AssertionError, UserError, RuntimeError, ValueError, zipfile.BadZipFile) as error:
            trial.must(False, f"{name} is half-written: {error}")


# --- A file system that is really full -----------------------------------------------------------


def tmpfs_cases(work_dir: Path) -> list[Case]:
    """Small file systems under the run directory, or under TensorBoard's folder alone.

    Training stops; goes on to its end; or room is made as soon as it says that something is
    missing.

    Raises:
        LeftOut: This process may not mount any.
    """
    try:
        with _mounted(work_dir / "mount", "size=16k"):
            pass
    except subprocess.CalledProcessError as error:
        raise LeftOut("only root may mount a file system") from error
    chosen = [
        *(("run", f"size={size}k", "stop") for size in _TMPFS_KILOBYTES),
        *(
            ("run", f"size={size}k", then)
            for size in _GO_ON_KILOBYTES
            for then in ("go on", "room")
        ),
        *(("events", size, then) for size in _EVENTS for then in ("stop", "go on", "room")),
    ]
    return [
        Case(f"{what}, {size}, {then}", PATH, functools.partial(on_tmpfs, what, size, then))
        for what, size, then in chosen
    ]


def on_tmpfs(what: str, size: str, then: str, trial: Trial) -> None:
    """A run on a file system that becomes full, and on which room is then made."""
    # Mounted above the run directory, which the run is to make.
    trial.run = RunDirectory(trial.folder / "mounted" / "run")
    place = trial.run.path.parent if what == "run" else trial.run.train_events.parent
    go_on = then != "stop"
    with _mounted(place, size) as make_room:
        life = trial.start(*((GO_ON,) if go_on else ()))
        if then == "room":
            life.wait_until(lambda: _NO_ROOM in life.err())
            make_room()
        ended = life.wait()
        trial.told["saved before"] = len(run_outcome.saved_steps(trial.run))
        if ended.code == 0 and _NO_ROOM not in ended.err:
            trial.told["it"] = "fitted"
            return
        # What says what the run is of is not to be done without.
        begun = "Breakout, seed" in ended.err
        if go_on and begun:
            must_have_gone_on(ended, trial)
        else:
            _must_be_refused(ended, trial)
        _must_be_sound(trial)
        if then != "room" or not begun:
            make_room()
            _with_room_again(go_on, trial)
        elif ended.code == 0:
            trial.must_be_as_left_alone(logs="may lack")


@contextlib.contextmanager
def _mounted(folder: Path, options: str) -> Iterator[Callable[[], None]]:
    """A small file system at `folder`; what is given makes room in it.

    Raises:
        subprocess.CalledProcessError: It may not be mounted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", os.fspath(folder)]
    subprocess.run(mount, check=True, capture_output=True)

    def make_room() -> None:
        more = "remount,size=64m,nr_inodes=10000"
        subprocess.run(["mount", "-o", more, folder], check=True)

    try:
        yield make_room
    finally:
        subprocess.run(["umount", folder], check=True)
