"""What a run leaves, in a form in which two runs can be compared to the last bit."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any, Literal

import lz4.frame
import numpy as np

from dqn_breakout import config
from dqn_breakout.runs import checkpoint_files
from dqn_breakout.runs.directory import RunDirectory

# What a clock says differs from run to run.
CLOCKS = {"env_steps_per_second", "wall_seconds", "checkpoint_seconds"}
# Means since the last row: one that was not due, where a signal stopped the run, begins them anew.
SINCE_LAST_ROW = {"loss", "mean_q", "gradient_norm"}
# Rows and evaluations: the same, or some may be missing, or whatever they are.
Logs = Literal["same", "may lack", "any"]


def rows(run: RunDirectory) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl, without clocks."""
    lines = run.metrics_jsonl.read_text().splitlines()
    return [without_clocks(json.loads(line)) for line in lines]


def without_clocks(values: dict[str, Any]) -> dict[str, Any]:
    """A row or a summary without what a clock says."""
    return {name: value for name, value in values.items() if name not in CLOCKS}


def rows_so_far(run: RunDirectory) -> int:
    """How many rows metrics.jsonl has; none where there is no such file yet."""
    try:
        return run.metrics_jsonl.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def saved_steps(run: RunDirectory) -> list[int]:
    """The environment steps of the finished checkpoints, newest first."""
    return [int(path.name) for path in checkpoint_files.checkpoints(run.checkpoints)]


def setting(run: RunDirectory, name: str) -> int:
    """A whole number of the run's config, such as `train.total_env_steps`."""
    return int(config.bindings(run.config_gin.read_text())[name])


def outcome(run: RunDirectory) -> dict[str, Any]:
    """What a finished run leaves: summary, rows, scores, and a digest of every saved array.

    The replay buffer is in it as the digest of each of its fields, over the rows still needed.
    """
    newest = checkpoint_files.existing(run.checkpoints)[0]
    counters = checkpoint_files.open_checkpoint(newest).counters
    return {
        "rows": rows(run),
        "evaluations": {
            path.name: json.loads(path.read_text())["returns"]
            for path in sorted(run.evaluations.glob("*.json"))
        },
        "summary": without_clocks(json.loads(run.summary_json.read_text())),
        # With the last row in it, whose means a stop changes.
        "counters": {name: value for name, value in counters.items() if name != "row"},
        "arrays": {
            f"{path.name}/{name}": _digest(values)
            for path in sorted(newest.glob("*.npz"))
            for name, values in _arrays(path.read_bytes()).items()
        },
        "replay": _replay(run, newest),
    }


def differences(
    run: RunDirectory,
    expected_run: RunDirectory,
    *,
    stopped_at: int | None = None,
    logs: Logs = "same",
) -> list[str]:
    """The ways in which a finished run differs from one that was left alone; mostly none.

    Args:
        run: The finished run.
        expected_run: The one that was left alone.
        stopped_at: Environment steps at which a signal stopped the run. A row may be there that was
            not due: then the means of the next row that was cover less than they would.
        logs: What is asked of rows and evaluations.
    """
    found, expected = outcome(run), outcome(expected_run)
    said = [f"{left} was left" for left in _half_written(run)]
    if logs == "same":
        rows_found, rows_expected = found["rows"], expected["rows"]
        if stopped_at is not None:
            rows_found, rows_expected = _without_stop(rows_found, rows_expected, stopped_at)
        # By their step, so that each difference is told with its row.
        for values, rows_of in ((found, rows_found), (expected, rows_expected)):
            values["rows"] = {str(row["env_steps"]): row for row in rows_of}
    else:
        if logs == "may lack":
            said += [f"row {row}" for row in found["rows"] if row not in expected["rows"]]
            for name, returns in found["evaluations"].items():
                if expected["evaluations"].get(name) != returns:
                    said.append(f"evaluation {name}: {returns}")
        for name in ("rows", "evaluations"):
            del found[name], expected[name]
    return said + [
        f"{part} {name}: {found[part].get(name)} instead of {values.get(name)}"
        for part, values in expected.items()
        for name in sorted(values.keys() | found[part].keys())
        if found[part].get(name) != values.get(name)
    ]


def _without_stop(
    found: list[dict[str, Any]], expected: list[dict[str, Any]], stopped_at: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Two lists of rows without that of a stop, and without what it changes in the row after it."""
    due = [row["env_steps"] for row in expected]
    if stopped_at in due:
        return found, expected
    next_due = next((step for step in due if step > stopped_at), None)

    def even(row: dict[str, Any]) -> dict[str, Any]:
        changed = SINCE_LAST_ROW if row["env_steps"] == next_due else set()
        return {name: value for name, value in row.items() if name not in changed}

    left = [row for row in found if row["env_steps"] != stopped_at]
    return [even(row) for row in left], [even(row) for row in expected]


def _half_written(run: RunDirectory) -> list[str]:
    """Names below a run directory that only a process that is writing may leave."""
    found = run.path.rglob(".*")
    return [str(path.relative_to(run.path)) for path in found if ".tmp" in path.suffixes]


def replay_rows(run: RunDirectory, checkpoint: Path) -> dict[str, np.ndarray]:
    """The rows that a checkpoint holds of the replay buffer, by field, oldest first."""
    names = checkpoint_files.open_checkpoint(checkpoint).segments
    segments = [_arrays(lz4.frame.decompress((run.replay / name).read_bytes())) for name in names]
    fields = segments[0].keys() if segments else ()
    return {field: np.concatenate([each[field] for each in segments]) for field in fields}


def _replay(run: RunDirectory, checkpoint: Path) -> dict[str, str]:
    """A digest of each field over the newest rows; how they were cut into segments may differ."""
    # Segments may reach further back.
    transitions = setting(run, "create_replay_buffer.capacity_transitions")
    return {
        field: _digest(values[-(transitions // values.shape[1]) :])
        for field, values in replay_rows(run, checkpoint).items()
    }


def _arrays(content: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return dict(archive)


def _digest(values: np.ndarray) -> str:
    return hashlib.sha256(values.tobytes()).hexdigest()[:16]


def snapshot(folder: Path) -> dict[str, bytes]:
    """All files below a folder with their content, but for the note of who holds a run."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }
