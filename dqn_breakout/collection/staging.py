"""Trajectories held back while the replay buffer must not change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tf_agents.trajectories import trajectory as trajectory_lib


class Staging:
    """Keeps the trajectories of one turn, and hands them on in their order."""

    def __init__(
        self,
        data_spec: trajectory_lib.Trajectory,
        batch_size: int,
        capacity: int,
        observer: Callable[[trajectory_lib.Trajectory], Any],
    ):
        """Makes room.

        Args:
            data_spec: The agent's `collect_data_spec`.
            batch_size: Environments side by side, B.
            capacity: How many trajectories of all environments there is room for.
            observer: Is handed each trajectory, `(B, ...)`, at `release`.
        """
        self._observer = observer
        self._count = tf.Variable(0, dtype=tf.int32, trainable=False)
        self._stored = tf.nest.map_structure(
            lambda spec: tf.Variable(
                tf.zeros([capacity, batch_size, *spec.shape], spec.dtype), trainable=False
            ),
            data_spec,
        )

    def add_batch(self, trajectory: trajectory_lib.Trajectory) -> None:
        """Keeps one step of every environment; an observer of a driver.

        Raises:
            InvalidArgumentError: There is no room left.
        """
        place = self._count.assign_add(1) - 1
        # Whole rows are copied as they are; slices of five dimensions would go pixel by pixel.
        tf.nest.map_structure(
            lambda stored, values: stored.scatter_update(tf.IndexedSlices(values, place)),
            self._stored,
            trajectory,
        )

    @tf.function(autograph=False)
    def release(self) -> None:
        """Hands everything on, oldest first; then there is room again."""
        count = tf.identity(self._count)

        def hand_on(place: tf.Tensor) -> tuple[tf.Tensor]:
            self._observer(
                tf.nest.map_structure(lambda stored: stored.sparse_read(place), self._stored)
            )
            return (place + 1,)

        tf.while_loop(lambda place: place < count, hand_on, [0], parallel_iterations=1)
        self._count.assign(0)
