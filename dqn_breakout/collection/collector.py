"""The drivers that play: a random fill, then collection by the agent's policy."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import gin
import tensorflow as tf
from tf_agents.drivers.dynamic_step_driver import DynamicStepDriver
from tf_agents.environments.tf_py_environment import TFPyEnvironment
from tf_agents.trajectories import time_step as ts

from dqn_breakout import errors, limits
from dqn_breakout.agents.exploration import CountedPolicy, EpsilonGreedyPolicy
from dqn_breakout.collection.staging import Staging

# The random fill runs in pieces, so that progress shows and a stop is heeded.
_FILL_PIECE_ENV_STEPS = 1_000
_MOST_ENV_STEPS_PER_ITERATION = 10_000


class Collector:
    """Steps the environment with one of two policies and shows every trajectory to observers.

    Environment steps are counted over all environments of the batch. A driver always steps all of
    them and stops at the first such step that reaches its number: with one environment exactly
    there, with `B` environments fewer than `B` environment steps past it.

    A collector may be overlapped: it plays an iteration while the agent trains ("Concurrent
    Training" of Daley and Amato 2021, "Human-Level Control without Server-Grade Hardware"). The
    policy then asks a copy of the network made when the iteration began, and the replay buffer is
    shown what was played when it is over, so that neither playing nor training depends on which of
    both is faster.

    Attributes:
        random_fill_env_steps: Environment steps taken at random before training starts.
        env_steps_per_iteration: Environment steps of one `collect`.
        overlapped: Whether `playing` is to be used, not `collect`.
        time_step: Where the games stand.
    """

    def __init__(
        self,
        environment: TFPyEnvironment,
        random_policy: CountedPolicy,
        collect_policy: CountedPolicy,
        add_batch: Callable[[Any], Any],
        metrics: list[Any],
        *,
        random_fill_env_steps: int,
        env_steps_per_iteration: int,
        overlapped: bool,
    ):
        """Builds both drivers.

        Args:
            environment: The environment to play.
            random_policy: Acts during the random fill.
            collect_policy: Acts after it; an `EpsilonGreedyPolicy` where `overlapped`.
            add_batch: Is given each trajectory: the replay buffer.
            metrics: Callables that are given each trajectory at once.
            random_fill_env_steps: See the class.
            env_steps_per_iteration: See the class.
            overlapped: See the class.
        """
        self.random_fill_env_steps = random_fill_env_steps
        self.env_steps_per_iteration = env_steps_per_iteration
        self.overlapped = overlapped
        self.time_step: ts.TimeStep | None = None
        self._environment = environment
        add_collected = add_batch
        if overlapped:
            assert isinstance(collect_policy, EpsilonGreedyPolicy)
            collect_policy = collect_policy.detached()
            self._synchronise = collect_policy.synchronise
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
        fill_driver = DynamicStepDriver(
            environment, random_policy, [add_batch, *metrics], num_steps=self._piece_env_steps
        )
        collect_driver = DynamicStepDriver(
            environment,
            collect_policy,
            [add_collected, *metrics],
            num_steps=env_steps_per_iteration,
        )
        # The drivers build their own loops; AutoGraph would only rewrite TF-Agents' Python.
        self._fill = tf.function(fill_driver.run, autograph=False)
        self._collect = tf.function(collect_driver.run, autograph=False)

    def fill(self, env_steps: int) -> None:
        """Takes a piece of the random fill, never more of it than is left.

        Args:
            env_steps: Environment steps taken so far, fewer than `random_fill_env_steps`.
        """
        left = self.random_fill_env_steps - env_steps
        self._piece_env_steps.assign(min(_FILL_PIECE_ENV_STEPS, left))
        self.time_step, _ = self._fill(self._current(), ())

    def collect(self) -> None:
        """Takes one iteration's environment steps with the collect policy."""
        self.time_step, _ = self._collect(self._current(), ())

    @contextlib.contextmanager
    def playing(self) -> Iterator[None]:
        """Takes one iteration's environment steps while the body runs; for the overlapped."""
        self._synchronise()
        played = self._thread.submit(self._collect, self._current(), ())
        try:
            yield
        except BaseException:
            # What went wrong in the body is what is to be told.
            wait([played])
            raise
        self.time_step, _ = played.result()
        self._staging.release()

    def close(self) -> None:
        """Ends the thread that plays, and the games."""
        if self.overlapped:
            self._thread.shutdown(wait=True)
        self._environment.close()

    def variables(self) -> dict[str, tf.Variable]:
        """Positions of the policies' random streams, by name."""
        return {f"{name}_calls": policy.calls for name, policy in self._policies.items()}

    def get_state(self) -> dict[str, Any]:
        """The environment's state, as named arrays."""
        self._current()
        return self._environment.pyenv.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores the environment to what `get_state` gave."""
        pyenv = self._environment.pyenv
        pyenv.set_state(state)
        self.time_step = tf.nest.map_structure(tf.constant, pyenv.current_time_step())

    def _current(self) -> ts.TimeStep:
        if self.time_step is None:
            self.time_step = self._environment.reset()
        return self.time_step


@gin.configurable
def create_collector(
    environment: TFPyEnvironment,
    random_policy: CountedPolicy,
    collect_policy: CountedPolicy,
    add_batch: Callable[[Any], Any],
    metrics: list[Any],
    *,
    random_fill_env_steps: int = gin.REQUIRED,
    env_steps_per_iteration: int = gin.REQUIRED,
    overlapped: bool = gin.REQUIRED,
) -> Collector:
    """Builds the collector that gin describes; see `Collector`.

    Raises:
        UserError: A count is not a positive whole number, an iteration is too long, or `overlapped`
            not True or False.
    """
    name = "create_collector.env_steps_per_iteration"
    limits.positive_int("create_collector.random_fill_env_steps", random_fill_env_steps)
    limits.positive_int(name, env_steps_per_iteration)
    limits.require(
        env_steps_per_iteration <= _MOST_ENV_STEPS_PER_ITERATION,
        name,
        f"is {errors.shown(env_steps_per_iteration)}; at most {_MOST_ENV_STEPS_PER_ITERATION:,} "
        "are possible: a stop waits for an iteration's end, and its frames are held until then.",
    )
    limits.boolean("create_collector.overlapped", overlapped)
    return Collector(
        environment,
        random_policy,
        collect_policy,
        add_batch,
        metrics,
        random_fill_env_steps=random_fill_env_steps,
        env_steps_per_iteration=env_steps_per_iteration,
        overlapped=overlapped,
    )
