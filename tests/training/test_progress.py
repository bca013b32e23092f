"""Tests of the numbers that a run shows, against numbers worked out by hand."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import tensorflow as tf

from dqn_breakout.training import progress
from dqn_breakout.training.learner import LearnerMetrics
from dqn_breakout.training.loop import Iteration
from dqn_breakout.training.progress import ProgressMeter, Row


class Run:
    """Stands for agent, metrics and replay buffer of a run; a test moves it on."""

    def __init__(self) -> None:
        self.train_step_counter = tf.Variable(0, dtype=tf.int64)
        self.epsilon = 0.5
        self.env_steps = 0
        self.episodes = 0
        self.average_return: float | None = None
        self.average_length: float | None = None

    def num_frames(self) -> tf.Tensor:
        return tf.constant(min(self.env_steps, 150), tf.int64)


class Clock:
    """Takes the place of the module `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def run() -> Run:
    return Run()


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def meter(run: Run, fill: int = 100) -> ProgressMeter:
    anything: Any = run
    return ProgressMeter(anything, anything, anything, fill)


def turn(env_steps: int, train_steps: int, *means: float) -> Iteration:
    metrics = LearnerMetrics(*map(tf.constant, means)) if means else None
    return Iteration(env_steps, train_steps, metrics)


def test_a_row_holds_where_the_run_stands(run, clock):
    gauge = meter(run)
    clock.now += 4
    run.env_steps = 200
    run.episodes = 3
    run.average_return, run.average_length = 1.5, 60.0
    run.train_step_counter.assign(25)
    row = gauge.row()
    assert row.as_dict() == {
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
        "replay_transitions": 150,
        "wall_seconds": 4.0,
        "checkpoint_seconds": None,
    }
    assert json.loads(json.dumps(row.as_dict())) == row.as_dict()


def test_means_weigh_each_turn_by_its_train_steps(run, clock):
    gauge = meter(run)
    gauge.add(turn(100, 0))
    gauge.add(turn(104, 1, 4.0, 1.0, 0.5))
    gauge.add(turn(116, 3, 8.0, 3.0, 1.5))
    row = gauge.row()
    assert row.loss == (4.0 + 3 * 8.0) / 4
    assert row.mean_q == (1.0 + 3 * 3.0) / 4
    assert row.gradient_norm == (0.5 + 3 * 1.5) / 4


def test_means_are_of_the_turns_since_the_last_row(run, clock):
    gauge = meter(run)
    gauge.add(turn(104, 1, 4.0, 1.0, 0.5))
    gauge.row()
    assert gauge.row().loss is None
    gauge.add(turn(108, 1, 2.0, 1.0, 0.5))
    assert gauge.row().loss == 2.0


def test_speed_is_that_since_the_last_row(run, clock):
    gauge = meter(run)
    clock.now, run.env_steps = 1010, 100
    assert gauge.row().env_steps_per_second == 10.0
    clock.now, run.env_steps = 1012, 140
    row = gauge.row()
    assert row.env_steps_per_second == 20.0
    assert row.wall_seconds == 12.0
    assert gauge.overall_env_steps_per_second == pytest.approx(140 / 12)


def test_a_pause_is_no_training_time(run, clock):
    gauge = meter(run)
    clock.now, run.env_steps = 1030, 100
    gauge.pause(20)
    row = gauge.row()
    assert row.env_steps_per_second == 10.0
    assert row.wall_seconds == 10.0
    assert gauge.overall_env_steps_per_second == 10.0


def test_the_speed_of_a_resumed_run_counts_its_own_steps_only(run, clock):
    run.env_steps = 1_000_000
    gauge = meter(run)
    clock.now, run.env_steps = 1002, 1_000_100
    assert gauge.overall_env_steps_per_second == 50.0
    assert gauge.row().env_steps_per_second == 50.0


def test_no_time_passed_divides_nothing(run, clock):
    gauge = meter(run)
    assert gauge.row().env_steps_per_second == 0.0
    assert gauge.overall_env_steps_per_second == 0.0


@pytest.mark.parametrize(("env_steps", "epsilon"), [(0, 1.0), (99, 1.0), (100, 0.5), (101, 0.5)])
def test_epsilon_is_one_while_the_random_fill_lasts(run, clock, env_steps, epsilon):
    gauge = meter(run, fill=100)
    run.env_steps = env_steps
    assert gauge.row().epsilon == epsilon


def test_a_row_comes_back_from_its_json_and_nothing_else_does():
    values = {field.name: 1 for field in dataclasses.fields(Row)} | {"loss": None, "epsilon": 0.5}
    row = Row.from_dict(json.loads(json.dumps(values)))
    assert row is not None
    assert row.as_dict() == values
    others: list[Any] = [None, 7, [], {}, {"env_steps": 1}]
    others += [{**values, "more": 1}, {**values, "loss": "1"}, {**values, "env_steps": None}]
    others += [{**values, "epsilon": float("nan")}, {**values, "train_steps": 10**400}]
    for damaged in others:
        assert Row.from_dict(damaged) is None
