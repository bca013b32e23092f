"""The benchmark's side of the conversation: child processes, which end with the benchmark."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import psutil

from dqn_breakout import errors
from dqn_breakout.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
_LOOKS_EVERY_SECONDS = 0.002


class Child:
    """A child process. It is killed when it is left as a context manager."""

    def __init__(self, name: str, command: Sequence[str], *, talks: bool = True):
        """Starts it.

        Args:
            name: What messages call it.
            command: Program and arguments, run in the repository's root.
            talks: Whether it takes commands and answers them; see `contestant`.

        Raises:
            UserError: It cannot be started.
        """
        self.name = name
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed in __exit__)
        try:
            self.process = psutil.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else self._said,
                stderr=self._said,
                text=True,
            )
        except OSError as error:
            self._said.close()
            raise UserError(
                f"{name} cannot be started ({error.strerror}: {command[0]})."
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        self._said.close()

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Gives a command and waits for its answer.

        Raises:
            UserError: The process ended.
        """
        try:
            self.process.stdin.write(json.dumps({"command": command, **arguments}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise self.ended() from None
        line = self.process.stdout.readline()
        if not line:
            raise self.ended()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ended(self) -> UserError:
        """What to raise when the process ended too early: its exit code and its last words."""
        code = self.process.wait()
        self._said.seek(0)
        lines = self._said.read().split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "nothing")
        return UserError(
            f"{self.name} ended with code {code}; its last words: {errors.printable(last.strip())}"
        )

    def cpu_seconds(self) -> float:
        """Processor time that it has used so far, all threads."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


def start(name: str, module: str, settings: dict[str, Any], python: str = sys.executable) -> Child:
    """Starts a module that serves commands, such as `benchmarks.peers.sb3`.

    Raises:
        UserError: It cannot be started.
    """
    return Child(name, [python, "-m", module, json.dumps(settings)])


class TrainProcess(Child):
    """`train.py` in a run directory of its own; `program` runs in its place, if given."""

    def __init__(
        self,
        name: str,
        run_dir: Path,
        gin_files: Sequence[str],
        gin_bindings: Sequence[str],
        program: Sequence[str] = ("train.py",),
    ):
        """Starts it; see `Child`. Whether its replay buffer fits the memory is not asked."""
        command = [sys.executable, *program, f"--run_dir={run_dir}", "--seed=1", "--ignore_memory"]
        command += [f"--gin_file={file}" for file in gin_files]
        command += [f"--gin_bindings={binding}" for binding in gin_bindings]
        super().__init__(name, command, talks=False)
        self._metrics_jsonl = run_dir / "metrics.jsonl"
        self._bytes_read = 0

    def new_rows(self) -> list[dict[str, Any]]:
        """The rows that were finished since the last call."""
        if not self._metrics_jsonl.exists():
            return []
        with open(self._metrics_jsonl, "rb") as file:
            file.seek(self._bytes_read)
            lines = [line for line in file if line.endswith(b"\n")]
        self._bytes_read += sum(map(len, lines))
        return [json.loads(line) for line in lines]

    def next_rows(self) -> list[dict[str, Any]]:
        """Waits for rows.

        Raises:
            UserError: The process ended.
        """
        while not (rows := self.new_rows()):
            if self.process.poll() is not None:
                raise self.ended()
            time.sleep(_LOOKS_EVERY_SECONDS)
        return rows
