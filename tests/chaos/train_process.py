"""Processes of `train.py` by the dozen: most are forked from a server that imported TensorFlow.

Importing takes longer than all that a tiny run does; the server (`multiprocessing`'s) does it once,
see `tests.chaos.imported`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

REPOSITORY = Path(__file__).resolve().parents[2]
# No tiny run takes as long, however busy the machine.
PATIENCE_SECONDS = 300.0
# By their names: Windows has none of them.
_POSIX = ("SIGKILL", "SIGHUP", "SIGSTOP", "SIGCONT")
KILL, HANG_UP, HALT, RESUME = (signal.Signals[each] for each in _POSIX)
_FORKS: Any = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.chaos.imported"])
# Starting or asking after one process asks after all of them.
_ONE_AT_A_TIME = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a process ended, as a shell sees it or minus the signal, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        """The last line on stderr; empty where there is none."""
        return "".join(self.err.splitlines()[-1:])


class TrainProcess:
    """`python train.py` with arguments, in a process of its own.

    Attributes:
        pid: Its number.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        output: Path,
        *,
        prepare: Callable[[], object] | None = None,
        from_scratch: bool = False,
        through: Literal["pipe", "terminal"] | None = None,
    ):
        """Starts it.

        Args:
            arguments: Flags of `train.py`.
            output: Where it writes: stdout to this path with `.out` after it, stderr with `.err`.
            prepare: Called in a fork before `train.py`, such as to put a fault in its way. It is
                pickled.
            from_scratch: Start a fresh process instead of a fork; one `through` something is.
            through: All that it writes comes into `.err` through a pipe, as with `| tee`, or a
                terminal, its own, that `close_reader` closes.
        """
        self._out, self._err = (output.with_name(output.name + end) for end in (".out", ".err"))
        for file in (self._out, self._err):
            file.write_bytes(b"")
        self._reader: subprocess.Popen[bytes] | None = None
        self._exit_code: Callable[[], int | None]
        if from_scratch or through is not None:
            with self._out.open("wb") as out, self._err.open("wb") as err:
                process = self._from_scratch(arguments, out, err, through)
            self.pid, self._exit_code = process.pid, process.poll
            return
        fork = _FORKS.Process(
            target=_become, args=(list(arguments), self._out, self._err, prepare), daemon=True
        )
        with _ONE_AT_A_TIME, contextlib.chdir(REPOSITORY):
            fork.start()
        assert fork.pid is not None
        self.pid, self._exit_code = fork.pid, lambda: fork.exitcode

    def _from_scratch(
        self, arguments: Sequence[str], out: BinaryIO, err: BinaryIO, through: str | None
    ) -> subprocess.Popen[bytes]:
        if sys.platform == "win32":
            raise NotImplementedError("It has no such terminals.")
        written: int | None = None
        if through is not None:
            read, written = os.pipe() if through == "pipe" else os.openpty()
            # At the end of a terminal there is an error to read.
            self._reader = subprocess.Popen(
                ["cat"], stdin=read, stdout=err, stderr=subprocess.DEVNULL
            )
            os.close(read)
        try:
            return subprocess.Popen(
                [sys.executable, "train.py", *arguments],
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=out if written is None else written,
                stderr=err if written is None else written,
                preexec_fn=_take_terminal if through == "terminal" else None,
            )
        finally:
            if written is not None:
                os.close(written)

    def close_reader(self) -> None:
        """Kills what reads the pipe or the terminal, and so closes that."""
        assert self._reader is not None
        self._reader.kill()
        self._reader.wait()

    def running(self) -> bool:
        """Whether it has not ended yet."""
        with _ONE_AT_A_TIME:
            return self._exit_code() is None

    def wait_until(self, due: Callable[[], bool]) -> bool:
        """Waits until something is due, or the process has ended; whether it is running still."""
        while (running := self.running()) and not due():
            time.sleep(0.0005)
        return running

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, if the process is still there."""
        if self.running():
            os.kill(self.pid, number)

    def wait(self) -> Ended:
        """Waits for its end; kills it, and fails, where that does not come."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.running():
            if time.monotonic() > deadline:
                os.kill(self.pid, KILL)
                raise AssertionError(
                    f"train.py did not end within {PATIENCE_SECONDS:.0f} s:\n{self.err()}"
                )
            time.sleep(0.002)
        if self._reader is not None:
            self._reader.wait()
        code = self._exit_code()
        assert code is not None
        return Ended(code, self._out.read_text(errors="replace"), self.err())

    def err(self) -> str:
        """What it has written on stderr so far."""
        return self._err.read_text(errors="replace")


def _take_terminal() -> None:
    """Makes the terminal on stdout this process's own; it is told of its end, even under nohup."""
    if sys.platform == "win32":
        raise NotImplementedError("It has no such terminals.")
    signal.signal(HANG_UP, signal.SIG_DFL)
    os.login_tty(os.dup(1))


def _become(
    arguments: list[str], out: Path, err: Path, prepare: Callable[[], object] | None
) -> None:
    """Makes this forked process one of `train.py` that writes there; never returns."""
    code: object = 1
    try:
        for standard, path in ((1, out), (2, err)):
            with path.open("ab") as file:
                os.dup2(file.fileno(), standard)
        os.chdir(REPOSITORY)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        multiprocessing.set_start_method(None, force=True)  # As where nobody chose the server.
        sys.argv = ["train.py", *arguments]
        if prepare is not None:
            prepare()
        runpy.run_path("train.py", run_name="__main__")
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001  (what Python itself does at the top)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else int(code is not None))
