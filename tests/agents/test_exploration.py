"""The epsilon schedule by hand, and policies whose random numbers are counted."""

from __future__ import annotations

from collections.abc import Callable
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
ACTION_SPEC = tensor_spec.BoundedTensorSpec((), tf.int32, 0, ACTIONS - 1)
TIME_STEP_SPEC = ts.time_step_spec(tf.TensorSpec((ACTIONS,), tf.float32))


@pytest.mark.parametrize(
    ("env_steps", "epsilon"),
    [
        (0, 1.0),
        (1, 1 - 0.99 / 250_000),
        (62_500, 0.7525),
        (125_000, 0.505),
        (187_500, 0.2575),
        (249_999, 0.01 + 0.99 / 250_000),
        (250_000, 0.01),
        (250_001, 0.01),
        (10_000_000, 0.01),
        (-20_000, 1.0),  # In the random fill.
    ],
)
def test_epsilon_falls_in_a_straight_line(env_steps: int, epsilon: float) -> None:
    result = linear_epsilon(tf.constant(env_steps, tf.int64), 1.0, 0.01, 250_000)
    assert result.dtype == tf.float32
    assert result.shape == ()
    assert float(result) == pytest.approx(epsilon, rel=1e-6)


def test_epsilon_can_rise_or_stay() -> None:
    assert float(linear_epsilon(tf.constant(5), 0.0, 1.0, 10)) == 0.5
    assert float(linear_epsilon(tf.constant(5), 0.3, 0.3, 10)) == pytest.approx(0.3)


def test_epsilon_tells_neighbouring_steps_apart_late_in_a_long_line() -> None:
    line = [
        float(linear_epsilon(tf.constant(step, tf.int64), 1.0, 0.0, 20_000_000))
        for step in (19_999_997, 19_999_998, 19_999_999, 20_000_000)
    ]
    assert line == pytest.approx([3 / 20e6, 2 / 20e6, 1 / 20e6, 0.0], rel=1e-6)


# --- Policies -------------------------------------------------------------------------------------


def q_is_the_observation() -> sequential.Sequential:
    """A Q-network whose action values are its observation."""
    return sequential.Sequential(
        [tf.keras.layers.Lambda(lambda observation: observation)], input_spec=TIME_STEP_SPEC[-1]
    )


def time_steps(number: int, best: int = 2) -> ts.TimeStep:
    values = np.zeros((number, ACTIONS), np.float32)
    values[:, best] = 1
    return ts.restart(tf.constant(values), batch_size=number)


def greedy(epsilon: float = 0.0, seed: int = 3, stream: str = "exploration") -> EpsilonGreedyPolicy:
    return EpsilonGreedyPolicy(
        TIME_STEP_SPEC,
        ACTION_SPEC,
        q_is_the_observation(),
        lambda: tf.constant(epsilon, tf.float32),
        seed,
        stream,
    )


def half_greedy(seed: int = 3, stream: str = "exploration") -> EpsilonGreedyPolicy:
    return greedy(0.5, seed, stream)


def uniform(seed: int = 3, stream: str = "exploration") -> RandomPolicy:
    return RandomPolicy(TIME_STEP_SPEC, ACTION_SPEC, seed, stream)


def act(policy: CountedPolicy, number: int = 20) -> list[int]:
    actions = policy.action(time_steps(number)).action
    assert actions.dtype == tf.int32
    return actions.numpy().tolist()


def test_without_epsilon_the_best_action_is_taken() -> None:
    policy = greedy(0.0)
    values = tf.random.stateless_normal([500, ACTIONS], [1, 2])
    for _ in range(5):
        actions = policy.action(ts.restart(values, batch_size=500)).action
        np.testing.assert_array_equal(actions, np.argmax(values, axis=1))


@pytest.mark.parametrize("make", [uniform, lambda: greedy(1.0)])
def test_random_actions_are_uniform(make: Callable[[], CountedPolicy]) -> None:
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
    epsilon = tf.Variable(0.0)
    policy = EpsilonGreedyPolicy(
        TIME_STEP_SPEC, ACTION_SPEC, q_is_the_observation(), lambda: epsilon, 3, "exploration"
    )
    action = tf.function(policy.action, autograph=False)
    assert set(action(time_steps(500)).action.numpy()) == {2}
    epsilon.assign(1.0)
    assert set(action(time_steps(500)).action.numpy()) == {0, 1, 2, 3}


@pytest.mark.parametrize("make", [uniform, half_greedy])
def test_the_same_position_of_a_stream_gives_the_same_actions(make: Any) -> None:
    one, other = make(), make()
    tf.random.set_seed(1)
    first = [act(one) for _ in range(4)]
    tf.random.set_seed(2)
    assert [act(other) for _ in range(4)] == first
    assert len({tuple(actions) for actions in first}) == 4
    assert int(one.calls) == 4


@pytest.mark.parametrize("make", [uniform, half_greedy])
def test_a_restored_position_goes_on_where_it_was(make: Any) -> None:
    policy = make()
    actions = [act(policy) for _ in range(6)]
    restored = make()
    restored.calls.assign(3)
    assert [act(restored) for _ in range(3)] == actions[3:]
    policy.calls.assign(1)
    assert act(policy) == actions[1]


@pytest.mark.parametrize("make", [uniform, half_greedy])
def test_seeds_and_streams_do_not_share_actions(make: Any) -> None:
    policies = [make(3), make(4), make(3, "another stream")]
    assert len({tuple(act(policy, 40)) for policy in policies}) == 3


@pytest.mark.parametrize("make", [uniform, half_greedy])
def test_a_graph_gives_the_actions_that_eager_calls_give(make: Any) -> None:
    eager, compiled = make(), make()
    action = tf.function(compiled.action, autograph=False)
    for _ in range(3):
        assert action(time_steps(20)).action.numpy().tolist() == act(eager)


def test_the_variables_of_a_policy_are_its_network_and_its_position() -> None:
    assert [variable.name for variable in uniform().variables()] == ["calls:0"]
    layer = tf.keras.layers.Dense(ACTIONS)
    network = sequential.Sequential([layer], input_spec=TIME_STEP_SPEC.observation)
    network.create_variables()
    policy = EpsilonGreedyPolicy(
        TIME_STEP_SPEC, ACTION_SPEC, network, lambda: tf.constant(0.0), 1, "exploration"
    )
    found = {id(variable) for variable in policy.variables()}
    assert found == {id(variable) for variable in (*network.variables, policy.calls)}
