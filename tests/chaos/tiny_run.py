"""The run that faults are tried on: `train.py` as it is, a small network and a short budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dqn_breakout.runs.directory import RunDirectory
from tests.chaos import file_operations, run_outcome
from tests.chaos.file_operations import Operation
from tests.chaos.train_process import REPOSITORY, TrainProcess

TINY = REPOSITORY / "tests" / "chaos" / "tiny.gin"

# The two ways in which the project trains: several vector games at once, and the book's single one.
PATHS = {
    "fast": (
        "--gin_file=breakout.gin",
        "--gin_file=smoke.gin",
        f"--gin_file={TINY}",
        "--gin_bindings=create_environment.num_environments = 2",
        "--gin_bindings=create_collector.env_steps_per_iteration = 16",
    ),
    "book": (
        "--gin_file=breakout_book.gin",
        "--gin_file=smoke.gin",
        f"--gin_file={TINY}",
        "--gin_bindings=create_learner.batch_size = 4",
    ),
}
SEED = 7


def flags(path: str, run: RunDirectory, *more: str) -> list[str]:
    """The command line of a tiny run on one of the two paths."""
    return [*PATHS[path], f"--run_dir={run.path}", f"--seed={SEED}", *more]


def reference(path: str, work_dir: Path) -> Path:
    """A run that was left alone, made once; its directory.

    Raises:
        AssertionError: It failed, or wrote no replay segment beside training, so that no fault
            would meet one being written.
    """
    run = RunDirectory(work_dir / f"reference-{path}")
    if not run.summary_json.exists():
        ended = TrainProcess(
            flags(path, run),
            work_dir / f"reference-{path}.out",
            prepare=file_operations.listing(run.path, _listing(path, work_dir)),
        ).wait()
        assert ended.code == 0, ended.err
        assert written_beside_training(path, work_dir), "no replay segment was written ahead"
    return run.path


def operations(path: str, work_dir: Path) -> list[Operation]:
    """Each operation of the run that was left alone, from the first on."""
    reference(path, work_dir)
    return file_operations.listed(_listing(path, work_dir))


def written_beside_training(path: str, work_dir: Path) -> list[str]:
    """The replay segments that the run left alone wrote beside training."""
    return [
        each.name
        for each in file_operations.listed(_listing(path, work_dir))
        if each.beside and each.kind == "rename" and each.name.startswith("replay/")
    ]


def _listing(path: str, work_dir: Path) -> Path:
    return work_dir / f"reference-{path}.operations"


def compare(
    run: RunDirectory,
    path: str,
    work_dir: Path,
    *,
    stopped_at: int | None = None,
    logs: bool = True,
) -> list[str]:
    """The ways in which a finished run differs from the one that was left alone; mostly none.

    Args:
        run: The finished run.
        path: Which of the two paths it is on.
        work_dir: Where the run lies that was left alone.
        stopped_at: Environment steps at which a signal stopped it. A row may be there that was not
            due: then the means of the next row that was cover less than they would.
        logs: Whether the rows and the evaluations are compared too.
    """
    found = run_outcome.outcome(run, logs)
    expected = run_outcome.outcome(RunDirectory(reference(path, work_dir)), logs)
    if stopped_at is not None and logs:
        _even_out_stop(found, expected, stopped_at)
    return [
        *run_outcome.differences(found, expected),
        *(f"{left} was left" for left in run_outcome.half_written(run)),
    ]


def _even_out_stop(found: dict[str, Any], expected: dict[str, Any], stopped_at: int) -> None:
    """Leaves out of two outcomes the row of a stop, and what that changes in the row after it."""
    due = [row["env_steps"] for row in expected["rows"]]
    if stopped_at in due:
        return
    found["rows"] = [row for row in found["rows"] if row["env_steps"] != stopped_at]
    next_due = next((step for step in due if step > stopped_at), None)
    for row in (*found["rows"], *expected["rows"]):
        if row["env_steps"] == next_due:
            for name in run_outcome.SINCE_LAST_ROW:
                del row[name]


def weights(run: RunDirectory) -> str:
    """`weights_sha256` of a finished run."""
    return str(run_outcome.outcome(run)["summary"]["weights_sha256"])
