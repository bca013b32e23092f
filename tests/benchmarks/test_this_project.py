"""The project's parts as benchmarks take them, on small ones; no time is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import gin
import numpy as np
import pytest
import tensorflow as tf

from benchmarks import floor, operations, profile, this_project
from benchmarks.this_project import ThisProject
from dqn_breakout.evaluation import saved_network
from dqn_breakout.networks.flops import forward_flops

BINDINGS = [
    "create_environment.num_environments = 2",
    "create_q_network.conv_layers = ((4, 8, 4), (4, 4, 2))",
    "create_q_network.dense_units = (16,)",
    "create_replay_buffer.capacity_transitions = 400",
    "create_collector.random_fill_env_steps = 80",
    "create_collector.env_steps_per_iteration = 16",
    "create_learner.batch_size = 4",
]


@pytest.fixture(scope="module")
def project() -> Iterator[ThisProject]:
    built = ThisProject(["breakout.gin"], BINDINGS, share=False)
    assert built.fill()["num_environments"] == 2
    assert built.counts() == (80, 0)
    yield built
    built.close()
    gin.clear_config()


def test_the_parts_and_the_overhead_make_up_the_whole(
    project: ThisProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("_ROUNDS", 1), ("_CALLS", 2), ("_EMULATOR_ENV_STEPS", 20)):
        monkeypatch.setattr(profile, name, value)
    found = profile.measure_parts(project, 0.1)
    rows = {row["part"]: row for row in found["parts"]}
    assert list(rows)[8:] == ["overhead"]
    whole = found["iteration"]["processor_ms"]
    assert sum(row["processor_ms"] for row in rows.values()) == pytest.approx(whole)
    assert all(row["floor_ms"] > 0 for name, row in rows.items() if name != "overhead")
    # Parts alone neither train nor play for the training loop.
    env_steps, train_steps = project.counts()
    assert abs(train_steps - (env_steps - 80) / project.env_steps_per_train_step) <= 16


def test_a_part_does_all_of_its_work_and_leaves_the_network(project: ThisProject) -> None:
    network = project._agent.q_network
    before = [weights.numpy() for weights in network.variables]
    done = {part.name: part.call() for part in project.parts()}
    sampled, group = done["replay, sampling"], 4 * 4
    assert sampled.observation.shape == (group, 84, 84, 4)
    assert sampled.next_observation.shape == (group, 84, 84, 4)
    assert [each.shape for each in done["gradient"]] == [each.shape for each in before]
    for was, weights in zip(before, network.variables, strict=True):
        np.testing.assert_array_equal(was, weights.numpy())


def test_the_operations_are_those_of_a_train_step(project: ThisProject) -> None:
    found = list(operations.operations(project.layers, project.batch_size))
    shapes = {each.name: each.call().shape for each in found}
    assert shapes["convolution 1, forward"] == (4, 20, 20, 4)
    assert shapes["convolution 2, gradient of weights"] == (4, 4, 4, 4)
    assert shapes["dense 1, gradient of input"] == (4, 9 * 9 * 4)
    assert "convolution 1, gradient of input" not in shapes
    sample = floor.flops_per_sample(project.layers)
    assert sum(each.flops * each.calls for each in found) == 4 * sample
    frames = tf.TensorSpec(project.observation_shape, tf.uint8)
    products = sum(layer.flops for layer in project.layers)
    assert forward_flops(project._agent.q_network, frames) == products


def test_a_filled_buffer_repeats_what_was_played(
    project: ThisProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(this_project, "_ENV_STEPS_IN_A_PIECE", 40)
    monkeypatch.setattr(this_project, "_ROWS_IN_A_PIECE", 15)
    monkeypatch.setattr(project, "train_until", lambda deadline: None)
    # The network of pretrained/breakout has the paper's layers.
    own = SimpleNamespace(agent=project._agent)
    monkeypatch.setattr(saved_network, "load_network", lambda _: own)
    counted, buffer = project.counts(), project._replay
    project.play(80)
    assert project.counts() == counted
    there, period = buffer.rows_added, project._rows_played
    assert period >= 40
    played = buffer.read_rows(there - period, there)

    filled = project.level(2 * (there + 2 * period))
    assert filled["transitions"] == 2 * min(buffer.rows_added, 200)
    assert buffer.rows_added == there + 2 * period
    again = buffer.read_rows(there + period, there + 2 * period)
    for name, once in played.items():
        np.testing.assert_array_equal(once, again[name])
