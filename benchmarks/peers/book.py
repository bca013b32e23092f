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
from dqn_breakout import machine

_MAX_EPISODE_STEPS = 27_000
_EPSILON = 0.01


class BreakoutStacks(PyEnvironment):
    """One game of Breakout without sticky actions; observations uint8 `(84, 84, 4)`."""

    def __init__(self, seed: int):
        """Starts the emulator; `seed` is that of the first game."""
        super().__init__()
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
        self._seed = None
        self._steps = 0
        self._frames.extend([frame] * 4)
        return ts.restart(self._stack())

    def _step(self, action: np.ndarray) -> Any:
        if self._current_time_step.is_last():
            return self.reset()
        frame, reward, terminated, _, _ = self._game.step(int(action))
        self._frames.append(frame)
        self._steps += 1
        reward = np.float32(reward)
        if terminated:
            return ts.termination(self._stack(), reward)
        if self._steps >= _MAX_EPISODE_STEPS:
            return ts.truncation(self._stack(), reward)
        return ts.transition(self._stack(), reward)

    def _stack(self) -> np.ndarray:
        return np.stack(self._frames, axis=-1)


class BookLoop:
    """Driver, dataset and `agent.train` in turn.

    Attributes:
        env_steps_per_iteration: See `contestant.Contestant`.
    """

    def __init__(self, settings: dict[str, Any]):
        """Builds the parts in the book's order.

        Args:
            settings: `batch_size`, `env_steps_per_update`, `replay_transitions`, `seed`, `threads`.
        """
        contestant.use_tensorflow_threads(settings["threads"])
        gymnasium.register_envs(ale_py)
        tf.random.set_seed(settings["seed"])
        self.env_steps_per_iteration = settings["env_steps_per_update"]
        self._transitions = settings["replay_transitions"]
        self._environment = TFPyEnvironment(BreakoutStacks(settings["seed"]))
        scale = tf.keras.layers.Lambda(lambda pixels: tf.cast(pixels, tf.float32) / 255.0)
        network = QNetwork(
            self._environment.observation_spec(),
            self._environment.action_spec(),
            preprocessing_layers=scale,
            conv_layer_params=[(32, (8, 8), 4), (64, (4, 4), 2), (64, (3, 3), 1)],
            fc_layer_params=[512],
        )
        self._agent = DqnAgent(
            self._environment.time_step_spec(),
            self._environment.action_spec(),
            q_network=network,
            optimizer=tf.keras.optimizers.RMSprop(
                learning_rate=2.5e-4, rho=0.95, momentum=0.0, epsilon=1e-5, centered=True
            ),
            target_update_period=2000,
            td_errors_loss_fn=tf.keras.losses.Huber(reduction="none"),
            gamma=0.99,
            train_step_counter=tf.Variable(0, dtype=tf.int64),
            epsilon_greedy=_EPSILON,
        )
        self._agent.initialize()
        self._replay_buffer = TFUniformReplayBuffer(
            self._agent.collect_data_spec,
            batch_size=self._environment.batch_size,
            max_length=self._transitions,
        )
        self._env_steps = tf_metrics.EnvironmentSteps()
        self._observers = [
            self._replay_buffer.add_batch,
            tf_metrics.NumberOfEpisodes(),
            self._env_steps,
            tf_metrics.AverageReturnMetric(),
            tf_metrics.AverageEpisodeLengthMetric(),
        ]
        collect_driver = DynamicStepDriver(
            self._environment,
            self._agent.collect_policy,
            observers=self._observers,
            num_steps=self.env_steps_per_iteration,
        )
        self._collect = common.function(collect_driver.run)
        self._train = common.function(self._agent.train)
        self._batch_size = settings["batch_size"]
        self._time_step: Any = None
        self._policy_state: Any = self._agent.collect_policy.get_initial_state(
            self._environment.batch_size
        )

    def fill(self) -> dict[str, Any]:
        """See `contestant.Contestant`."""
        fill_driver = DynamicStepDriver(
            self._environment,
            RandomTFPolicy(self._environment.time_step_spec(), self._environment.action_spec()),
            observers=self._observers,
            num_steps=self._transitions,
        )
        self._time_step, _ = common.function(fill_driver.run)()
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


if __name__ == "__main__":
    contestant.serve_contestant(BookLoop, machine.versions)
