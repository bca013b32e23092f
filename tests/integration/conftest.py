"""Starts the real entry point, `python train.py`, in processes of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gin
import pytest
import tensorflow as tf
from absl import flags

REPOSITORY = Path(__file__).resolve().parents[2]

# Small networks and short games, so that starting the process takes longer than what it then does.
TINY = (
    "create_environment.num_environments = 2",
    "create_environment.max_episode_steps = 40",
    "create_q_network.conv_layers = ((4, 8, 4), (4, 4, 2))",
    "create_q_network.dense_units = (16,)",
    # So that runs in this process, whose threads are TensorFlow's own choice, round alike.
    "create_q_network.convolution_lanes = 1",
    "create_agent.epsilon_decay_env_steps = 600",
    "create_replay_buffer.capacity_transitions = 240",
    "create_collector.random_fill_env_steps = 80",
    "create_collector.env_steps_per_iteration = 16",
    "create_learner.batch_size = 4",
    "train.log_period_env_steps = 32",
    "train.checkpoint_period_env_steps = 100",
    "train.evaluation_period_env_steps = 300",
    "train.evaluation_games = 1",
    "train.evaluation_video_seconds = 0",
)


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a process ended and what it wrote."""

    code: int
    out: str
    err: str


class Started:
    """A process of `train.py`; what it writes goes to files beside its run directory."""

    def __init__(self, arguments: Sequence[str], folder: Path, name: str):
        folder.mkdir(parents=True, exist_ok=True)
        self._out, self._err = folder / f"{name}.out", folder / f"{name}.err"
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "train.py", *arguments],
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    def wait(self) -> Ended:
        try:
            code = self.process.wait(timeout=300)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
        return Ended(code, self._out.read_text(), self._err.read_text())


Start = Callable[..., Started]


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def tiny_arguments() -> Callable[..., list[str]]:
    """The command line of a tiny run: its directory, more bindings, and the seed (None: unsaid)."""

    def arguments(run_dir: Path, *bindings: str, seed: int | None = 7) -> list[str]:
        return [
            "--gin_file=breakout.gin",
            "--gin_file=smoke.gin",
            f"--run_dir={run_dir}",
            *([] if seed is None else [f"--seed={seed}"]),
            *(f"--gin_bindings={binding}" for binding in (*TINY, *bindings)),
        ]

    return arguments


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Starts `python train.py` with arguments."""
    folder = tmp_path_factory.mktemp("output")
    count = iter(range(1000))

    def start(*arguments: str) -> Started:
        return Started(arguments, folder, f"process{next(count)}")

    return start


@contextlib.contextmanager
def flags_of_its_own() -> Iterator[None]:
    """Lets `train.py` define its flags, and afterwards has those that were there before."""
    names = ("gin_file", "gin_bindings", "run_dir", "seed", "ignore_memory")
    before = {name: flags.FLAGS[name] for name in names if name in flags.FLAGS}
    for name in before:
        delattr(flags.FLAGS, name)
    try:
        yield
    finally:
        for name in names:
            if name in flags.FLAGS:
                delattr(flags.FLAGS, name)
        for name, flag in before.items():
            flags.FLAGS[name] = flag
        flags.FLAGS.unparse_flags()


@pytest.fixture(scope="session")
def run_here() -> Callable[..., Ended]:
    """Runs `train.py` in this process, which saves starting one; leaves gin empty."""

    def run_here(*arguments: str) -> Ended:
        out, err = io.StringIO(), io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            flags_of_its_own(),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            patch.setattr(sys, "argv", ["train.py", *arguments])
            # This process may have its threads already.
            for name in ("set_intra_op_parallelism_threads", "set_inter_op_parallelism_threads"):
                patch.setattr(tf.config.threading, name, lambda number: None)
            try:
                runpy.run_path(str(REPOSITORY / "train.py"), run_name="__main__")
            except SystemExit as end:
                return Ended(int(end.code or 0), out.getvalue(), err.getvalue())
            finally:
                gin.clear_config()
        raise AssertionError("train.py ended without an exit code")

    return run_here


def json_of(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


@pytest.fixture(scope="session")
def read_json() -> Callable[[Path], dict[str, Any]]:
    return json_of


@pytest.fixture(scope="session")
def snapshot() -> Callable[[Path], dict[str, bytes]]:
    """All files below a folder with their content, but for the note of who holds a run."""

    def files(folder: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name != ".lock"
        }

    return files
