from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import resume_cost
from benchmarks.report import MeasurementError
from dqn_breakout.errors import UserError


def entry(contestant: str, speed: float, *pauses: float) -> dict[str, Any]:
    return {
        "contestant": contestant,
        "env_steps_per_second": speed,
        "checkpoint_seconds": list(pauses),
        "processor_ms_per_env_step": 11.0 if contestant == resume_cost.ON else 10.0,
    }


def test_both_costs_are_put_together() -> None:
    # A thousand steps take 10 s, at 98 % of the speed without; then a checkpoint takes a second.
    measured = [
        entry(resume_cost.ON, 98.0, 1.0),
        entry(resume_cost.OFF, 100.0),
        entry(resume_cost.OFF, 200.0),
        entry(resume_cost.ON, 196.0),
        entry(resume_cost.ON, 100.0, 0.5, 3.0),
        entry(resume_cost.OFF, 100.0),
    ]
    cost = resume_cost.cost(measured, 1000)
    assert cost["of_writing_ahead"] == pytest.approx(0.02)
    assert cost["pause_seconds"] == 1.0
    assert cost["of_checkpoints"] == pytest.approx(1 / 11)
    assert cost["cost"] == pytest.approx(1 - 0.98 * 10 / 11)
    assert cost["of_processor_time"] == pytest.approx(0.1)


def test_without_a_checkpoint_there_is_no_cost_to_tell() -> None:
    with pytest.raises(MeasurementError, match="No checkpoint came"):
        resume_cost.cost([entry(resume_cost.ON, 1.0), entry(resume_cost.OFF, 1.0)], 1000)


def test_a_row_is_read_once_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    rows = resume_cost.Rows(path)
    assert rows.new() == []
    first, second = json.dumps({"env_steps": 64}), json.dumps({"env_steps": 128})
    path.write_text(first + "\n" + second[:5])
    assert rows.new() == [{"env_steps": 64}]
    assert rows.new() == []
    path.write_text(first + "\n" + second + "\n")
    assert rows.new() == [{"env_steps": 128}]


def test_a_wrong_argument_is_one_sentence() -> None:
    with pytest.raises(UserError, match="--rounds: needs a whole number of 1 or more"):
        resume_cost.main(["--rounds=0"])
