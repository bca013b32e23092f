"""The run that faults are tried on: `train.py` as it is, a small network and a short budget."""

from __future__ import annotations

import functools
from pathlib import Path

from dqn_breakout.runs.directory import RunDirectory
from tests.chaos import file_operations
from tests.chaos.file_operations import Operation
from tests.chaos.train_process import REPOSITORY, TrainProcess

_TINY = f"--gin_file={REPOSITORY / 'tests' / 'chaos' / 'tiny.gin'}"
# The two ways in which the project trains: several vector games at once, and the book's single one.
PATHS = {
    "fast": (
        "--gin_file=breakout.gin",
        "--gin_file=smoke.gin",
        _TINY,
        "--gin_bindings=create_environment.num_environments = 2",
        "--gin_bindings=create_collector.env_steps_per_iteration = 16",
    ),
    "book": ("--gin_file=breakout_book.gin", "--gin_file=smoke.gin", _TINY),
}
SEED = 7


def flags(path: str, run_dir: Path, *more: str) -> list[str]:
    """The command line of a tiny run on one of the two paths."""
    return [*PATHS[path], f"--run_dir={run_dir}", f"--seed={SEED}", *more]


def reference(path: str, work_dir: Path) -> RunDirectory:
    """A run that was left alone, made once.

    Raises:
        AssertionError: It failed, or wrote no replay segment beside training, so that no fault
            would meet one being written.
    """
    run = RunDirectory(work_dir / f"reference-{path}")
    if not run.summary_json.exists():
        listing = functools.partial(
            file_operations.list_all, run.path, _operations_file(path, work_dir)
        )
        ended = TrainProcess(flags(path, run.path), run.path, prepare=listing).wait()
        assert ended.code == 0, ended.err
        assert any(
            each.beside and each.kind == "rename" and each.name.startswith("replay/")
            for each in operations(path, work_dir)
        ), "no replay segment was written ahead"
    return run


def operations(path: str, work_dir: Path) -> list[Operation]:
    """Each operation of the run that was left alone, from the first on."""
    reference(path, work_dir)
    return file_operations.listed(_operations_file(path, work_dir))


def _operations_file(path: str, work_dir: Path) -> Path:
    return work_dir / f"reference-{path}.operations"
