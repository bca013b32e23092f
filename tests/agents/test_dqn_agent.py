"""The agent on a two-state world by hand, and against TF-Agents' own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.agents.dqn import dqn_agent
from tf_agents.trajectories import time_step as ts
from tf_agents.utils import common

from dqn_breakout.agents.dqn_agent import ClippedDqnAgent
from dqn_breakout.agents.rmsprop import create_optimizer
from dqn_breakout.errors import UserError
from tests.two_states import (
    ACTION_SPEC,
    GAMMA,
    OPTIMIZER,
    STATE,
    TIME_STEP_SPEC,
    Q,
    create_two_state_agent,
    experience,
    random_experience,
    table_network,
)

FIRST, MID, LAST = (int(ts.StepType.FIRST), int(ts.StepType.MID), int(ts.StepType.LAST))

TRANSITIONS = [
    (0, 0, 7.0, 1.0, 1),  # A reward that is clipped.
    (0, 1, -3.0, 0.0, 1),  # The end of a game, or of a life.
    (1, 0, 0.5, 1.0, 0),  # Cut off at 27,000 steps looks the same: the discount is 1.
    (1, 2, 0.0, 1.0, 1),
]
# Clipped reward + 0.9 * discount * best value of the next state.
TARGETS = [1 + 0.9 * 5, -1 + 0.0, 0.5 + 0.9 * 2, 0.9 * 5]
TARGETS_UNCLIPPED = [7 + 0.9 * 5, -3 + 0.0, 0.5 + 0.9 * 2, 0.9 * 5]


@pytest.mark.parametrize(
    ("reward_clip", "targets"),
    [
        (1.0, TARGETS),
        (None, TARGETS_UNCLIPPED),
        (5.0, [5 + 0.9 * 5, *TARGETS_UNCLIPPED[1:]]),
    ],
)
def test_td_targets_by_hand(reward_clip: float | None, targets: list[float]) -> None:
    agent = create_two_state_agent(reward_clip=reward_clip)
    _, actions, next_time_steps = agent.transition(experience(*TRANSITIONS))
    assert actions.numpy().tolist() == [0, 1, 0, 2]
    result = agent.td_targets(next_time_steps)
    assert result.dtype == tf.float32
    np.testing.assert_allclose(result, targets, rtol=1e-6)


def test_the_transition_at_a_truncation_is_bootstrapped() -> None:
    """Its second step is LAST, its discount 1."""
    cut_off = experience((0, 0, 1.0, 1.0, 1))
    cut_off = cut_off._replace(
        next_step_type=tf.constant([[LAST, FIRST]]), step_type=tf.constant([[MID, LAST]])
    )
    agent = create_two_state_agent()
    time_steps, _, next_time_steps = agent.transition(cut_off)
    assert (int(time_steps.step_type[0]), int(next_time_steps.step_type[0])) == (MID, LAST)
    np.testing.assert_allclose(agent.td_targets(next_time_steps), [1 + 0.9 * 5])
    assert float(agent.train(cut_off).loss) > 0


def test_targets_come_from_the_target_network() -> None:
    agent = create_two_state_agent()
    agent.q_network.variables[0].assign(np.full((2, 3), 100.0))
    _, _, next_time_steps = agent.transition(experience(*TRANSITIONS))
    np.testing.assert_allclose(agent.td_targets(next_time_steps), TARGETS, rtol=1e-6)


def test_a_train_step_by_hand() -> None:
    agent = create_two_state_agent()
    loss_info = agent.train(experience(*TRANSITIONS))
    # Targets minus the values of the actions taken: 1, 2, 3 and 4.
    errors = np.array(TARGETS) - [1, 2, 3, 4]
    np.testing.assert_allclose(errors, [4.5, -3.0, -0.7, 0.5], rtol=1e-6)
    losses = [4.5 - 0.5, 3.0 - 0.5, 0.7**2 / 2, 0.5**2 / 2]  # Huber's, threshold 1.
    np.testing.assert_allclose(loss_info.extra.td_error, errors, rtol=1e-5)
    np.testing.assert_allclose(loss_info.extra.td_loss, losses, rtol=1e-5)
    assert float(loss_info.loss) == pytest.approx(np.mean(losses), rel=1e-6)
    assert float(loss_info.extra.mean_q) == pytest.approx(2.5)
    # Huber's derivative is the error clipped to [-1, 1]; each sample weighs a quarter.
    gradient = np.zeros((2, 3))
    gradient[0, 0], gradient[0, 1], gradient[1, 0], gradient[1, 2] = -1, 1, 0.7, -0.5
    gradient /= 4
    norm = float(loss_info.extra.gradient_norm)
    assert norm == pytest.approx(np.linalg.norm(gradient), rel=1e-5)
    expected = tf.Variable(Q)
    create_optimizer(**OPTIMIZER).apply_gradients([(tf.constant(gradient, tf.float32), expected)])
    np.testing.assert_allclose(agent.q_network.variables[0], expected, rtol=1e-5)
    assert int(agent.train_step_counter) == 1


def test_steps_at_the_end_of_a_game_are_left_out() -> None:
    """The step after LAST starts another game: what lies between is no transition."""
    agent, other = create_two_state_agent(), create_two_state_agent()
    kept = experience(*TRANSITIONS[:2])
    at_last = experience((1, 1, 1.0, 1.0, 0), (0, 2, 1.0, 0.0, 0), kind=LAST)
    nonsense = experience((0, 0, -1.0, 1.0, 1), (1, 2, 0.0, 1.0, 1), kind=LAST)

    def joined(tail: Any) -> Any:
        return tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), kept, tail)

    loss_info = agent.train(joined(at_last))
    assert loss_info.extra.td_loss.numpy().tolist() == pytest.approx([4.0, 2.5, 0.0, 0.0])
    assert loss_info.extra.td_error.numpy()[2:].tolist() == [0.0, 0.0]
    assert float(loss_info.loss) == pytest.approx(6.5 / 4)
    other.train(joined(nonsense))
    np.testing.assert_array_equal(agent.q_network.variables[0], other.q_network.variables[0])


# --- Against TF-Agents ----------------------------------------------------------------------------


def tf_agents_dqn(**changes: Any) -> dqn_agent.DqnAgent:
    agent = dqn_agent.DqnAgent(
        TIME_STEP_SPEC,
        ACTION_SPEC,
        q_network=table_network(),
        optimizer=create_optimizer(**OPTIMIZER),
        target_update_period=3,
        td_errors_loss_fn=common.element_wise_huber_loss,
        gamma=GAMMA,
        train_step_counter=tf.Variable(0, dtype=tf.int64),
        **changes,
    )
    agent.initialize()
    return agent


@pytest.mark.parametrize("reward_clip", [None, 1.0])
def test_training_is_that_of_tf_agents(reward_clip: float | None) -> None:
    """Where clipping changes nothing: off, or rewards within bounds. Target updates included."""
    ours, theirs = create_two_state_agent(reward_clip=reward_clip), tf_agents_dqn()
    largest_reward = 7 if reward_clip is None else 1
    for seed in range(10):
        batch = random_experience(seed, largest_reward=largest_reward)
        kinds = np.random.default_rng(seed).choice([FIRST, MID, MID, LAST], (32, 2))
        batch = batch._replace(step_type=tf.constant(kinds, tf.int32))
        one, other = ours.train(batch), theirs.train(batch)
        assert float(one.loss) == pytest.approx(float(other.loss), rel=1e-5)
        np.testing.assert_allclose(one.extra.td_loss, other.extra.td_loss, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(one.extra.td_error, other.extra.td_error, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(
            ours.q_network.variables[0], theirs._q_network.variables[0], rtol=1e-5
        )
    assert not np.allclose(ours.q_network.variables[0], Q)


def test_weights_are_those_of_tf_agents() -> None:
    ours, theirs = create_two_state_agent(reward_clip=None), tf_agents_dqn()
    batch, weights = random_experience(1), tf.constant(np.linspace(0, 2, 32), tf.float32)
    one, other = ours.train(batch, weights=weights), theirs.train(batch, weights=weights)
    assert float(one.loss) == pytest.approx(float(other.loss), rel=1e-5)
    np.testing.assert_allclose(ours.q_network.variables[0], theirs._q_network.variables[0])


def test_clipping_here_is_what_clipped_rewards_would_do_there() -> None:
    ours, theirs = create_two_state_agent(reward_clip=1.0), tf_agents_dqn()
    for seed in range(4):
        batch = random_experience(seed, largest_reward=7)
        clipped = batch._replace(reward=tf.clip_by_value(batch.reward, -1.0, 1.0))
        one, other = ours.train(batch), theirs.train(clipped)
        assert float(one.loss) == pytest.approx(float(other.loss), rel=1e-5)


# --- Target network -------------------------------------------------------------------------------


def target(agent: ClippedDqnAgent) -> np.ndarray:
    return agent.state_variables()["target/000"].numpy()


def test_the_target_is_copied_at_every_period_and_at_no_other_time() -> None:
    agent = create_two_state_agent(target_update_period_train_steps=4)
    assert agent.target_update_period_train_steps == 4
    held = np.array(Q, np.float32)
    np.testing.assert_array_equal(target(agent), held)
    for train_step in range(1, 14):
        agent.train(random_experience(train_step))
        if train_step % 4 == 0:
            held = agent.q_network.variables[0].numpy()
        np.testing.assert_array_equal(target(agent), held)
        # They are two networks.
        assert (train_step % 4 == 0) == np.array_equal(agent.q_network.variables[0], held)


def test_the_rhythm_of_copies_follows_the_restored_counter() -> None:
    agent = create_two_state_agent(target_update_period_train_steps=4)
    agent.state_variables()["train_step"].assign(7)
    agent.train(random_experience(0))
    np.testing.assert_array_equal(target(agent), agent.q_network.variables[0])


def test_state_variables_and_the_network_are_all_that_training_depends_on() -> None:
    agent, restored = (
        create_two_state_agent(),
        create_two_state_agent(table_network(np.zeros((2, 3)))),
    )
    for seed in range(5):
        agent.train(random_experience(seed))
    saved = agent.state_variables()
    assert {"train_step", "target/000", "optimizer/000"} <= set(saved)
    for name, variable in restored.state_variables().items():
        variable.assign(saved[name])
    restored.q_network.variables[0].assign(agent.q_network.variables[0])
    for seed in range(5, 10):
        one, other = agent.train(random_experience(seed)), restored.train(random_experience(seed))
        assert float(one.loss) == float(other.loss)
        np.testing.assert_array_equal(agent.q_network.variables[0], restored.q_network.variables[0])
        np.testing.assert_array_equal(target(agent), target(restored))


# --- Groups ---------------------------------------------------------------------------------------


def test_targets_of_several_batches_at_once_are_those_of_each() -> None:
    agent = create_two_state_agent()
    batches = [random_experience(seed) for seed in range(4)]
    joined = tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *batches)
    each = [agent.td_targets(agent.transition(batch)[2]) for batch in batches]
    together = agent.td_targets(agent.transition(joined)[2])
    np.testing.assert_allclose(together, np.concatenate(each), rtol=1e-6)


# --- Policies and epsilon -------------------------------------------------------------------------


def test_epsilon_follows_the_environment_steps_explored() -> None:
    env_steps = tf.Variable(-50, dtype=tf.int64)
    agent = create_two_state_agent(env_steps=lambda: env_steps)
    seen = []
    for steps in (-50, 0, 50, 100, 1_000):
        env_steps.assign(steps)
        seen.append(agent.epsilon)
        assert float(agent.collect_policy.epsilon()) == pytest.approx(agent.epsilon)
    assert seen == pytest.approx([1.0, 1.0, 0.55, 0.1, 0.1])


def test_the_agents_policy_is_greedy_and_its_collect_policy_explores() -> None:
    agent = create_two_state_agent(epsilon_initial=1.0)
    time_steps = ts.restart(tf.constant(np.repeat(STATE, 50, axis=0)), batch_size=100)
    greedy = agent.policy.action(time_steps).action.numpy()
    assert greedy.tolist() == [1] * 100
    assert set(agent.collect_policy.action(time_steps).action.numpy()) == {0, 1, 2}


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("gamma", 1.1),
        ("gamma", -0.1),
        ("target_update_period_train_steps", 0),
        ("target_update_period_train_steps", 2.5),
        ("reward_clip", 0),
        ("reward_clip", -1.0),
        ("reward_clip", True),
        ("epsilon_initial", 1.5),
        ("epsilon_initial", None),
        ("epsilon_final", -0.01),
        ("epsilon_decay_env_steps", 0),
        ("epsilon_decay_env_steps", -5),
    ],
)
def test_values_out_of_range_are_refused_by_name(parameter: str, value: object) -> None:
    with pytest.raises(UserError) as caught:
        create_two_state_agent(**{parameter: value})
    assert caught.value.message.startswith(f"create_agent.{parameter} must be ")
