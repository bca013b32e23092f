"""The drivers that play: a random fill, then collection by the agent's policy."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import gin
import numpy as np
import tensorflow as tf
from tf_agents.drivers.dynamic_step_driver import DynamicStepDriver
from tf_agents.environments.tf_py_environment import TFPyEnvironment
from tf_agents.trajectories import time_step as ts

from dqn_breakout.agents.exploration import CountedPolicy, EpsilonGreedyPolicy
from dqn_breakout.collection.staging import Staging
from dqn_breakout.configurable import PositiveInt, configurable, require

# The random fill runs in pieces, so that progress shows and a stop is heeded.
_FILL_PIECE_ENV_STEPS = 1_000
_MOST_ENV_STEPS_PER_ITERATION = 10_000


@configurable(name="create_collector")
class Collector:
    """Steps the environment with one of two policies and shows every trajectory to observers.

    Environment steps are counted over all environments of the batch. A driver always steps all of
    them and stops at the first such step that reaches its number: with one environment exactly
    there, with `B` environments fewer than `B` environment steps past it.

    A collector may be overlapped: it plays a turn while the agent trains ("Concurrent Training" of
    Daley and Amato 2021, "Human-Level Control without Server-Grade Hardware"). The policy then asks
    a copy of the network made when the turn began, and the replay buffer is shown what was played
    when it is over, so that neither playing nor training depends on which of both is faster.

    Attributes:
        random_fill_env_steps: Environment steps taken at random before training starts.
        env_steps_per_iteration: Environment steps of a turn.
        overlapped: Whether `playing` is to be used, not `collect`.
    """

    def __init__(
        self,
        environment: TFPyEnvironment,
        random_policy: CountedPolicy,
        collect_policy: EpsilonGreedyPolicy,
        add_batch: Callable[[Any], Any],
        metrics: list[Any],
        *,
        random_fill_env_steps: PositiveInt = gin.REQUIRED,
        env_steps_per_iteration: PositiveInt = gin.REQUIRED,
        overlapped: bool = gin.REQUIRED,
    ):
        """Builds both drivers.

        Args:
            environment: The environment to play.
            random_policy: Acts during the random fill.
            collect_policy: Acts after it.
            add_batch: Is given each trajectory: the replay buffer.
            metrics: Callables that are given each trajectory at once.
            random_fill_env_steps: See the class.
            env_steps_per_iteration: See the class.
            overlapped: See the class.

        Raises:
            UserError: A turn is too long, or the random fill too short.
        """
        require(
            random_fill_env_steps >= environment.batch_size,
            "create_collector.random_fill_env_steps",
            f"is {random_fill_env_steps:,}, and a step of all games takes "
            f"{environment.batch_size:,} environment steps: give as many or more.",
        )
        require(
            env_steps_per_iteration <= _MOST_ENV_STEPS_PER_ITERATION,
            "create_collector.env_steps_per_iteration",
            f"is too large: at most {_MOST_ENV_STEPS_PER_ITERATION:,} are possible, since a stop "
            "waits for a turn's end and its frames are held until then.",
        )
        self.random_fill_env_steps = random_fill_env_steps
        self.env_steps_per_iteration = env_steps_per_iteration
        self.overlapped = overlapped
        self._time_step: ts.TimeStep | None = None
        self._environment = environment
        add_collected = add_batch
        if overlapped:
            collect_policy = detached = collect_policy.detached()
            self._synchronise = detached.synchronise
            # Of two steps of a game, at most one only starts it and does not count.
            most = 2 * -(-env_steps_per_iteration // environment.batch_size) + 2
            self._staging = Staging(
                collect_policy.trajectory_spec, environment.batch_size, most, add_batch
            )
            add_collected = self._staging.add_batch
            self._thread = ThreadPoolExecutor(1, "collection")
        self._policies = {"random_policy": random_policy, "collect_policy": collect_policy}
        # A variable, so that one compiled loop takes whole pieces and the last, shorter one.
        self._piece_env_steps = tf.Variable(0, dtype=tf.int32, trainable=False)
        self._fill = _driver(
            environment, random_policy, [add_batch, *metrics], self._piece_env_steps
        )
        self._collect = _driver(
            environment, collect_policy, [add_collected, *metrics], env_steps_per_iteration
        )

    def fill(self, env_steps: int) -> None:
        """Takes a piece of the random fill, never more of it than is left.

        Args:
            env_steps: Environment steps taken so far, fewer than `random_fill_env_steps`.
        """
        left = self.random_fill_env_steps - env_steps
        self._piece_env_steps.assign(min(_FILL_PIECE_ENV_STEPS, left))
        self._time_step, _ = self._fill(self._current(), ())

    def collect(self) -> None:
        """Takes one turn's environment steps with the collect policy."""
        self._time_step, _ = self._collect(self._current(), ())

    @contextlib.contextmanager
    def playing(self) -> Iterator[None]:
        """Takes one turn's environment steps while the body runs; for the overlapped."""
        self._synchronise()
        played = self._thread.submit(self._collect, self._current(), ())
        try:
            yield
        except BaseException:
            # What went wrong in the body is what is to be told.
            wait([played])
            raise
        self._time_step, _ = played.result()
        self._staging.release()

    def close(self) -> None:
        """Ends the thread that plays, and the games."""
        if self.overlapped:
            self._thread.shutdown(wait=True)
        self._environment.close()

    def variables(self) -> dict[str, tf.Variable]:
        """Positions of the policies' random streams, by name."""
        return {f"{name}_calls": policy.calls for name, policy in self._policies.items()}

    def state(self) -> dict[str, np.ndarray]:
        """The games' state, as named arrays."""
        self._current()
        return self._environment.pyenv.get_state()

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Brings the games to a state that `state` gave."""
        pyenv = self._environment.pyenv
        pyenv.set_state(state)
        self._time_step = tf.nest.map_structure(tf.constant, pyenv.current_time_step())

    def _current(self) -> ts.TimeStep:
        if self._time_step is None:
            self._time_step = self._environment.reset()
        return self._time_step


def _driver(environment: Any, policy: Any, observers: list[Any], env_steps: Any) -> Any:
    driver = DynamicStepDriver(environment, policy, observers, num_steps=env_steps)
    # Drivers build their own loops; AutoGraph would only rewrite TF-Agents' Python.
    return tf.function(driver.run, autograph=False)
