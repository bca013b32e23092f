"""The TF-Agents loop that a reader of chapter 18 writes, apart from the batch size.

Géron 2019, "Hands-On Machine Learning with Scikit-Learn, Keras, and TensorFlow", 2nd edition,
chapter 18, "The TF-Agents Library": one environment, stacks stored whole, a driver of four steps,
a prefetching dataset, and one `agent.train` after each run of the driver. The environment is
gymnasium's preprocessing, since TF-Agents' own Atari suite needs a gym that no longer installs.
"""

from __future__ import annotations

import collections
import time
from typing import Any

import dqn_breakout  # noqa: F401  (before TensorFlow and TF-Agents, which it mends)

# isort: split
import ale_py
import gymnasium
import numpy as np
import tensorflow as tf
from gymnasium.wrappers import AtariPreprocessing
from tf_agents.agents.dqn.dqn_agent import DqnAgent
from tf_agents.drivers.dynamic_step_driver import DynamicStepDriver
from tf_agents.environments.py_environment import PyEnvironment
from tf_agents.environments.tf_py_environment import TFPyEnvironment
from tf_agents.metrics import tf_metrics
from tf_agents.networks.q_network import QNetwork
from tf_agents.policies.random_tf_policy import RandomTFPolicy
from tf_agents.replay_buffers.tf_uniform_replay_buffer import TFUniformReplayBuffer
from tf_agents.specs import array_spec
from tf_agents.trajectories import time_step as ts
from tf_agents.utils import common

from benchmarks import contestant

_MAX_EPISODE_STEPS = 27_000


class BreakoutStacks(PyEnvironment):
    """One game of Breakout without sticky actions; observations uint8 `(84, 84, 4)`."""

    def __init__(self, seed: int):
        """Starts the emulator; `seed` is that of the first game."""
        super().__init__()
        gymnasium.register_envs(ale_py)
        self._game = AtariPreprocessing(
            gymnasium.make("BreakoutNoFrameskip-v4"), noop_max=0, frame_skip=4
        )
        self._seed: int | None = seed
        self._frames: collections.deque[np.ndarray] = collections.deque(maxlen=4)
        self._steps = 0

    def action_spec(self) -> Any:
        """One of four actions."""
        return array_spec.BoundedArraySpec((), np.int64, 0, 3, "action")

    def observation_spec(self) -> Any:
        """A stack of four frames."""
        return array_spec.BoundedArraySpec((84, 84, 4), np.uint8, 0, 255, "observation")

    def _reset(self) -> Any:
        frame, _ = self._game.reset(seed=self._seed)
        self._seed, self._steps = None, 0
        self._frames.extend([frame] * 4)
        return ts.restart(np.stack(self._frames, axis=-1))

    def _step(self, action: np.ndarray) -> Any:
        if self._current_time_step.is_last():
            return self.reset()
        frame, reward, terminated, _, _ = self._game.step(int(action))
        self._frames.append(frame)
        self._steps += 1
        stack, reward = np.stack(self._frames, axis=-1), np.float32(reward)
        if terminated:
            return ts.termination(stack, reward)
        if self._steps >= _MAX_EPISODE_STEPS:
            return ts.truncation(stack, reward)
        return ts.transition(stack, reward)


class BookLoop(contestant.Contestant):
    """Driver, dataset and `agent.train` in turn."""

    def __init__(self, settings: dict[str, Any]):
        """Builds the parts in the book's order from the settings of `throughput`."""
        tf.random.set_seed(settings["seed"])
        self.env_steps_per_iteration = settings["env_steps_per_update"]
        self._batch_size = settings["batch_size"]
        self._transitions = settings["replay_transitions"]
        self._environment = environment = TFPyEnvironment(BreakoutStacks(settings["seed"]))
        self._agent = agent = _agent(environment, settings["epsilon"])
        self._replay_buffer = TFUniformReplayBuffer(
            agent.collect_data_spec, batch_size=1, max_length=self._transitions
        )
        self._env_steps = tf_metrics.EnvironmentSteps()
        self._observers = [
            self._replay_buffer.add_batch,
            tf_metrics.NumberOfEpisodes(),
            self._env_steps,
            tf_metrics.AverageReturnMetric(),
            tf_metrics.AverageEpisodeLengthMetric(),
        ]
        self._collect = self._driver(agent.collect_policy, self.env_steps_per_iteration)
        self._train = common.function(agent.train)

    def _driver(self, policy: Any, env_steps: int) -> Any:
        driver = DynamicStepDriver(
            self._environment, policy, observers=self._observers, num_steps=env_steps
        )
        return common.function(driver.run)

    def fill(self) -> dict[str, Any]:
        """See `contestant.Contestant`."""
        environment = self._environment
        random = RandomTFPolicy(environment.time_step_spec(), environment.action_spec())
        self._time_step, _ = self._driver(random, self._transitions)()
        self._policy_state = self._agent.collect_policy.get_initial_state(1)
        dataset = self._replay_buffer.as_dataset(
            sample_batch_size=self._batch_size, num_steps=2, num_parallel_calls=3
        ).prefetch(3)
        self._experience = iter(dataset)
        return {"num_environments": 1, "replay_capacity_transitions": self._transitions}

    def train_until(self, deadline: float) -> None:
        """See `contestant.Contestant`."""
        while time.perf_counter() < deadline:
            self._time_step, self._policy_state = self._collect(self._time_step, self._policy_state)
            trajectories, _ = next(self._experience)
            float(self._train(trajectories).loss)  # The book prints it.

    def counts(self) -> tuple[int, int]:
        """See `contestant.Contestant`."""
        return int(self._env_steps.result()), int(self._agent.train_step_counter)


def _agent(environment: TFPyEnvironment, epsilon: float) -> DqnAgent:
    scale = tf.keras.layers.Lambda(lambda pixels: tf.cast(pixels, tf.float32) / 255.0)
    network = QNetwork(
        environment.observation_spec(),
        environment.action_spec(),
        preprocessing_layers=scale,
        conv_layer_params=[(32, (8, 8), 4), (64, (4, 4), 2), (64, (3, 3), 1)],
        fc_layer_params=[512],
    )
    agent = DqnAgent(
        environment.time_step_spec(),
        environment.action_spec(),
        q_network=network,
        optimizer=tf.keras.optimizers.RMSprop(
            learning_rate=2.5e-4, rho=0.95, momentum=0.0, epsilon=1e-5, centered=True
        ),
        target_update_period=2000,
        td_errors_loss_fn=tf.keras.losses.Huber(reduction="none"),
        gamma=0.99,
        train_step_counter=tf.Variable(0, dtype=tf.int64),
        epsilon_greedy=epsilon,
    )
    agent.initialize()
    return agent


if __name__ == "__main__":
    contestant.serve(BookLoop)
