"""What the profile and the list of operations count, on small parts; no time is looked at."""

from __future__ import annotations

from typing import Any

import gin
import numpy as np
import pytest

from benchmarks import operations, profile, rounds, this_project
from dqn_breakout import config, experiment
from dqn_breakout.networks.nature_cnn import forward_flops

SMALL = [
    "create_environment.num_environments = 2",
    "create_q_network.conv_layers = ((4, 8, 4), (4, 4, 2))",
    "create_q_network.dense_units = (16,)",
    "create_replay_buffer.capacity_transitions = 240",
    "create_collector.random_fill_env_steps = 80",
    "create_collector.env_steps_per_iteration = 16",
    "create_learner.batch_size = 4",
]


@pytest.fixture(scope="module")
def parts() -> Any:
    config.parse(["breakout.gin"], SMALL)
    built = experiment.build(1)
    while built.metrics.env_steps < 80:
        built.collector.fill(built.metrics.env_steps)
    yield built
    built.collector.close()
    gin.clear_config()


def test_the_parts_and_the_overhead_make_up_the_whole(
    parts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("_ROUNDS", 1), ("_CALLS", 2), ("_EMULATOR_SECONDS", 0.05)):
        monkeypatch.setattr(profile, name, value)
    found = profile.measure(parts, 0.1)
    rows = {row["part"]: row for row in found["parts"]}
    assert list(rows)[-1] == "overhead"
    assert len(rows) == 9
    whole = found["iteration"]["processor_ms"]
    assert sum(row["processor_ms"] for row in rows.values()) == pytest.approx(whole)
    assert all(row["floor_ms"] > 0 for name, row in rows.items() if name != "overhead")
    # Parts alone neither train nor play for the training loop.
    due = (parts.metrics.env_steps - 80) / parts.learner.env_steps_per_train_step
    assert abs(int(parts.agent.train_step_counter) - due) <= 16


def test_a_part_does_all_of_its_work_and_leaves_the_network(parts: Any) -> None:
    before = [weights.numpy() for weights in parts.agent.q_network.variables]
    done = {part.name: part.call() for part in profile._parts(parts)}
    group = 4 * parts.learner.train_steps_per_group
    sampled = done["replay, sampling"]
    assert sampled.time_steps.observation.shape == (group, 84, 84, 4)
    assert sampled.next_time_steps.observation.shape == (group, 84, 84, 4)
    assert [each.shape for each in done["gradient"]] == [each.shape for each in before]
    for was, weights in zip(before, parts.agent.q_network.variables, strict=True):
        np.testing.assert_array_equal(was, weights.numpy())


def test_the_operations_are_those_of_a_train_step(parts: Any) -> None:
    environment = parts.environment
    shape = tuple(environment.observation_spec().shape)
    found = list(operations.operations(shape, int(environment.action_spec().maximum) + 1))
    for each in found:
        each.call()
    forward = forward_flops(parts.agent.q_network, shape[:2])
    sample = rounds.flops_per_sample(forward, this_project.first_layer_flops(shape))
    assert sum(each.flops * each.calls for each in found) == 4 * sample
