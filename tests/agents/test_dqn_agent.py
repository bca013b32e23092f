"""The agent on a two-state world by hand, and against TF-Agents' own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.agents.dqn import dqn_agent
from tf_agents.trajectories import time_step as ts
from tf_agents.utils import common

from dqn_breakout.agents.dqn_agent import DIVERGED
from dqn_breakout.agents.exploration import Clock
from dqn_breakout.agents.optimizers import RMSprop
from dqn_breakout.errors import UserError
from tests.two_states import (
    ACTION_SPEC,
    GAMMA,
    OPTIMIZER,
    STATE,
    TIME_STEP_SPEC,
    Q,
    as_trajectory,
    create_two_state_agent,
    random_transitions,
    table_network,
    target,
    train,
    transitions,
    weights,
)

BATCH = transitions(
    (0, 0, 7.0, 1.0, 1),  # A reward that is clipped.
    (0, 1, -3.0, 0.0, 1),  # The end of a game, or of a life.
    (1, 0, 0.5, 1.0, 0),  # Cut off at 27,000 steps looks the same: the discount is 1.
    (1, 2, 0.0, 1.0, 1),
)
# Clipped reward + 0.9 * discount * best value of the next state.
TARGETS = [1 + 0.9 * 5, -1 + 0.0, 0.5 + 0.9 * 2, 0.9 * 5]
UNCLIPPED = [7 + 0.9 * 5, -3 + 0.0, *TARGETS[2:]]
# Where the target network says [[10, 0, 30], [40, 20, 60]], the trained one chooses 20 and 0.
TARGETS_DOUBLE = [1 + 0.9 * 20, -1, 0.5 + 0.9 * 0, 0.9 * 20]
TARGETS_OF_OTHERS = [1 + 0.9 * 60, -1, 0.5 + 0.9 * 30, 0.9 * 60]


@pytest.mark.parametrize(
    ("changes", "target_values", "targets"),
    [
        ({}, Q, TARGETS),
        ({"reward_clip": None}, Q, UNCLIPPED),
        ({"reward_clip": 5.0}, Q, [5 + 0.9 * 5, *UNCLIPPED[1:]]),
        ({}, [[10, 0, 30], [40, 20, 60]], TARGETS_OF_OTHERS),
        ({"double": True}, [[10, 0, 30], [40, 20, 60]], TARGETS_DOUBLE),
        ({"double": True}, Q, TARGETS),
    ],
)
def test_targets_by_hand(changes: dict[str, Any], target_values: Any, targets: Any) -> None:
    agent = create_two_state_agent(**changes)
    assert agent.objective.needs_online == changes.get("double", False)
    target(agent).assign(target_values)
    result = agent.targets(BATCH)
    assert result.dtype == tf.float32
    np.testing.assert_allclose(result, targets, rtol=1e-6)


# Targets minus the values of the actions taken, which are 1, 2, 3 and 4; and Huber's loss of them.
ERRORS = np.array(TARGETS) - [1, 2, 3, 4]
LOSSES = np.array([4.5 - 0.5, 3.0 - 0.5, 0.7**2 / 2, 0.5**2 / 2])


@pytest.mark.parametrize("weight", [(1, 1, 1, 1), (2, 0.5, 0, 1)])
def test_a_train_step_by_hand(weight: tuple[float, ...]) -> None:
    """The weight multiplies the loss; the error is as large as it is, but 0 without a weight."""
    agent = create_two_state_agent()
    info = train(agent, BATCH._replace(weight=tf.constant(weight, tf.float32)))
    np.testing.assert_allclose(ERRORS, [4.5, -3.0, -0.7, 0.5], rtol=1e-6)
    np.testing.assert_allclose(info.extra.td_error, ERRORS * (np.array(weight) > 0), rtol=1e-5)
    np.testing.assert_allclose(info.extra.td_loss, LOSSES * weight, rtol=1e-5)
    assert float(info.loss) == pytest.approx(np.mean(LOSSES * weight), rel=1e-6)
    assert float(info.extra.metrics["mean_q"]) == pytest.approx(2.5)
    # Huber's derivative is the error clipped to [-1, 1]; each sample is a quarter of the mean.
    gradient = np.zeros((2, 3))
    gradient[[0, 0, 1, 1], [0, 1, 0, 2]] = np.array([-1, 1, 0.7, -0.5]) * weight / 4
    norm = float(info.extra.metrics["gradient_norm"])
    assert norm == pytest.approx(np.linalg.norm(gradient), rel=1e-5)
    expected = tf.Variable(Q)
    RMSprop(**OPTIMIZER).apply_gradients([(tf.constant(gradient, tf.float32), expected)])
    np.testing.assert_allclose(weights(agent), expected, rtol=1e-5)
    assert int(agent.train_step_counter) == 1


@pytest.mark.parametrize("beyond", [20.5, -20.5])
def test_one_action_value_out_of_bounds_either_way_stops_before_the_step(beyond: float) -> None:
    values = [[1.0, 2.0, -1.0], [3.0, 5.0, beyond]]
    agent = create_two_state_agent(values, q_value_limit=20.0)
    with pytest.raises(tf.errors.InvalidArgumentError, match=DIVERGED):
        train(agent, BATCH)
    np.testing.assert_array_equal(weights(agent), np.array(values, np.float32))
    assert int(agent.train_step_counter) == 0


# --- Against TF-Agents ----------------------------------------------------------------------------


def tf_agents_dqn(double: bool = False) -> dqn_agent.DqnAgent:
    agent = (dqn_agent.DdqnAgent if double else dqn_agent.DqnAgent)(
        TIME_STEP_SPEC,
        ACTION_SPEC,
        q_network=table_network(),
        optimizer=RMSprop(**OPTIMIZER),
        target_update_period=3,
        td_errors_loss_fn=common.element_wise_huber_loss,
        gamma=GAMMA,
        train_step_counter=tf.Variable(0, dtype=tf.int64),
    )
    agent.initialize()
    return agent


@pytest.mark.parametrize(
    ("double", "reward_clip", "weigh"),
    [(False, None, False), (False, 1.0, False), (True, None, False), (False, None, True)],
)
def test_training_is_that_of_tf_agents(
    double: bool, reward_clip: float | None, weigh: bool
) -> None:
    """Target updates and ends of games included. Clipped rewards are clipped beforehand there."""
    theirs = tf_agents_dqn(double)
    ours = create_two_state_agent(double=double, reward_clip=reward_clip)
    by_train = create_two_state_agent(double=double, reward_clip=reward_clip)
    weight = tf.constant(np.linspace(0.1, 2, 32) if weigh else np.ones(32), tf.float32)
    for seed in range(8):
        batch = random_transitions(seed, largest_reward=7)
        clipped = batch
        if reward_clip:
            clipped = batch._replace(reward=tf.clip_by_value(batch.reward, -1.0, 1.0))
        other = theirs.train(as_trajectory(clipped), weights=weight)
        for one in (
            train(ours, batch._replace(weight=batch.weight * weight)),
            by_train.train(as_trajectory(batch), weights=weight),
        ):
            assert float(one.loss) == pytest.approx(float(other.loss), rel=1e-5)
            for name in ("td_loss", "td_error"):
                values, expected = getattr(one.extra, name), getattr(other.extra, name)
                if name == "td_error" or not weigh:  # There, a sample's loss is told unweighted.
                    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)
        for agent in (ours, by_train):
            np.testing.assert_allclose(weights(agent), theirs._q_network.variables[0], rtol=1e-5)
    assert not np.allclose(weights(ours), Q)


# --- Target network and state ---------------------------------------------------------------------


def test_the_target_is_copied_at_every_period_and_at_no_other_time() -> None:
    agent = create_two_state_agent(target_update_period_train_steps=4)
    assert agent.target_update_period_train_steps == 4
    held = np.array(Q, np.float32)
    for train_step in range(1, 14):
        train(agent, random_transitions(train_step))
        if train_step % 4 == 0:
            held = weights(agent)
        np.testing.assert_array_equal(target(agent), held)
        # They are two networks.
        assert (train_step % 4 == 0) == np.array_equal(weights(agent), held)


def test_state_variables_and_the_network_are_all_that_training_depends_on() -> None:
    """The rhythm of copies to the target network, too: the next comes in four train steps."""
    agent, restored = (
        create_two_state_agent(values, target_update_period_train_steps=8)
        for values in (Q, np.zeros((2, 3)))
    )
    for seed in range(4):
        train(agent, random_transitions(seed))
    for one, other in (
        (agent.state_variables(), restored.state_variables()),
        (agent.network_variables(), restored.network_variables()),
    ):
        assert one.keys() == other.keys()
        for name, variable in other.items():
            variable.assign(one[name])
    for seed in range(4, 10):
        losses = [float(train(each, random_transitions(seed)).loss) for each in (agent, restored)]
        assert losses[0] == losses[1]
        np.testing.assert_array_equal(weights(agent), weights(restored))
        np.testing.assert_array_equal(target(agent), target(restored))


# --- Policies and epsilon -------------------------------------------------------------------------


def test_epsilon_follows_the_environment_steps_explored() -> None:
    env_steps = tf.Variable(-50, dtype=tf.int64)
    agent = create_two_state_agent(clock=Clock(lambda: env_steps, lambda: env_steps))
    seen = []
    for steps in (-50, 0, 50, 100, 1_000):
        env_steps.assign(steps)
        seen.append(agent.epsilon)
        assert float(agent.collect_policy.epsilon()) == pytest.approx(agent.epsilon)
    assert seen == pytest.approx([1.0, 1.0, 0.55, 0.1, 0.1])
    assert agent.final_epsilon == 0.1


def test_who_is_greedy_and_who_explores() -> None:
    agent = create_two_state_agent(epsilon_initial=1.0)
    observations = tf.constant(np.repeat(STATE, 50, axis=0))
    time_steps = ts.restart(observations, batch_size=100)
    np.testing.assert_array_equal(agent.action_values(observations), np.repeat(Q, 50, axis=0))
    for policy, chosen in (
        (agent.policy, {1}),
        (agent.collect_policy, {0, 1, 2}),
        (agent.evaluation_policy(0.0, 1, "evaluation"), {1}),
        (agent.evaluation_policy(1.0, 1, "evaluation"), {0, 1, 2}),
    ):
        assert set(policy.action(time_steps).action.numpy()) == chosen


def test_a_value_out_of_range_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"^create_agent\.gamma must be a number from 0 to 1, but "):
        create_two_state_agent(gamma=1.1)
