"""Where a run stands, in numbers: what console, TensorBoard and metrics.jsonl all show."""

from __future__ import annotations

import dataclasses
import time
from typing import Any, get_args, get_type_hints

from dqn_breakout.collection.metrics import CollectionMetrics
from dqn_breakout.training.loop import Iteration


@dataclasses.dataclass(frozen=True)
class Row:
    """Where a run stands.

    Attributes:
        env_steps: Environment steps so far.
        train_steps: Train steps so far.
        episodes: Full games ended so far.
        average_return: Mean unclipped return of the last 100 full games; None before the first.
        average_length: Their mean length, environment steps.
        loss: Mean Huber loss since the last row; None where nothing was trained.
        mean_q: Mean value of the actions in the batches since the last row.
        gradient_norm: Mean norm of the gradient since the last row.
        epsilon: Epsilon now; 1 during the random fill.
        env_steps_per_second: Speed since the last row.
        replay_transitions: Transitions stored.
        wall_seconds: Seconds that this process has trained.
        checkpoint_seconds: How long training stood still for the checkpoint that was written here;
            None where none was.
    """

    env_steps: int
    train_steps: int
    episodes: int
    average_return: float | None
    average_length: float | None
    loss: float | None
    mean_q: float | None
    gradient_norm: float | None
    epsilon: float
    env_steps_per_second: float
    replay_transitions: int
    wall_seconds: float
    checkpoint_seconds: float | None = None

    @classmethod
    def from_dict(cls, values: object) -> Row | None:
        """The row that `as_dict` made a JSON object of; None if it is no such object."""
        if not isinstance(values, dict) or values.keys() != {
            field.name for field in dataclasses.fields(cls)
        }:
            return None
        for name, kind in get_type_hints(cls).items():
            value, kinds = values[name], get_args(kind) or (kind,)
            if value is None and type(None) in kinds:
                continue
            if type(value) is not int and (type(value) is not float or float not in kinds):
                return None
            if not abs(value) < 2**63:  # NaN is not, nor is infinity.
                return None
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """The row as a JSON object."""
        return dataclasses.asdict(self)


class ProgressMeter:
    """Gathers iterations into rows."""

    def __init__(self, agent: Any, metrics: CollectionMetrics, replay_buffer: Any, fill: int):
        """Starts the clock.

        Args:
            agent: Gives epsilon and train steps.
            metrics: Give environment steps and scores.
            replay_buffer: Gives the number of stored transitions.
            fill: Environment steps of the random fill.
        """
        self._agent = agent
        self._metrics = metrics
        self._replay_buffer = replay_buffer
        self._fill = fill
        self._started = self._last_time = time.monotonic()
        self._first_env_steps = self._last_env_steps = metrics.env_steps
        self._sums = [0.0, 0.0, 0.0]
        self._weight = 0

    def add(self, iteration: Iteration) -> None:
        """Takes one turn of the loop into account."""
        if iteration.metrics is not None:
            weight = iteration.train_steps_taken
            for place, value in enumerate(iteration.metrics):
                self._sums[place] += float(value.numpy()) * weight
            self._weight += weight

    def pause(self, seconds: float) -> None:
        """Leaves out time that was not training: an evaluation, say."""
        self._last_time += seconds
        self._started += seconds

    @property
    def overall_env_steps_per_second(self) -> float:
        """Speed of this process since it began."""
        passed = time.monotonic() - self._started
        return (self._metrics.env_steps - self._first_env_steps) / max(passed, 1e-9)

    def row(self) -> Row:
        """Where the run stands; sums start anew."""
        now = time.monotonic()
        env_steps = self._metrics.env_steps
        means = [total / self._weight if self._weight else None for total in self._sums]
        row = Row(
            env_steps=env_steps,
            train_steps=int(self._agent.train_step_counter.numpy()),
            episodes=self._metrics.episodes,
            average_return=self._metrics.average_return,
            average_length=self._metrics.average_length,
            loss=means[0],
            mean_q=means[1],
            gradient_norm=means[2],
            epsilon=self._agent.epsilon if env_steps >= self._fill else 1.0,
            env_steps_per_second=(env_steps - self._last_env_steps)
            / max(now - self._last_time, 1e-9),
            replay_transitions=int(self._replay_buffer.num_frames().numpy()),
            wall_seconds=now - self._started,
        )
        self._last_time, self._last_env_steps = now, env_steps
        self._sums, self._weight = [0.0, 0.0, 0.0], 0
        return row
