"""How many train steps are taken, on which batches, and that groups change nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.trajectories import time_step as ts

from dqn_breakout.agents.dqn_agent import DeepQAgent
from dqn_breakout.agents.exploration import Clock
from dqn_breakout.errors import UserError
from dqn_breakout.learning.learner import Learner
from dqn_breakout.networks.nature_cnn import create_q_network
from dqn_breakout.replay.transitions import Transitions
from tests.recorded_play import Recording
from tests.scripted_games import random_scripts
from tests.two_states import (
    ARGUMENTS,
    create_two_state_agent,
    random_transitions,
    target,
    train,
    weights,
)

SIZE = 16
COUNTS: dict[str, Any] = {
    "batch_size": SIZE,
    "env_steps_per_train_step": 4,
    "train_steps_per_group": 1,
    "targets_ahead": False,
}


class FixedReplay:
    """Gives the same transitions in the same order, however many are asked for at once.

    Attributes:
        asked: How many there were, each time that a graph was traced.
        priorities: What each transition was last given; -1 for nothing.
    """

    capacity_transitions = capacity_bytes = 0

    def __init__(self, number: int = 40 * SIZE):
        self.samples_drawn = tf.Variable(0, dtype=tf.int64)
        self.asked: list[int] = []
        self.priorities = tf.Variable(tf.fill([number], -1.0))
        self._transitions = random_transitions(0, number, largest_reward=7)
        self._given = tf.Variable(0)

    def add_batch(self, trajectory: Any) -> None: ...

    def sample(self, number: int) -> Transitions:
        self.asked.append(number)
        start = self._given.assign_add(number) - number
        return self._rows(start + tf.range(number))

    def update_priorities(self, keys: tf.Tensor, priorities: tf.Tensor) -> None:
        self.priorities.scatter_nd_update(keys[:, None], priorities)

    def batch(self, number: int) -> Transitions:
        return self._rows(tf.range(number * SIZE, (number + 1) * SIZE))

    def _rows(self, rows: tf.Tensor) -> Transitions:
        return tf.nest.map_structure(lambda values: tf.gather(values, rows), self._transitions)


def learner(agent: DeepQAgent, replay: Any = None, **changes: Any) -> Learner:
    fixed: Any = replay or FixedReplay()
    return Learner(agent, fixed, **{**COUNTS, **changes})


@pytest.mark.parametrize(
    ("double", "group", "targets_ahead"),
    [
        (False, 1, False),
        (False, 1, True),
        (False, 2, False),
        (False, 4, True),
        (True, 1, False),
        (True, 4, False),
        (True, 4, True),
    ],
)
def test_train_steps_in_groups_are_single_ones_on_fresh_batches(
    double: bool, group: int, targets_ahead: bool
) -> None:
    """Through copies to the target network; where targets need the trained network, as well.

    Action values are so near one another that each step makes another action the best, and the
    target network thinks very differently of them.
    """
    agent, oracle = (
        create_two_state_agent(
            [[1.0, 1.01, 1.0], [3.0, 3.01, 3.0]], double=double, target_update_period_train_steps=8
        )
        for _ in range(2)
    )
    for each in (agent, oracle):
        target(each).assign([[1, 20, -10], [30, -5, 4]])
    replay = FixedReplay()
    grouped = learner(agent, replay, train_steps_per_group=group, targets_ahead=targets_ahead)
    priorities: list[np.ndarray] = []
    for steps in (4, 8, 4):
        metrics = grouped.train(steps)
        infos = []
        for _ in range(steps):
            infos.append(train(oracle, replay.batch(len(priorities))))
            priorities.append(np.abs(infos[-1].extra.td_error))
        np.testing.assert_allclose(weights(agent), weights(oracle), rtol=1e-5)
        np.testing.assert_allclose(target(agent), target(oracle), rtol=1e-5)
        # What is told is the mean over the steps; the norm is that of each group's last one.
        seen = [{"loss": info.loss, **info.extra.metrics} for info in infos]
        expected = {name: np.mean([each[name] for each in seen]) for name in agent.metric_names}
        of_groups = seen[group - 1 :: group]
        expected["gradient_norm"] = np.mean([each["gradient_norm"] for each in of_groups])
        means = {name: float(value) for name, value in metrics.items()}
        assert means == pytest.approx(expected, rel=1e-5)
    assert int(agent.train_step_counter) == len(priorities) == 16
    assert set(replay.asked) == {group * SIZE}
    told = replay.priorities.numpy()
    np.testing.assert_allclose(told[: 16 * SIZE], np.concatenate(priorities), rtol=1e-4, atol=1e-5)
    assert set(told[16 * SIZE :]) == {-1}


def create_picture_agent(recording: Recording) -> DeepQAgent:
    """An agent with a convolution, for `recording`'s frames."""
    layers = {"conv_layers": ((4, 2, 1),), "dense_units": (8,)}
    changes = {
        "q_network": lambda *arguments: create_q_network(*arguments, **layers),
        "target_update_period_train_steps": 4,
    }
    spec = recording.data_spec
    return DeepQAgent(
        ts.time_step_spec(spec.observation),
        spec.action,
        Clock.at_rest(),
        7,
        **{**ARGUMENTS, **changes},
    )


