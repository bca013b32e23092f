"""What a run leaves, in a form in which two runs can be compared to the last bit."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from dqn_breakout import config
from dqn_breakout.runs import checkpoint_files
from dqn_breakout.runs.directory import RunDirectory

# What a clock says differs from run to run.
CLOCKS = {"env_steps_per_second", "wall_seconds", "checkpoint_seconds"}
# Means since the last row: one that was not due, where a signal stopped the run, begins them anew.
SINCE_LAST_ROW = {"loss", "mean_q", "gradient_norm"}
# Far above any file of a tiny run.
_LIMIT_BYTES = 2**24


def rows(run: RunDirectory) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl, without clocks."""
    return [
        {name: value for name, value in json.loads(line).items() if name not in CLOCKS}
        for line in run.metrics_jsonl.read_text().splitlines()
    ]


def rows_so_far(run: RunDirectory) -> int:
    """How many rows metrics.jsonl has; none where there is no such file yet."""
    try:
        return run.metrics_jsonl.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def setting(run: RunDirectory, name: str) -> int:
    """A whole number of the run's config, such as `train.total_env_steps`."""
    return int(config.bindings(run.config_gin.read_text())[name])


def outcome(run: RunDirectory, logs: bool = True) -> dict[str, Any]:
    """The summary, a digest of each array of the checkpoint, and what `logs` says.

    The replay buffer is in it as the digest of each of its fields, over the rows still needed.

    Args:
        run: A finished run.
        logs: Whether the rows and the evaluations' scores are read too.
    """
    told: dict[str, Any] = {}
    if logs:
        told["rows"] = rows(run)
        told["evaluations"] = {
            path.name: json.loads(path.read_text())["returns"]
            for path in sorted(run.evaluations.glob("*.json"))
        }
    summary = json.loads(run.summary_json.read_text())
    newest = checkpoint_files.open_checkpoint(checkpoint_files.existing(run.checkpoints)[0])
    return {
        "summary": {name: value for name, value in summary.items() if name not in CLOCKS},
        "counters": {name: value for name, value in newest.counters.items() if name != "row"},
        **told,
        "arrays": {
            f"{file}/{name}": _digest(values.tobytes())
            for file in sorted(newest.manifest["files"])
            for name, values in sorted(
                newest.arrays(file.removesuffix(".npz"), _LIMIT_BYTES).items()
            )
        },
        "replay": _replay(run, newest),
    }


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """The ways in which two outcomes differ, a phrase each; empty where there is none."""
    said = []
    for part in sorted(expected.keys() | found.keys()):
        one, other = found.get(part), expected.get(part)
        if one == other:
            continue
        if isinstance(one, dict) and isinstance(other, dict):
            names = [name for name in one.keys() | other.keys() if one.get(name) != other.get(name)]
            said += [
                f"{part} {name}: {one.get(name)} instead of {other.get(name)}"
                for name in sorted(names)
            ]
        elif isinstance(one, list) and isinstance(other, list):
            steps = [[row["env_steps"] for row in each] for each in (one, other)]
            if steps[0] != steps[1]:
                said.append(f"{part} at {steps[0]} instead of {steps[1]}")
            else:
                said += [
                    f"{part} {a} instead of {b}" for a, b in zip(one, other, strict=True) if a != b
                ]
        else:
            said.append(f"{part}: {one} instead of {other}")
    return said


def half_written(run: RunDirectory) -> list[str]:
    """Names below a run directory that only a process that is writing may leave."""
    return [
        str(path.relative_to(run.path))
        for path in run.path.rglob(".*")
        if ".tmp" in path.suffixes or path.suffix == ".replaced"
    ]


def _replay(run: RunDirectory, checkpoint: checkpoint_files.Checkpoint) -> dict[str, str]:
    """A digest of each field over the newest rows; how they were cut into segments may differ."""
    import numpy as np

    segments = [checkpoint.segment(run.replay, name) for name in checkpoint.segments]
    fields = segments[0].keys() if segments else ()
    # Segments may reach further back.
    transitions = setting(run, "create_replay_buffer.capacity_transitions")
    whole = {field: np.concatenate([each[field] for each in segments]) for field in fields}
    return {
        field: _digest(values[-(transitions // values.shape[1]) :].tobytes())
        for field, values in whole.items()
    }


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def snapshot(folder: Path) -> dict[str, bytes]:
    """All files below a folder with their content, but for the note of who holds a run."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }
