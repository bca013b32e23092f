"""Whose run a directory holds: one process at a time, one seed, one config, every start noted."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from dqn_breakout import errors, machine, used_config
from dqn_breakout.errors import UserError
from dqn_breakout.runs import checkpoint_files
from dqn_breakout.runs.directory import RunDirectory
from dqn_breakout.runs.files import write_atomically, write_json

DEFAULT_SEED = 1

# Bindings that may change when a run goes on: they decide how long it is and how closely watched,
# not what it learns.
_MAY_CHANGE = (
    "train.total_env_steps",
    "train.log_period_env_steps",
    "train.checkpoint_period_env_steps",
    "train.keep_checkpoints",
    "train.evaluation_period_env_steps",
    "train.evaluation_games",
    "train.evaluation_protocol",
    "train.evaluation_video_seconds",
    "train.go_on_without_checkpoints",
    "create_replay_buffer.frame_table",
)

# Besides versions: this project's own code, and what decides how sums are rounded: GPUs, how many
# cores share one, and of which model. `memory_bytes` and the cores of others do not.
_CIRCUMSTANCES = ("git_revision", "processor", "usable_cores", "gpus")


class Lock:
    """A run directory that this process holds."""

    def __init__(self, run: RunDirectory, file: BinaryIO):
        """Takes the open file that is locked."""
        self._run = run
        self._file = file

    def check(self) -> None:
        """Makes sure that the directory under its name still is the one that is held.

        Raises:
            FileNotFoundError: It was moved or removed; another may be there now, of another run.
        """
        held = os.fstat(self._file.fileno())
        if not (self._run.lock.exists() and os.path.samestat(held, self._run.lock.stat())):
            reason = "the run directory was moved or removed"
            raise FileNotFoundError(errno.ENOENT, reason, str(self._run.path))


@contextlib.contextmanager
def locked(run: RunDirectory) -> Iterator[Lock]:
    """Holds the run directory; the system lets go of it when the process dies, however it dies.

    The directory is made where there is none. If nothing but the lock has come to be in it, because
    the command was wrong, both go again as far as they were made here.

    Raises:
        UserError: Another process holds it, or it cannot be written.
    """
    made, is_new = run.create(), not run.lock.exists()
    try:
        file = open(run.lock, "a+b", buffering=0)  # noqa: SIM115  (closed below)
    except OSError as error:
        raise _no_lock(run, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = errors.printable(file.read().decode(errors="replace").strip())
            holder = holder or "another process"
            raise UserError(
                f"The run directory {run.path} is in use by {holder}. Wait for it, stop it, or "
                "choose another --run_dir."
            ) from error
        except OSError as error:  # A file system without locks.
            raise _no_lock(run, error) from error
        lock = Lock(run, file)
        try:
            lock.check()
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}".encode())
        except OSError as error:
            raise _no_lock(run, error) from error
        try:
            yield lock
        finally:
            # Another process may have come in the meantime, or the directory may be gone.
            with contextlib.suppress(OSError):
                if is_new and os.listdir(run.path) == [run.lock.name]:
                    run.lock.unlink()
                    for folder in reversed(made):
                        folder.rmdir()


def _no_lock(run: RunDirectory, error: OSError) -> UserError:
    return UserError(
        f"The run directory {run.path} cannot be locked ({error.strerror}). Make room or allow "
        "writing there, or choose another --run_dir."
    )


def settle_seed(run: RunDirectory, seed: int | None) -> int:
    """The seed to use: the given one, or that of the run that is there, or 1.

    Raises:
        UserError: The run there has another seed, or its record is gone.
    """
    if not run.run_json.exists():
        _refuse_checkpoints_without(run, run.run_json)
        return DEFAULT_SEED if seed is None else seed
    there: int = _read(run)["seed"]
    if seed is not None and seed != there:
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
    unused = used_config.unused_bindings()
    if unused:
        raise UserError(
            f"Nothing uses the binding{'s' if len(unused) > 1 else ''} {', '.join(unused)}. Leave "
            "it out, or correct its scope."
        )
    text = used_config.operative_config()
    if not run.config_gin.exists():
        _refuse_checkpoints_without(run, run.config_gin)
        return text
    try:
        there = run.config_gin.read_text(encoding="utf-8")
        found = used_config.differences(there, text)
    except (OSError, UnicodeDecodeError, UserError) as error:
        raise UserError(
            f"{run.config_gin} cannot be read ({error}). Restore it, or choose another --run_dir."
        ) from error
    # Each sentence begins with the name of its binding.
    differences = [each for each in found if each.split(":")[0] not in _MAY_CHANGE]
    if differences:
        raise UserError(
            f"The run in {run.path} has another config: {'; '.join(differences)}. Give the same "
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
        **_circumstances(),
    }
    write_json(run.run_json, {"seed": seed, "game": game, "starts": [*_starts(run), start]})


def changes_since_last_start(run: RunDirectory) -> list[str]:
    """What may come out otherwise in this process than since the run's last start.

    Versions, this project's revision, the processor's model, the number of cores that share a sum,
    GPUs. None of it keeps a
    run from going on: `check_config` and the checkpoint itself refuse what does. What the last
    start did not record is passed over.

    Returns:
        Such as "tensorflow '2.20.0' there, '2.21.0' here"; empty in a new run.
    """
    starts = _starts(run)
    if not starts or not isinstance(starts[-1], dict):
        return []
    there, here = _by_name(starts[-1]), _by_name(_circumstances())
    return [
        f"{name} {errors.shown(there[name])} there, {errors.shown(here[name])} here"
        for name in (*machine.versions(), *_CIRCUMSTANCES)
        if name in there and there[name] != here[name]
    ]


def _starts(run: RunDirectory) -> list[Any]:
    """The records of the run's starts so far; none in a new run."""
    return list(_read(run)["starts"]) if run.run_json.exists() else []


def _circumstances() -> dict[str, Any]:
    """What a start's record says of the packages and the machine."""
    # Not above: who is only told that another process holds the run does not wait for TensorFlow.
    import tensorflow as tf

    details = tf.config.experimental.get_device_details
    return {
        "git_revision": machine.git_revision(),
        "versions": machine.versions(),
        "machine": machine.description(),
        "gpus": [
            details(gpu).get("device_name", "GPU") for gpu in tf.config.get_visible_devices("GPU")
        ],
    }


def _by_name(start: dict[str, Any]) -> dict[str, Any]:
    """A start's record with its versions and what it says of the machine side by side."""
    parts = (start.get("versions"), start.get("machine"))
    versions, machine = (part if isinstance(part, dict) else {} for part in parts)
    return {**start, **versions, **machine}


def _refuse_checkpoints_without(run: RunDirectory, missing: Path) -> None:
    if checkpoint_files.checkpoints(run.checkpoints):
        raise UserError(
            f"{run.path} has checkpoints but no {missing.name}, so it is not known what they are "
            "of. Restore the file, or choose another --run_dir."
        )


def _read(run: RunDirectory) -> dict[str, Any]:
    try:
        content = json.loads(run.run_json.read_text())
        if type(content["seed"]) is not int:  # Nor an infinite number.
            raise TypeError("a seed is a whole number")
        return {"seed": content["seed"], "starts": list(content["starts"])}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{run.run_json} is damaged. Restore it, or choose another --run_dir."
        ) from error
