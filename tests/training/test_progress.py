"""Tests of the numbers that a run shows, against numbers worked out by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest
import tensorflow as tf

from dqn_breakout.learning.learning import Turn
from dqn_breakout.training import progress
from dqn_breakout.training.progress import ProgressMeter


class Run:
    """Stands for the metrics of a run, and for the module `time`; a test moves it on."""

    def __init__(self) -> None:
        self.env_steps = 0
        self.episodes = 0
        self.average_return: float | None = None
        self.average_length: float | None = None
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def meter(self) -> ProgressMeter:
        metrics: Any = self
        names = ("loss", "mean_q", "gradient_norm")
        return ProgressMeter(metrics, names, lambda: {"train_steps": 25, "epsilon": 0.5})


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    run = Run()
    monkeypatch.setattr(progress, "time", run)
    return run


def turn(env_steps: int, train_steps: int, **means: float) -> Turn:
    return Turn(env_steps, train_steps, {name: tf.constant(value) for name, value in means.items()})


def test_a_row_holds_where_the_run_stands(run: Run) -> None:
    meter = run.meter()
    run.now, run.env_steps = 1004, 200
    run.episodes, run.average_return, run.average_length = 3, 1.5, 60.0
    row = meter.row()
    assert row == {
        "env_steps": 200,
        "train_steps": 25,
        "episodes": 3,
        "average_return": 1.5,
        "average_length": 60.0,
        "loss": None,
        "mean_q": None,
        "gradient_norm": None,
        "epsilon": 0.5,
        "env_steps_per_second": 50.0,
        "wall_seconds": 4.0,
        "checkpoint_seconds": None,
    }
    assert json.loads(json.dumps(row)) == row


def test_means_are_of_the_turns_since_the_last_row_weighed_by_their_train_steps(run: Run) -> None:
    meter = run.meter()
    meter.add(turn(100, 0))
    meter.add(turn(104, 1, loss=4.0, mean_q=1.0, entropy=0.5))
    meter.add(turn(116, 3, loss=8.0, mean_q=3.0, entropy=1.5))
    row = meter.row()
    assert row["loss"] == (4.0 + 3 * 8.0) / 4
    assert row["mean_q"] == (1.0 + 3 * 3.0) / 4
    assert row["entropy"] == (0.5 + 3 * 1.5) / 4
    assert meter.row()["loss"] is None
    meter.add(turn(108, 1, loss=2.0))
    assert meter.row()["loss"] == 2.0


def test_speed_is_that_since_the_last_row_and_of_this_process(run: Run) -> None:
    run.env_steps = 1_000_000  # A resumed run.
    meter = run.meter()
    assert meter.row()["env_steps_per_second"] == meter.overall_env_steps_per_second == 0.0
    run.now, run.env_steps = 1010, 1_000_100
    assert meter.row()["env_steps_per_second"] == 10.0
    run.now, run.env_steps = 1032, 1_000_140
    meter.pause(20)  # An evaluation is no training time.
    row = meter.row()
    assert row["env_steps_per_second"] == 20.0
    assert row["wall_seconds"] == 12.0
    assert meter.overall_env_steps_per_second == pytest.approx(140 / 12)
