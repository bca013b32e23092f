"""What a run counts while it plays: environment steps, full games, their scores."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tf_agents.metrics import tf_metrics
from tf_agents.trajectories import trajectory as trajectory_lib

# "Mean return of the last 100 games" is what the field reports while training.
_WINDOW_GAMES = 100


class RecentGames(tf.Module):
    """Returns and lengths of the last 100 full games, unclipped.

    TF-Agents' AverageReturnMetric does the same but keeps its window where no checkpoint finds it,
    so that a resumed run would forget its scores. Every variable here is an attribute.
    """

    def __init__(self, batch_size: int):
        """Builds the metric for trajectories of `batch_size` environments."""
        super().__init__(name="RecentGames")
        self.running_return = tf.Variable(tf.zeros([batch_size]), name="running_return")
        self.running_length = tf.Variable(tf.zeros([batch_size]), name="running_length")
        self.returns = tf.Variable(tf.zeros([_WINDOW_GAMES]), name="returns")
        self.lengths = tf.Variable(tf.zeros([_WINDOW_GAMES]), name="lengths")
        self.games = tf.Variable(0, dtype=tf.int64, name="games")

    def __call__(self, trajectory: trajectory_lib.Trajectory) -> None:
        """Adds one step of every environment; an observer of a driver."""
        boundary = trajectory.is_boundary()
        returns = tf.where(boundary, 0.0, self.running_return + trajectory.reward)
        lengths = tf.where(boundary, 0.0, self.running_length + 1.0)
        self.running_return.assign(returns)
        self.running_length.assign(lengths)
        ended = tf.where(trajectory.is_last())[:, 0]
        count = tf.size(ended, out_type=tf.int64)
        places = (self.games + tf.range(count)) % _WINDOW_GAMES
        self.returns.scatter_update(tf.IndexedSlices(tf.gather(returns, ended), places))
        self.lengths.scatter_update(tf.IndexedSlices(tf.gather(lengths, ended), places))
        self.games.assign_add(count)

    def average_return(self) -> tf.Tensor:
        """Mean return of the window, float32; 0 before the first game has ended."""
        return self._mean(self.returns)

    def average_length(self) -> tf.Tensor:
        """Mean length of the window's games in environment steps, float32."""
        return self._mean(self.lengths)

    def _mean(self, values: tf.Variable) -> tf.Tensor:
        stored = tf.minimum(self.games, _WINDOW_GAMES)
        return tf.math.divide_no_nan(tf.reduce_sum(values), tf.cast(stored, tf.float32))


class CollectionMetrics:
    """The metrics that observe every trajectory of a run, random fill included.

    Attributes:
        observers: Callables to hand to a driver.
    """

    def __init__(self, batch_size: int):
        """Builds metrics for `batch_size` environments."""
        self._env_steps = tf_metrics.EnvironmentSteps()
        self._recent_games = RecentGames(batch_size)
        self.observers: list[Any] = [self._env_steps, self._recent_games]

    @property
    def env_steps_variable(self) -> tf.Variable:
        """Environment steps so far, int64 scalar, for use inside graphs."""
        return self._env_steps.environment_steps

    @property
    def episodes_variable(self) -> tf.Variable:
        """Full games ended so far, int64 scalar, for use inside graphs."""
        return self._recent_games.games

    @property
    def env_steps(self) -> int:
        """Environment steps so far; steps that only start a new game do not count."""
        return int(self._env_steps.environment_steps.numpy())

    @property
    def episodes(self) -> int:
        """Full games ended so far."""
        return int(self._recent_games.games.numpy())

    @property
    def average_return(self) -> float | None:
        """Mean unclipped return of the last 100 full games; None before the first."""
        return float(self._recent_games.average_return().numpy()) if self.episodes else None

    @property
    def average_length(self) -> float | None:
        """Mean length of the last 100 full games in environment steps; None before the first."""
        return float(self._recent_games.average_length().numpy()) if self.episodes else None

    def variables(self) -> dict[str, tf.Variable]:
        """Everything that the metrics remember, by name."""
        games = self._recent_games
        return {
            "env_steps": self._env_steps.environment_steps,
            "running_return": games.running_return,
            "running_length": games.running_length,
            "returns": games.returns,
            "lengths": games.lengths,
            "games": games.games,
        }
