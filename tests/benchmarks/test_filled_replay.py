"""A buffer filled to a level holds what was played, again and again."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import filled_replay
from benchmarks.filled_replay import FilledReplay
from dqn_breakout import machine

pytestmark = pytest.mark.usefixtures("clean_gin")

CAPACITY = 400


def test_a_filled_buffer_repeats_what_was_played(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filled_replay, "_ENV_STEPS_IN_A_PIECE", 40)
    monkeypatch.setattr(filled_replay, "_ROWS_IN_A_PIECE", 15)
    # TensorFlow lets nobody choose its threads twice in a process.
    monkeypatch.setattr(machine, "share_threads", lambda _: None)
    bindings = [
        "create_environment.num_environments = 2",
        f"create_replay_buffer.capacity_transitions = {CAPACITY}",
        "create_replay_buffer.frame_table = @compressed_frames",
        "create_collector.random_fill_env_steps = 80",
        "create_collector.env_steps_per_iteration = 16",
    ]
    settings = {"gin_files": ["breakout.gin"], "gin_bindings": bindings, "seed": 1, "threads": None}
    project = FilledReplay(settings)
    project.fill()
    counted = project.counts()
    project.play(80)
    buffer = project._parts.replay_buffer
    played = buffer.read_rows(project._played_from, project._played_to)
    period = project._played_to - project._played_from
    assert period >= 40
    # What is played for the buffer alone stands in no count.
    assert project.counts() == counted

    project.fill_to(2 * CAPACITY)
    assert buffer.rows_added == CAPACITY
    assert project.memory()["transitions"] == CAPACITY
    last = buffer.read_rows(CAPACITY - period, CAPACITY)
    shift = (CAPACITY - period - project._played_from) % period
    for once, again in zip(played, last, strict=True):
        np.testing.assert_array_equal(np.roll(once, -shift, axis=0), again)
