"""Games that are stepped from Python, and counted: for learning that has no graph of its own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from tf_agents.environments.tf_py_environment import TFPyEnvironment
from tf_agents.trajectories import time_step as ts
from tf_agents.trajectories import trajectory

from dqn_breakout.collection.metrics import CollectionMetrics


class Player:
    """Steps a batch of games and shows what was played to a run's metrics, a turn at a time.

    Attributes:
        time_step: Where the games stand.
    """

    def __init__(self, environment: TFPyEnvironment, metrics: CollectionMetrics):
        """Takes the games; they start when they are first asked for."""
        self.environment = environment.pyenv
        self._metrics = metrics
        self._time_step: ts.TimeStep | None = None
        self._played: list[tuple[np.ndarray, ...]] = []

    @property
    def time_step(self) -> ts.TimeStep:
        """Where the games stand, NumPy arrays `(B, ...)`."""
        if self._time_step is None:
            self._time_step = self.environment.reset()
        return self._time_step

    def start_anew(self) -> None:
        """Every game starts anew, from a seed of its own."""
        self._time_step = start = self.environment.reset()
        # The metrics tell games apart by steps that only start one.
        ended = np.full_like(start.step_type, ts.StepType.LAST)
        self._played.append((ended, start.step_type, start.reward))

    def step(self, actions: np.ndarray, counted: np.ndarray | None = None) -> ts.TimeStep:
        """Steps every game.

        Args:
            actions: int `(B,)`.
            counted: Which games the metrics are to count this step of, bool `(B,)`; None for all.
        """
        before, after = self.time_step, self.environment.step(actions.astype(np.int32))
        kinds, next_kinds = before.step_type, after.step_type
        if counted is not None:
            # A step that only starts a game does not count.
            kinds = np.where(counted, kinds, np.int32(ts.StepType.LAST))
            next_kinds = np.where(counted, next_kinds, np.int32(ts.StepType.FIRST))
        self._played.append((kinds, next_kinds, after.reward))
        self._time_step = after
        return after

    def end_turn(self) -> None:
        """Shows the metrics what was played since the last turn's end."""
        if self._played:
            self._observe(*(np.stack(each) for each in zip(*self._played, strict=True)))
        self._played = []

    @tf.function(reduce_retracing=True, autograph=False)
    def _observe(self, kinds: tf.Tensor, next_kinds: tf.Tensor, rewards: tf.Tensor) -> None:
        def observe(place: tf.Tensor) -> tf.Tensor:
            step = trajectory.Trajectory(
                step_type=kinds[place],
                next_step_type=next_kinds[place],
                reward=rewards[place],
                observation=(),
                action=(),
                policy_info=(),
                discount=(),
            )
            for each in self._metrics.observers:
                each(step)
            return place + 1

        tf.while_loop(lambda place: place < tf.shape(kinds)[0], observe, [0], parallel_iterations=1)

    def state(self) -> dict[str, np.ndarray]:
        """The games' state, as named arrays."""
        self.time_step  # noqa: B018  (they have one once they have started)
        return self.environment.get_state()

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Brings the games to a state that `state` gave."""
        self.environment.set_state(state)
        self._time_step = self.environment.current_time_step()

    def close(self) -> None:
        """Ends the games."""
        self.environment.close()
