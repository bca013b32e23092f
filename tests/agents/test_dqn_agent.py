"""The agent on a two-state world by hand, and against TF-Agents' own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tf_agents.agents.dqn import dqn_agent
from tf_agents.networks import sequential
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step as ts
from tf_agents.trajectories import trajectory
from tf_agents.utils import common

from dqn_breakout.agents import dqn_agent as agents
from dqn_breakout.agents.dqn_agent import ClippedDqnAgent, create_agent
from dqn_breakout.agents.rmsprop import create_optimizer
from dqn_breakout.errors import UserError

FIRST, MID, LAST = (int(ts.StepType.FIRST), int(ts.StepType.MID), int(ts.StepType.LAST))
# Action values of two states, three actions each.
Q = [[1.0, 2.0, -1.0], [3.0, 5.0, 4.0]]
STATE = np.eye(2, dtype=np.float32)
ACTION_SPEC = tensor_spec.BoundedTensorSpec((), tf.int32, 0, 2)
TIME_STEP_SPEC = ts.time_step_spec(tf.TensorSpec((2,), tf.float32, "observation"))
GAMMA = 0.9

ARGUMENTS: dict[str, Any] = {
    "gamma": GAMMA,
    "target_update_period_train_steps": 3,
    "reward_clip": 1.0,
    "epsilon_initial": 1.0,
    "epsilon_final": 0.1,
    "epsilon_decay_env_steps": 100,
}
OPTIMIZER: dict[str, Any] = {
    "learning_rate": 0.01,
    "rho": 0.95,
    "momentum": 0.0,
    "epsilon": 1e-4,
    "centered": True,
}


def table_network(values: Any = Q) -> sequential.Sequential:
    """A Q-network that looks its values up: one weight for each state and action."""
    layer = tf_keras.layers.Dense(
        3, use_bias=False, kernel_initializer=tf_keras.initializers.Constant(values)
    )
    return sequential.Sequential([layer], input_spec=TIME_STEP_SPEC.observation)


def create(q_network: Any = None, env_steps: Any = lambda: tf.constant(0), **changes: Any) -> Any:
    """`create_agent` with an optimizer that gin would have described."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agents, "create_optimizer", lambda: create_optimizer(**OPTIMIZER))
        return create_agent(
            TIME_STEP_SPEC,
            ACTION_SPEC,
            table_network() if q_network is None else q_network,
            env_steps,
            7,
            **{**ARGUMENTS, **changes},
        )


def experience(*transitions: tuple[int, int, float, float, int], kind: int = MID) -> Any:
    """Transitions `(state, action, reward, discount, next state)`, as the replay gives them."""
    states, actions, rewards, discounts, next_states = zip(*transitions, strict=True)
    count = len(transitions)

    def twice(values: Any, dtype: Any) -> tf.Tensor:
        # What the second step did is no part of the transition.
        return tf.stack([tf.constant(values, dtype), tf.zeros(count, dtype)], axis=1)

    return trajectory.Trajectory(
        step_type=twice([kind] * count, tf.int32),
        observation=tf.constant(np.stack([STATE[list(states)], STATE[list(next_states)]], axis=1)),
        action=twice(actions, tf.int32),
        policy_info=(),
        next_step_type=twice([MID] * count, tf.int32),
        reward=twice(rewards, tf.float32),
        discount=twice(discounts, tf.float32),
    )


def random_experience(seed: int, count: int = 32, largest_reward: int = 1) -> Any:
    rng = np.random.default_rng(seed)
    return experience(
        *(
            (
                int(rng.integers(2)),
                int(rng.integers(3)),
                float(rng.integers(-largest_reward, largest_reward + 1)),
                float(rng.random() < 0.8),
                int(rng.integers(2)),
            )
            for _ in range(count)
        )
    )


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
    agent = create(reward_clip=reward_clip)
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
    agent = create()
    time_steps, _, next_time_steps = agent.transition(cut_off)
    assert (int(time_steps.step_type[0]), int(next_time_steps.step_type[0])) == (MID, LAST)
    np.testing.assert_allclose(agent.td_targets(next_time_steps), [1 + 0.9 * 5])
    assert float(agent.train(cut_off).loss) > 0


def test_targets_come_from_the_target_network() -> None:
    agent = create()
    agent.q_network.variables[0].assign(np.full((2, 3), 100.0))
    _, _, next_time_steps = agent.transition(experience(*TRANSITIONS))
    np.testing.assert_allclose(agent.td_targets(next_time_steps), TARGETS, rtol=1e-6)


def test_a_train_step_by_hand() -> None:
    agent = create()
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
    agent, other = create(), create()
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
    ours, theirs = create(reward_clip=reward_clip), tf_agents_dqn()
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
    ours, theirs = create(reward_clip=None), tf_agents_dqn()
    batch, weights = random_experience(1), tf.constant(np.linspace(0, 2, 32), tf.float32)
    one, other = ours.train(batch, weights=weights), theirs.train(batch, weights=weights)
    assert float(one.loss) == pytest.approx(float(other.loss), rel=1e-5)
    np.testing.assert_allclose(ours.q_network.variables[0], theirs._q_network.variables[0])


def test_clipping_here_is_what_clipped_rewards_would_do_there() -> None:
    ours, theirs = create(reward_clip=1.0), tf_agents_dqn()
    for seed in range(4):
        batch = random_experience(seed, largest_reward=7)
        clipped = batch._replace(reward=tf.clip_by_value(batch.reward, -1.0, 1.0))
        one, other = ours.train(batch), theirs.train(clipped)
        assert float(one.loss) == pytest.approx(float(other.loss), rel=1e-5)


# --- Target network -------------------------------------------------------------------------------


def target(agent: ClippedDqnAgent) -> np.ndarray:
    return agent.state_variables()["target/000"].numpy()


def test_the_target_is_copied_at_every_period_and_at_no_other_time() -> None:
    agent = create(target_update_period_train_steps=4)
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
    agent = create(target_update_period_train_steps=4)
    agent.state_variables()["train_step"].assign(7)
    agent.train(random_experience(0))
    np.testing.assert_array_equal(target(agent), agent.q_network.variables[0])


def test_state_variables_and_the_network_are_all_that_training_depends_on() -> None:
    agent, restored = create(), create(table_network(np.zeros((2, 3))))
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
    agent = create()
    batches = [random_experience(seed) for seed in range(4)]
    joined = tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *batches)
    each = [agent.td_targets(agent.transition(batch)[2]) for batch in batches]
    together = agent.td_targets(agent.transition(joined)[2])
    np.testing.assert_allclose(together, np.concatenate(each), rtol=1e-6)


# --- Policies and epsilon -------------------------------------------------------------------------


def test_epsilon_follows_the_environment_steps_explored() -> None:
    env_steps = tf.Variable(-50, dtype=tf.int64)
    agent = create(env_steps=lambda: env_steps)
    seen = []
    for steps in (-50, 0, 50, 100, 1_000):
        env_steps.assign(steps)
        seen.append(agent.epsilon)
        assert float(agent.collect_policy.epsilon()) == pytest.approx(agent.epsilon)
    assert seen == pytest.approx([1.0, 1.0, 0.55, 0.1, 0.1])


def test_the_agents_policy_is_greedy_and_its_collect_policy_explores() -> None:
    agent = create(epsilon_initial=1.0)
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
        create(**{parameter: value})
    assert caught.value.message.startswith(f"create_agent.{parameter} must be ")
