"""How the agent explores: the epsilon schedule, and policies whose random numbers are counted.

TF-Agents' own epsilon-greedy and random policies draw from TensorFlow's stateful generators, which
no checkpoint holds. These draw number n of a named stream at call n, so that a policy goes on after
a restart as if it had never stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf
from tf_agents.policies import tf_policy
from tf_agents.trajectories import policy_step
from tf_agents.trajectories import time_step as ts

from dqn_breakout import seeding
from dqn_breakout.configurable import require


class Clock(NamedTuple):
    """What exploration is timed by; both give int64 scalars.

    Attributes:
        explored_env_steps: Environment steps since the random fill.
        episodes: Full games ended so far, those of the random fill included.
    """

    explored_env_steps: Callable[[], tf.Tensor]
    episodes: Callable[[], tf.Tensor]

    @classmethod
    def at_rest(cls) -> Clock:
        """A clock that stands at the beginning."""
        return cls(*[lambda: tf.constant(0, tf.int64)] * 2)


def epsilon_schedule(
    clock: Clock,
    initial: float,
    final: float,
    decay_env_steps: int | None,
    decay_episodes: int | None,
) -> Callable[[], tf.Tensor]:
    """Epsilon by the clock that one of the two lengths is given for; see `linear_epsilon`."""
    require(
        (decay_env_steps is None) != (decay_episodes is None),
        "create_agent.epsilon_decay_env_steps",
        "and epsilon_decay_episodes exclude each other: bind one, and the other to None.",
    )
    if decay_episodes is not None:
        return lambda: linear_epsilon(clock.episodes(), initial, final, decay_episodes)
    length: int = decay_env_steps  # type: ignore[assignment]
    return lambda: linear_epsilon(clock.explored_env_steps(), initial, final, length)


def linear_epsilon(passed: tf.Tensor, initial: float, final: float, decay: int) -> tf.Tensor:
    """Epsilon from `initial` to `final` in a straight line, then constant.

    Args:
        passed: Environment steps since the random fill, or episodes; any number type, scalar.
        initial: Epsilon at 0.
        final: Epsilon from `decay` on.
        decay: Length of the line, in what `passed` counts.

    Returns:
        Epsilon, float32 scalar.
    """
    # float64: at 10 million steps float32 no longer tells neighbouring steps apart.
    positive = tf.cast(tf.maximum(passed, tf.zeros_like(passed)), tf.float64)
    done = tf.minimum(positive / decay, 1.0)
    return tf.cast(initial + (final - initial) * done, tf.float32)


class CountedPolicy(tf_policy.TFPolicy):
    """A policy that owns a counted random stream.

    Attributes:
        calls: Position of the stream: how often the policy has acted, int64.
    """

    def __init__(self, time_step_spec: Any, action_spec: Any, seed: int, stream: str, name: str):
        super().__init__(time_step_spec, action_spec, name=name)
        self._key = seeding.stream_key(seed, stream)
        self.calls = tf.Variable(0, dtype=tf.int64, name="calls")

    def _next_seeds(self, number: int) -> tf.Tensor:
        """As many fresh stateless seeds, int64 `(number, 2)`; one step along the stream."""
        call = self.calls.assign_add(1)
        return tf.random.split(tf.stack([tf.constant(self._key, tf.int64), call]), number)

    def _random_actions(self, shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        spec = self.action_spec
        return tf.random.stateless_uniform(
            shape, seed, int(spec.minimum), int(spec.maximum) + 1, spec.dtype
        )

    def _variables(self) -> list[tf.Variable]:
        return [self.calls]


class RandomPolicy(CountedPolicy):
    """Uniform random actions, for the random fill and as a baseline."""

    def __init__(self, time_step_spec: Any, action_spec: Any, seed: int, stream: str):
        """Builds the policy on the random stream `stream` of the run's seed."""
        super().__init__(time_step_spec, action_spec, seed, stream, "RandomPolicy")

    def _action(
        self, time_step: ts.TimeStep, policy_state: Any, seed: Any = None
    ) -> policy_step.PolicyStep:
        seeds = self._next_seeds(1)
        actions = self._random_actions(tf.shape(time_step.step_type), seeds[0])
        return policy_step.PolicyStep(actions, policy_state)


class EpsilonGreedyPolicy(CountedPolicy):
    """The best action by the network, or with probability epsilon a uniform random one.

    Mnih et al. 2015, Algorithm 1. Each environment of the batch decides for itself.
    """

    def __init__(
        self,
        time_step_spec: Any,
        action_spec: Any,
        network: Any,
        action_values: Callable[[tf.Tensor], tf.Tensor],
        epsilon: Callable[[], tf.Tensor],
        seed: int,
        stream: str,
    ):
        """Builds the policy.

        Args:
            time_step_spec: Spec of the time steps to act on.
            action_spec: Spec of one action, int32 scalar.
            network: The network to play by.
            action_values: Makes float32 `(B, actions)` of what the network gives.
            epsilon: Gives the current epsilon, float32 scalar.
            seed: The run's seed.
            stream: The random stream's name.
        """
        super().__init__(time_step_spec, action_spec, seed, stream, "EpsilonGreedyPolicy")
        self._network = network
        self._action_values = action_values
        self.epsilon = epsilon
        self._seed = seed
        self._stream = stream

    def detached(self) -> DetachedPolicy:
        """The same policy at the start of its stream, acting with a copy of the network."""
        return DetachedPolicy(
            self._network,
            self.time_step_spec,
            self.action_spec,
            self._network.copy(name="ActingNetwork"),
            self._action_values,
            self.epsilon,
            self._seed,
            self._stream,
        )

    def _action(
        self, time_step: ts.TimeStep, policy_state: Any, seed: Any = None
    ) -> policy_step.PolicyStep:
        outputs, _ = self._network(time_step.observation)
        greedy = tf.argmax(
            self._action_values(outputs), axis=-1, output_type=self.action_spec.dtype
        )
        seeds = self._next_seeds(2)
        shape = tf.shape(greedy)
        explore = tf.random.stateless_uniform(shape, seeds[0]) < self.epsilon()
        actions = tf.where(explore, self._random_actions(shape, seeds[1]), greedy)
        return policy_step.PolicyStep(actions, policy_state)

    def _variables(self) -> list[tf.Variable]:
        return [*self._network.variables, self.calls]


class DetachedPolicy(EpsilonGreedyPolicy):
    """An epsilon-greedy policy whose network changes only when it is told so."""

    def __init__(self, source: Any, *arguments: Any):
        """Builds the policy; the network of `arguments` is to follow the network `source`."""
        super().__init__(*arguments)
        self._source = source
        self._network.create_variables()

    @tf.function(autograph=False)
    def synchronise(self) -> None:
        """Brings the policy's network to where its source is."""
        for variable, value in zip(self._network.variables, self._source.variables, strict=True):
            variable.assign(value)
