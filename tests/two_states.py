"""A world of two states with known action values, and an agent in it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tf_agents.networks import sequential
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step as ts
from tf_agents.trajectories import trajectory

from dqn_breakout.agents import dqn_agent
from dqn_breakout.agents.dqn_agent import ClippedDqnAgent, create_agent
from dqn_breakout.agents.rmsprop import create_optimizer

MID = int(ts.StepType.MID)
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
    "q_value_limit": 1e4,
    "epsilon_initial": 1.0,
    "epsilon_final": 0.1,
    "epsilon_decay_env_steps": 100,
}
OPTIMIZER: dict[str, Any] = {
    "learning_rate": 0.01,
    "rho": 0.95,
    "momentum": 0.0,
    "epsilon": 1e-4,
    "epsilon_inside_root": True,
    "centered": True,
    "compiled": False,
}


def table_network(values: Any = Q) -> sequential.Sequential:
    """A Q-network that looks its values up: one weight for each state and action."""
    layer = tf_keras.layers.Dense(
        3, use_bias=False, kernel_initializer=tf_keras.initializers.Constant(values)
    )
    return sequential.Sequential([layer], input_spec=TIME_STEP_SPEC.observation)


def create_two_state_agent(
    q_network: Any = None, env_steps: Any = lambda: tf.constant(0), **changes: Any
) -> ClippedDqnAgent:
    """`create_agent` with an optimizer that gin would have described."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dqn_agent, "create_optimizer", lambda: create_optimizer(**OPTIMIZER))
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
