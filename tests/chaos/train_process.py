"""Processes of `train.py` by the dozen: each is forked from one that has TensorFlow imported.

Importing takes longer than all that a tiny run does. Here it is done once, and no TensorFlow
operation is executed: its thread pools do not exist yet, so that a fork begins where a fresh
process stands after its imports. `python -m tests.chaos.kill --plain` starts every process that is
killed or goes on from scratch, and compares it with one that was forked.

Forked processes write replay segments of few rows, so that a tiny run writes them as a long one
writes those of many: beside training. Those started from scratch write one with each checkpoint.
"""

from __future__ import annotations

import dataclasses
import functools
import gc
import os
import runpy
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, Literal

REPOSITORY = Path(__file__).resolve().parents[2]
# No tiny run takes as long, however busy the machine.
PATIENCE_SECONDS = 300.0
# One or two of them between two checkpoints, and several in the replay buffer.
_SEGMENT_TRANSITIONS = 32


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a process ended, as a shell sees it or minus the signal, and what it wrote."""

    code: int
    err: str
    seconds: float


class TrainProcess:
    """`python train.py` with arguments, in a process of its own."""

    def __init__(
        self,
        arguments: Sequence[str],
        output: Path,
        *,
        prepare: Callable[[], None] | None = None,
        plain: bool = False,
        through: Literal["pipe", "terminal"] | None = None,
    ):
        """Starts it.

        Args:
            arguments: Flags of `train.py`.
            output: The file for what it writes, on stdout and on stderr.
            prepare: Called in the new process before `train.py`: puts a fault in its way.
            plain: Start a fresh process instead of a fork; then there is no `prepare`.
            through: What it writes comes into the file through a pipe, as with `| tee`, or a
                terminal, its own, that `close_reader` closes.
        """
        self._output = output
        self._started = time.monotonic()
        self._status: int | None = None
        self._reader: subprocess.Popen[bytes] | None = None
        with output.open("wb") as file:
            written = file.fileno() if through is None else self._read_into(file, through)
            terminal = through == "terminal"
            if plain:
                assert prepare is None
                self.pid = subprocess.Popen(
                    [sys.executable, "train.py", *arguments],
                    cwd=REPOSITORY,
                    stdin=subprocess.DEVNULL,
                    stdout=written,
                    stderr=written,
                    preexec_fn=functools.partial(_take_terminal, written) if terminal else None,
                ).pid
            else:
                sys.stdout.flush()
                sys.stderr.flush()
                self.pid = os.fork()
                if self.pid == 0:
                    _become(arguments, written, terminal, prepare)
            if self._reader is not None:
                os.close(written)

    def _read_into(self, file: BinaryIO, through: str) -> int:
        """Starts what reads the other end of a pipe or a terminal; returns this end."""
        read, write = os.pipe() if through == "pipe" else os.openpty()
        # At the end of a terminal there is an error to read.
        self._reader = subprocess.Popen(["cat"], stdin=read, stdout=file, stderr=subprocess.DEVNULL)
        os.close(read)
        return write

    def close_reader(self) -> None:
        """Kills what reads the pipe or the terminal, and so closes that."""
        assert self._reader is not None
        self._reader.kill()
        self._reader.wait()

    def running(self) -> bool:
        """Whether it has not ended yet."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = status
        return self._status is None

    def wait_until(self, due: Callable[[], bool]) -> None:
        """Waits until something is due, or the process has ended."""
        while self.running() and not due():
            time.sleep(0.0005)

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, if the process is still there."""
        if self.running():
            os.kill(self.pid, number)

    def wait(self) -> Ended:
        """Waits for its end; kills it, and fails, where that does not come."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.running():
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise AssertionError(
                    f"train.py did not end within {PATIENCE_SECONDS:.0f} s:\n{self.err()}"
                )
            time.sleep(0.002)
        assert self._status is not None
        if self._reader is not None:
            self._reader.wait()
        return Ended(
            os.waitstatus_to_exitcode(self._status), self.err(), time.monotonic() - self._started
        )

    def err(self) -> str:
        """What it has written so far."""
        return self._output.read_text(errors="replace")


def warm_up() -> None:
    """Imports everything that `train.py` imports, without executing any TensorFlow operation.

    Replay segments are small from here on, in this process and its forks.

    Raises:
        AssertionError: TensorFlow has begun to work already; a fork would be no fresh process.
    """
    # Where this was started in the background, the shell has Ctrl-C ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from tensorflow.python.eager import context

    from dqn_breakout import config, experiment  # noqa: F401
    from dqn_breakout.runs import checkpoint

    assert context.context()._context_handle is None, "TensorFlow has threads by now"
    assert checkpoint._SEGMENT_TRANSITIONS > _SEGMENT_TRANSITIONS
    checkpoint._SEGMENT_TRANSITIONS = _SEGMENT_TRANSITIONS
    # What was imported stays: forks need not look through it for garbage again and again.
    gc.collect()
    gc.freeze()


def _take_terminal(terminal: int) -> None:
    """Makes a terminal this process's own; it is told when that is closed, even under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.login_tty(terminal)


def _become(
    arguments: Sequence[str], written: int, terminal: bool, prepare: Callable[[], None] | None
) -> None:
    """Makes this forked process one of `train.py` that writes there; never returns."""
    code = 1
    try:
        os.chdir(REPOSITORY)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if terminal:
            _take_terminal(written)
        else:
            os.setpgid(0, 0)
            for standard in (1, 2):
                os.dup2(written, standard)
            os.close(written)
        sys.argv = ["train.py", *arguments]
        if prepare is not None:
            prepare()
        runpy.run_path("train.py", run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:  # noqa: BLE001  (what Python itself does at the top)
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                code = 120  # As Python itself ends where its last words are not to be written.
        os._exit(code)
