"""The epsilon schedule by hand, and policies whose random numbers are counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.networks import sequential
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step as ts

from dqn_breakout.agents.exploration import (
    CountedPolicy,
    EpsilonGreedyPolicy,
    RandomPolicy,
    linear_epsilon,
)

ACTIONS = 4
SPECS = (
    ts.time_step_spec(tf.TensorSpec((ACTIONS,), tf.float32)),
    tensor_spec.BoundedTensorSpec((), tf.int32, 0, ACTIONS - 1),
)


@pytest.mark.parametrize(
    ("env_steps", "line", "epsilon"),
    [
        (0, (1.0, 0.01, 250_000), 1.0),
        (1, (1.0, 0.01, 250_000), 1 - 0.99 / 250_000),
        (62_500, (1.0, 0.01, 250_000), 0.7525),
        (249_999, (1.0, 0.01, 250_000), 0.01 + 0.99 / 250_000),
        (250_000, (1.0, 0.01, 250_000), 0.01),
        (10_000_000, (1.0, 0.01, 250_000), 0.01),
        (-20_000, (1.0, 0.01, 250_000), 1.0),  # In the random fill.
        (5, (0.0, 1.0, 10), 0.5),
        (5, (0.3, 0.3, 10), 0.3),
        # Neighbouring steps late in a long line.
        (19_999_997, (1.0, 0.0, 20_000_000), 3 / 20e6),
        (19_999_998, (1.0, 0.0, 20_000_000), 2 / 20e6),
        (20_000_000, (1.0, 0.0, 20_000_000), 0.0),
    ],
)
def test_epsilon_follows_a_straight_line(env_steps: int, line: Any, epsilon: float) -> None:
    result = linear_epsilon(tf.constant(env_steps, tf.int64), *line)
    assert (result.dtype, result.shape) == (tf.float32, ())
    assert float(result) == pytest.approx(epsilon, rel=1e-6)


# --- Policies -------------------------------------------------------------------------------------


def greedy(epsilon: float, seed: int = 3, stream: str = "exploration") -> EpsilonGreedyPolicy:
    """The network's outputs are its observation; action values are their opposites."""
    network = sequential.Sequential(
        [tf.keras.layers.Lambda(lambda observation: observation)], input_spec=SPECS[0].observation
    )
    return EpsilonGreedyPolicy(
        *SPECS, network, tf.negative, lambda: tf.constant(epsilon, tf.float32), seed, stream
    )


def half_greedy(*stream: Any) -> EpsilonGreedyPolicy:
    return greedy(0.5, *stream)


def uniform(seed: int = 3, stream: str = "exploration") -> RandomPolicy:
    return RandomPolicy(*SPECS, seed, stream)


both = pytest.mark.parametrize("make", [uniform, half_greedy])


def time_steps(number: int) -> ts.TimeStep:
    """Action 2 is the best."""
    outputs = np.zeros((number, ACTIONS), np.float32)
    outputs[:, 2] = -1
    return ts.restart(tf.constant(outputs), batch_size=number)


def act(policy: CountedPolicy, number: int = 20) -> list[int]:
    actions = policy.action(time_steps(number)).action
    assert actions.dtype == tf.int32
    return actions.numpy().tolist()


def test_without_epsilon_the_best_action_is_taken() -> None:
    outputs = tf.random.stateless_normal([500, ACTIONS], [1, 2])
    actions = greedy(0.0).action(ts.restart(outputs, batch_size=500)).action
    np.testing.assert_array_equal(actions, np.argmin(outputs, axis=1))


@pytest.mark.parametrize("make", [uniform, lambda: greedy(1.0)])
def test_random_actions_are_uniform(make: Any) -> None:
    policy = make()
    counts = np.bincount(np.concatenate([act(policy, 2_000) for _ in range(5)]))
    assert counts.shape == (ACTIONS,)
    expected = 10_000 / ACTIONS
    assert ((counts - expected) ** 2 / expected).sum() < 20  # Chi square, 3 degrees of freedom.


def test_epsilon_is_the_share_of_random_actions() -> None:
    policy = greedy(0.2)
    taken = np.concatenate([act(policy, 2_000) for _ in range(5)])
    assert np.mean(taken != 2) == pytest.approx(0.2 * 3 / 4, abs=0.015)


def test_each_environment_of_a_batch_explores_for_itself() -> None:
    policy = half_greedy()
    explored = np.array([act(policy, 16) for _ in range(200)]) != 2
    assert explored.any(axis=1).mean() > 0.99
    assert explored.all(axis=1).mean() < 0.01
    between = np.corrcoef(explored.T)
    assert np.abs(between[~np.eye(16, dtype=bool)]).max() < 0.35


def test_epsilon_is_asked_for_at_every_step() -> None:
    policy, epsilon = greedy(0.0), tf.Variable(0.0)
    policy.epsilon = lambda: epsilon
    action = tf.function(policy.action, autograph=False)
    assert set(action(time_steps(500)).action.numpy()) == {2}
    epsilon.assign(1.0)
    assert set(action(time_steps(500)).action.numpy()) == {0, 1, 2, 3}


@both
def test_the_position_in_a_stream_decides_what_is_drawn(make: Any) -> None:
    """In a graph as eagerly, whatever TensorFlow's own seed is."""
    policy, compiled, restored = (make() for _ in range(3))
    tf.random.set_seed(1)
    actions = [act(policy) for _ in range(6)]
    assert len({tuple(each) for each in actions}) == 6
    assert int(policy.calls) == 6
    tf.random.set_seed(2)
    action = tf.function(compiled.action, autograph=False)
    assert [action(time_steps(20)).action.numpy().tolist() for _ in range(6)] == actions
    restored.calls.assign(3)
    assert [act(restored) for _ in range(3)] == actions[3:]
    policy.calls.assign(1)
    assert act(policy) == actions[1]


@both
def test_seeds_and_streams_do_not_share_actions(make: Any) -> None:
    policies = [make(), make(4), make(3, "another stream")]
    assert len({tuple(act(policy, 40)) for policy in policies}) == 3


def test_a_detached_policy_acts_with_the_network_as_it_was() -> None:
    layer = tf.keras.layers.Dense(ACTIONS, kernel_initializer="identity")
    network = sequential.Sequential([layer], input_spec=SPECS[0].observation)
    network.create_variables()
    policy = EpsilonGreedyPolicy(
        *SPECS, network, tf.negative, lambda: tf.constant(0.0), 1, "exploration"
    )
    found = {id(variable) for variable in policy.variables()}
    assert found == {id(variable) for variable in (*network.variables, policy.calls)}
    detached = policy.detached()
    detached.synchronise()
    assert set(act(detached)) == {2}
    network.variables[0].assign(-tf.eye(ACTIONS))
    assert 2 not in act(policy)
    assert set(act(detached)) == {2}
    detached.synchronise()
    assert act(detached) == act(policy)
