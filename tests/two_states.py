"""A world of two states with known action values, and an agent in it."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from tf_agents.networks import sequential
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step as ts
from tf_agents.trajectories import trajectory

from dqn_breakout.agents.dqn_agent import DeepQAgent
from dqn_breakout.agents.exploration import Clock
from dqn_breakout.agents.optimizers import RMSprop
from dqn_breakout.agents.q_learning import QLearning
from dqn_breakout.replay.transitions import Transitions

MID, LAST = int(ts.StepType.MID), int(ts.StepType.LAST)
# Action values of two states, three actions each.
Q = [[1.0, 2.0, -1.0], [3.0, 5.0, 4.0]]
STATE = np.eye(2, dtype=np.float32)
ACTION_SPEC = tensor_spec.BoundedTensorSpec((), tf.int32, 0, 2)
TIME_STEP_SPEC = ts.time_step_spec(tf.TensorSpec((2,), tf.float32, "observation"))
GAMMA = 0.9

OPTIMIZER: dict[str, Any] = {
    "learning_rate": 0.01,
    "rho": 0.95,
    "momentum": 0.0,
    "epsilon": 1e-4,
    "epsilon_inside_root": True,
    "centered": True,
    "compiled": False,
}
ARGUMENTS: dict[str, Any] = {
    "objective": lambda: QLearning(double=False),
    "optimizer": lambda: RMSprop(**OPTIMIZER),
    "gamma": GAMMA,
    "target_update_period_train_steps": 3,
    "reward_clip": 1.0,
    "q_value_limit": 1e4,
    "epsilon_initial": 1.0,
    "epsilon_final": 0.1,
    "epsilon_decay_env_steps": 100,
}


def table_network(values: Any = Q) -> sequential.Sequential:
    """A Q-network that looks its values up: one weight for each state and action."""
    layer = tf_keras.layers.Dense(
        3, use_bias=False, kernel_initializer=tf_keras.initializers.Constant(values)
    )
    return sequential.Sequential([layer], input_spec=TIME_STEP_SPEC.observation)


def create_two_state_agent(
    values: Any = Q,
    clock: Clock | None = None,
    double: bool = False,
    **changes: Any,
) -> DeepQAgent:
    parts = {
        "q_network": lambda *specs_and_seed: table_network(values),
        "objective": lambda: QLearning(double=double),
    }
    arguments = {**ARGUMENTS, **parts, **changes}
    return DeepQAgent(TIME_STEP_SPEC, ACTION_SPEC, clock or Clock.at_rest(), 7, **arguments)


def weights(agent: DeepQAgent) -> np.ndarray:
    return agent.q_network.variables[0].numpy()


def target(agent: DeepQAgent) -> tf.Variable:
    """The weights of the target network."""
    return agent.state_variables()["target/000"]


def train(agent: DeepQAgent, batch: Transitions) -> Any:
    """One train step, as the learner takes it."""
    return agent.train_on_targets(batch, agent.targets(batch))


def transitions(*steps: tuple[int, int, float, float, int], weight: Any = 1.0) -> Transitions:
    """Of `(state, action, reward, discount, next state)` each."""
    states, actions, rewards, discounts, next_states = zip(*steps, strict=True)
    return Transitions(
        observation=tf.constant(STATE[list(states)]),
        action=tf.constant(actions, tf.int32),
        reward=tf.constant(rewards, tf.float32),
        discount=tf.constant(discounts, tf.float32),
        next_observation=tf.constant(STATE[list(next_states)]),
        weight=tf.constant(np.broadcast_to(weight, len(steps)), tf.float32),
        key=tf.range(len(steps), dtype=tf.int64),
    )


def random_transitions(seed: int, count: int = 32, largest_reward: int = 1) -> Transitions:
    """Some of them no transitions, but the start of another game."""
    rng = np.random.default_rng(seed)
    columns = (
        rng.integers(2, size=count),
        rng.integers(3, size=count),
        rng.integers(-largest_reward, largest_reward + 1, count),
        rng.random(count).round(),
        rng.integers(2, size=count),
    )
    return transitions(*zip(*columns, strict=True), weight=rng.random(count) < 0.75)


def as_trajectory(batch: Transitions) -> trajectory.Trajectory:
    """The same as TF-Agents would have them, `(B, 2, ...)`; what weighs nothing starts at LAST."""

    def twice(values: tf.Tensor, then: tf.Tensor | None = None) -> tf.Tensor:
        return tf.stack([values, tf.zeros_like(values) if then is None else then], axis=1)

    step_type = tf.where(batch.weight > 0, MID, LAST)
    return trajectory.Trajectory(
        step_type=twice(step_type),
        observation=twice(batch.observation, batch.next_observation),
        action=twice(batch.action),  # What the second step did is no part of the transition.
        policy_info=(),
        next_step_type=twice(tf.fill(step_type.shape, MID)),
        reward=twice(batch.reward),
        discount=twice(batch.discount),
    )
