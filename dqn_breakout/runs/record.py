"""Whose run a directory holds: one process at a time, one seed, one config, every start noted."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import operator
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import filelock

from dqn_breakout import config, errors, machine
from dqn_breakout.errors import UserError
from dqn_breakout.runs import checkpoint_files
from dqn_breakout.runs.directory import RunDirectory
from dqn_breakout.runs.files import write_atomically, write_json

DEFAULT_SEED = 1

# Bindings that may change when a run goes on: `train`'s decide how long it is and how closely
# watched, where frames lie changes no sample, and a limit only decides when training has failed.
_MAY_CHANGE = ("train.", "create_replay_buffer.frame_table", "create_agent.q_value_limit")

# What a start's record says of how sums are rounded, besides versions. Memory does not, nor do
# cores that this process may not use.
_ROUNDING = ("git_revision", "processor", "usable_cores", "gpus")


@dataclasses.dataclass(frozen=True)
class Lock:
    """A run directory that this process holds, by an open file in it that is locked."""

    run: RunDirectory
    file: BinaryIO

    def check(self) -> None:
        """Makes sure that the directory under its name still is the one that is held.

        Raises:
            FileNotFoundError: It was moved or removed; another may be there now, of another run.
        """
        held = os.fstat(self.file.fileno())
        if not (self.run.lock.exists() and os.path.samestat(held, self.run.lock.stat())):
            reason = "the run directory was moved or removed"
            raise FileNotFoundError(errno.ENOENT, reason, str(self.run.path))


@contextlib.contextmanager
def locked(run: RunDirectory) -> Iterator[Lock]:
    """Holds the run directory; the system lets go of it when the process dies, however it dies.

    The directory is made where there is none. If nothing but the lock has come to be in it, because
    the command was wrong, both go again as far as they were made here.

    Raises:
        UserError: Another process holds it, or it cannot be written.
    """
    made, is_new = run.create(), not run.lock.exists()
    with contextlib.ExitStack() as closing:
        try:
            file = closing.enter_context(open(run.lock, "a+b", buffering=0))
            if not filelock.lock_descriptor(file.fileno(), blocking=False):
                raise UserError(
                    f"The run directory {run.path} is in use by {_holder(file)}. Wait for it, stop "
                    "it, or choose another --run_dir."
                )
            lock = Lock(run, file)
            lock.check()
            file.truncate(0)
            file.write(f"\nprocess {os.getpid()} on {platform.node()}".encode())
        except OSError as error:
            raise UserError(
                f"The run directory {run.path} cannot be locked ({error.strerror}). Make room or "
                "allow writing there, or choose another --run_dir."
            ) from error
        try:
            yield lock
        finally:
            # Another process may have come in the meantime, or the directory may be gone.
            with contextlib.suppress(OSError):
                if is_new and os.listdir(run.path) == [run.lock.name]:
                    if sys.platform == "win32":
                        file.close()  # No open file is removed there, not even by who has it open.
                    run.lock.unlink()
                    for folder in reversed(made):
                        folder.rmdir()


def _holder(file: BinaryIO) -> str:
    """Who wrote into a lock. Its first byte is left out: Windows lets the holder alone read it."""
    file.seek(1)
    return errors.printable(file.read().decode(errors="replace")) or "another process"


def settle_seed(run: RunDirectory, seed: int | None) -> int:
    """The seed to use: the given one, or that of the run that is there, or 1.

    A run that has no checkpoint has nothing to go on from: its seed and its config may change.

    Raises:
        UserError: The run there is of another version or has another seed, or its record is gone.
    """
    checkpoint_files.refuse_other_formats(run.checkpoints)
    there, _ = _recorded(run)
    if there is None:
        _refuse_checkpoints_without(run, run.run_json)
        there = DEFAULT_SEED
    if seed is not None and not checkpoint_files.checkpoints(run.checkpoints):
        return seed
    if seed not in (None, there):
        raise UserError(
            f"The run in {run.path} has seed {there}, not {seed}. Leave --seed out to continue it, "
            "or choose another --run_dir."
        )
    return there


def check_config(run: RunDirectory) -> str:
    """Compares the operative config with that of the run that is there, if there is one.

    Everything that gin configures must have been built.

    Returns:
        The operative config, to be recorded once the run really starts.

    Raises:
        UserError: The run there has another config (the message names each binding that differs),
            or a binding was given that nothing uses.
    """
    if unused := config.unused_bindings():
        raise UserError(
            f"Nothing uses the binding{'s' if len(unused) > 1 else ''} {', '.join(unused)}. Leave "
            "it out, or correct its scope."
        )
    text = config.operative_config()
    if not run.config_gin.exists():
        _refuse_checkpoints_without(run, run.config_gin)
    if not checkpoint_files.checkpoints(run.checkpoints):
        return text
    try:
        found = config.differences(run.config_gin.read_text(encoding="utf-8"), text)
    except (OSError, UnicodeDecodeError, UserError) as error:
        raise UserError(
            f"{run.config_gin} cannot be read ({error}). Restore it, or choose another --run_dir."
        ) from error
    # Each sentence begins with the name of its binding.
    if refused := [each for each in found if not each.startswith(_MAY_CHANGE)]:
        raise UserError(
            f"The run in {run.path} has another config: {'; '.join(refused)}. Give the same "
            "config to continue it, or choose another --run_dir."
        )
    return text


def record_start(
    run: RunDirectory, seed: int, game: str, env_steps: int, operative_config: str
) -> None:
    """Records the config, and adds this start to run.json."""
    write_atomically(run.config_gin, operative_config.encode())
    start = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "env_steps": env_steps,
        "command": shlex.join(["python", *sys.argv]),
        **machine.circumstances(),
    }
    _, starts = _recorded(run)
    write_json(run.run_json, {"seed": seed, "game": game, "starts": [*starts, start]})


def changes_since_last_start(run: RunDirectory) -> list[str]:
    """What may come out otherwise in this process than since the run's last start.

    None of it keeps a run from going on. What the last start did not record is passed over.

    Returns:
        Such as "tensorflow '2.20.0' there, '2.21.0' here"; empty in a new run.
    """
    _, starts = _recorded(run)
    there, here = (_flat(each) for each in ([{}, *starts][-1], machine.circumstances()))
    return [
        f"{name} {errors.shown(there[name])} there, {errors.shown(here[name])} here"
        for name in (*machine.versions(), *_ROUNDING)
        if name in there and there[name] != here[name]
    ]


def _flat(start: dict[str, Any]) -> dict[str, Any]:
    """A start's record, its versions and what it says of the machine side by side."""
    return {**start, **start.get("versions", {}), **start.get("machine", {})}


def _refuse_checkpoints_without(run: RunDirectory, missing: Path) -> None:
    if checkpoint_files.checkpoints(run.checkpoints):
        raise UserError(
            f"{run.path} has checkpoints but no {missing.name}, so it is not known what they are "
            "of. Restore the file, or choose another --run_dir."
        )


def _recorded(run: RunDirectory) -> tuple[int | None, list[dict[str, Any]]]:
    """The run's seed and the records of its starts so far; None and no record in a new run."""
    if not run.run_json.exists():
        return None, []
    try:
        content = json.loads(run.run_json.read_text())
        return operator.index(content["seed"]), list(content["starts"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"{run.run_json} is damaged. Restore it, or choose another --run_dir."
        ) from error
