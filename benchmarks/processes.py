"""The benchmark's side of the conversation: contestants in processes of their own, one at a time.

A contestant is started once, prepares itself, and sleeps until it is told to run a round. See
`contestant` for the other side.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from benchmarks import contestant
from benchmarks.report import MeasurementError
from dqn_breakout import errors
from dqn_breakout.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
_SECONDS_TO_END = 10


class OwnProcess:
    """A child process of its own process group, which always ends with the benchmark.

    Ctrl-C reaches the benchmark alone, which then ends its children.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, talks: bool, threads: int | None = None
    ):
        """Starts it.

        Args:
            name: What messages call it.
            command: Program and arguments; it runs in the repository's root.
            talks: Whether standard input and output are pipes; else there is nothing at either.
            threads: Processor cores that it may use, where the system can tell it; None for all.

        Raises:
            MeasurementError: It cannot be started.
        """
        self.name = name
        self._words = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed in close)
        channel = subprocess.PIPE if talks else subprocess.DEVNULL
        try:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=channel,
                stdout=channel,
                stderr=self._words,
                text=True,
                start_new_session=True,
                preexec_fn=functools.partial(contestant.use_threads, threads),
            )
        except OSError as error:
            self._words.close()
            raise MeasurementError(
                f"{name} cannot be started ({error.strerror}: {command[0]})."
            ) from error
        self._seen = psutil.Process(self._process.pid)

    def __enter__(self) -> OwnProcess:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends it, at once after an error."""
        self.close(at_once=kind is not None)

    def ask(self, command: str | None, **arguments: Any) -> dict[str, Any]:
        """Gives a command and waits for its answer; None only waits, for the first answer.

        Raises:
            UserError: The process says what the user gave wrong.
            MeasurementError: The process ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = ""
        try:
            if command is not None:
                self._process.stdin.write(json.dumps({"command": command, **arguments}) + "\n")
                self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            pass  # It ended: what that was is said below.
        if not line:
            raise self.ended()
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise UserError(answer["error"])
        return answer

    def has_ended(self) -> bool:
        """Whether the process is over."""
        return self._process.poll() is not None

    def ended(self) -> MeasurementError:
        """What to raise when the process ended too early: how it ended, and its last words."""
        code = self._process.wait()
        how = (
            f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        )
        self._words.seek(0)
        lines = [line.strip() for line in self._words.read().splitlines() if line.strip()]
        said = errors.printable(lines[-1]) if lines else "nothing"
        return MeasurementError(f"{self.name} {how}; its last words: {said}")

    def cpu_seconds(self) -> float:
        """Processor time that it has used so far, all threads; 0 where it cannot be told.

        What processes of its own use is not in it: contestants start none.
        """
        try:
            times = self._seen.cpu_times()
        except psutil.Error:
            return 0.0
        return float(times.user + times.system)

    def close(self, *, at_once: bool = False) -> None:
        """Ends the process: by the end of its input, or with its group where that is too slow."""
        if self._process.stdin is not None:
            try:
                self._process.stdin.close()
                if not at_once:
                    self._process.wait(_SECONDS_TO_END)
            except (BrokenPipeError, subprocess.TimeoutExpired):
                pass
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._words.close()


def machine_cpu_seconds() -> float:
    """Processor time that everything on the machine has used so far."""
    times = psutil.cpu_times()
    # Guests are in the users' time already. What neighbours on a shared machine took is in here.
    kinds = ("user", "nice", "system", "irq", "softirq", "steal")
    return float(sum(getattr(times, kind, 0.0) for kind in kinds))


def start(name: str, python: str | Path, module: str, settings: dict[str, Any]) -> OwnProcess:
    """Starts a module that serves commands; its first answer is still to be asked for.

    Args:
        name: What messages call it.
        python: The interpreter of its environment.
        module: What to run, such as `benchmarks.peers.sb3`.
        settings: What it is given, as JSON.

    Raises:
        MeasurementError: It cannot be started.
    """
    return OwnProcess(name, [str(python), "-m", module, json.dumps(settings)], talks=True)
