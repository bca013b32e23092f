"""Writes the curves of a figure as a small file that programs can read, CSV or JSON.

CSV has one row per point and the columns `COLUMNS`; JSON has one object per curve, with lists in
place of the columns that differ from point to point. Empty (CSV) and null (JSON) mean "none".
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dqn_breakout.errors import UserError
from dqn_breakout.reporting.comparison import Curve
from dqn_breakout.runs.files import write_atomically

SUFFIXES: tuple[str, ...] = (".csv", ".json")
MOST_POINTS = 1000
"""A longer curve is thinned to so many points, first and last among them."""

_OF_CURVE = ("kind", "label", "run", "seed", "metric", "protocol")
_OF_POINT = ("env_steps", "value", "low", "high", "samples")
COLUMNS: tuple[str, ...] = (*_OF_CURVE, *_OF_POINT)
"""As the attributes of `comparison.Curve`."""


def write(curves: Sequence[Curve], path: Path) -> None:
    """Writes curves to a file; its suffix says in which format.

    Raises:
        UserError: The suffix is none of `SUFFIXES`, or the file cannot be written.
    """
    records = [_record(curve) for curve in curves]
    if path.suffix == ".csv":
        content = _as_csv(records)
    elif path.suffix == ".json":
        content = json.dumps({"curves": records}, allow_nan=False) + "\n"
    else:
        raise UserError(
            f"The data file {path} must end in {' or '.join(SUFFIXES)}: its ending says the format."
        )
    try:
        write_atomically(path, content.encode())
    except OSError as error:
        raise UserError(f"The data file {path} cannot be written: {error.strerror}.") from error


def _record(curve: Curve) -> dict[str, Any]:
    size = curve.env_steps.size
    chosen = np.unique(np.linspace(0, size - 1, min(size, MOST_POINTS)).round().astype(np.int64))
    return {
        "kind": curve.kind.value,
        "label": curve.label,
        "run": curve.run or None,
        "seed": curve.seed,
        "metric": curve.metric,
        "protocol": curve.protocol or None,
        "env_steps": [int(steps) for steps in curve.env_steps[chosen]],
        "value": [_rounded(value) for value in curve.values[chosen]],
        "low": [_rounded(value) for value in curve.low[chosen]],
        "high": [_rounded(value) for value in curve.high[chosen]],
        "samples": [int(count) or None for count in curve.samples[chosen]],
    }


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else float(f"{value:.6g}")


def _as_csv(records: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for record in records:
        of_curve = [record[column] for column in _OF_CURVE]
        for point in zip(*(record[column] for column in _OF_POINT), strict=True):
            writer.writerow([*of_curve, *point])
    return text.getvalue()