def test_a_group_on_the_replay_buffer_is_its_batches_one_after_another() -> None:
    """One drawn sample: as a group, and as four slices, through a copy to the target network."""
    recording = Recording([random_scripts(place, 60, longest=14) for place in range(3)])
    buffer = recording.buffer(max_length=200)
    recording.play(150, buffer)
    group, size = 4, 8
    grouped, single = (create_picture_agent(recording) for _ in range(2))
    initial = single.q_network.variables[0].numpy()
    changes = {"batch_size": size, "train_steps_per_group": group, "targets_ahead": True}
    trained = Learner(grouped, buffer, **{**COUNTS, **changes})
    for number in range(2):
        metrics = trained.train(group)
        buffer.samples_drawn.assign(number)
        sampled = buffer.sample(group * size)
        losses = []
        for place in range(group):
            rows = slice(place * size, (place + 1) * size)
            batch = Transitions(*(values[rows] for values in sampled))
            losses.append(float(train(single, batch).loss))
        assert len(set(losses)) == group
        assert float(metrics["loss"]) == pytest.approx(np.mean(losses), rel=1e-4)
        for name, variable in single.network_variables().items():
            found = grouped.network_variables()[name]
            np.testing.assert_allclose(found, variable, rtol=1e-4, atol=1e-6)
    assert np.abs(single.q_network.variables[0].numpy() - initial).max() > 0.03


@pytest.mark.parametrize(
    ("env_steps_since_fill", "taken", "ratio", "group", "due"),
    [
        (0, 0, 4, 1, 0),
        (4, 0, 4, 1, 1),
        (64, 10, 4, 1, 6),
        (67, 16, 4, 1, 0),
        (68, 16, 4, 1, 1),
        (15, 0, 4, 4, 0),
        (16, 0, 4, 4, 4),
        (63, 0, 4, 4, 12),
        (10, 0, 1, 4, 8),
        (100, 0, 250, 1, 0),
        (100, 50, 4, 1, 0),
    ],
)
def test_train_steps_due(
    env_steps_since_fill: int, taken: int, ratio: int, group: int, due: int
) -> None:
    agent = create_two_state_agent(target_update_period_train_steps=4)
    agent.train_step_counter.assign(taken)
    counts: dict[str, Any] = {"env_steps_per_train_step": ratio, "train_steps_per_group": group}
    assert learner(agent, **counts).train_steps_due(env_steps_since_fill, 0) == due


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch_size": 2.5}, r"create_learner\.batch_size must be a whole number of 1 or more, b"),
        (
            {"batch_size": 65_537},
            r"create_learner\.batch_size times train_steps_per_group is over ",
        ),
        (
            {"train_steps_per_group": 4},
            r"create_learner\.train_steps_per_group is 4, which does not divide "
            r"create_agent\.target_update_period_train_steps \(6\); choose one that does\.",
        ),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    agent = create_two_state_agent(target_update_period_train_steps=6)
    learner(agent, train_steps_per_group=3)
    with pytest.raises(UserError, match=said):
        learner(agent, **changes)
