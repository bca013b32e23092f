from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from dqn_breakout.errors import UserError
from dqn_breakout.reporting import comparison, curve_data
from dqn_breakout.reporting.run_records import read_run


@pytest.fixture
def curves(write_run, make_evaluation):
    runs = [read_run(write_run(evaluations={2000: make_evaluation(1 / 3)}))]
    return [
        *comparison.training_curves(runs, ["a, b"], comparison.RETURN),
        *comparison.evaluation_curves(runs, ["a, b"]),
        comparison.random_player(1.7),
    ]


def test_csv(curves, tmp_path):
    curve_data.write(curves, tmp_path / "curve.csv")
    rows = list(csv.DictReader((tmp_path / "curve.csv").open()))
    assert tuple(rows[0]) == curve_data.COLUMNS
    assert rows[0] == {
        "kind": "training",
        "label": "a, b",
        "run": "run",
        "seed": "7",
        "metric": "average_return",
        "protocol": "",
        "env_steps": "2000",
        "value": "2.0",
        "low": "",
        "high": "",
        "samples": "",
    }
    assert [row["kind"] for row in rows] == ["training"] * 4 + ["evaluation", "random_player"]
    score = rows[4]
    assert (score["value"], score["low"], score["high"]) == ("0.333333", "-1.16667", "1.83333")
    assert (score["protocol"], score["samples"]) == ("nature", "10")
    assert rows[5]["value"] == "1.7"


def test_json(curves, tmp_path):
    curve_data.write(curves, tmp_path / "curve.json")
    training, evaluation, random_player = json.loads((tmp_path / "curve.json").read_text())[
        "curves"
    ]
    assert training["env_steps"] == [2000, 3000, 4000, 5000]
    assert training["value"] == [2, 3, 4, 5]
    assert training["low"] == [None] * 4
    assert evaluation["samples"] == [10]
    assert random_player["run"] is None


def test_long_curves_are_thinned_from_end_to_end(write_run, make_log_line, tmp_path):
    lines = [make_log_line(2000 + step) for step in range(5000)]
    curves = comparison.training_curves([read_run(write_run(lines=lines))], ["a"], "average_return")
    curve_data.write(curves, tmp_path / "curve.json")
    (curve,) = json.loads((tmp_path / "curve.json").read_text())["curves"]
    assert len(curve["env_steps"]) == curve_data.MOST_POINTS
    assert (curve["env_steps"][0], curve["env_steps"][-1]) == (2000, 6999)
    assert set(np.diff(curve["env_steps"])) == {5, 6}
    np.testing.assert_allclose(curve["value"], np.array(curve["env_steps"]) / 1000)


def test_refuses_other_formats_and_places(curves, tmp_path):
    with pytest.raises(UserError, match=r"must end in \.csv or \.json"):
        curve_data.write(curves, tmp_path / "curve.txt")
    with pytest.raises(UserError, match="cannot be written"):
        curve_data.write(curves, tmp_path / "nowhere" / "curve.csv")
