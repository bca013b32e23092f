"""What an environment gave, step by step, to compare replay buffers with."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from tf_agents.trajectories import policy_step, trajectory
from tf_agents.trajectories import time_step as ts

from dqn_breakout.replay.frame_table import FrameTable
from dqn_breakout.replay.replay_buffer import ReplayBuffer
from dqn_breakout.replay.stored_observations import stored_observations
from dqn_breakout.replay.transitions import Transitions
from tests.scripted_games import Script, ScriptedGames, scripted_environment, trajectories

FRAME_SHAPE = (2, 3)
LAST = int(ts.StepType.LAST)


class Recording:
    """Plays scripted games, keeps all that the environment gave, and feeds replay buffers.

    Attributes:
        steps: The trajectories in order, each field `(B, ...)`.
    """

    def __init__(self, scripts: list[list[Script]], seed: int = 0):
        self._environment = scripted_environment(ScriptedGames(scripts, FRAME_SHAPE))
        self._play = trajectories(self._environment, seed)
        self.steps: list[trajectory.Trajectory] = []

    @property
    def data_spec(self) -> trajectory.Trajectory:
        return trajectory.from_transition(
            self._environment.time_step_spec(),
            policy_step.PolicyStep(self._environment.action_spec(), (), ()),
            self._environment.time_step_spec(),
        )

    def buffer(
        self,
        max_length: int,
        seed: int = 1,
        table: type[FrameTable] = FrameTable,
        stacked: bool = True,
    ) -> ReplayBuffer:
        spec, batch_size = self.data_spec, self._environment.batch_size
        observations = stored_observations(spec.observation, stacked)
        return ReplayBuffer(spec, batch_size, max_length, seed, observations, table)

    def play(self, steps: int, *buffers: ReplayBuffer) -> None:
        for _ in range(steps):
            step = next(self._play)
            self.steps.append(step)
            for buffer in buffers:
                _add(buffer, tf.nest.map_structure(tf.constant, step))

    def check(self, buffer: ReplayBuffer, sample: Transitions) -> tuple[np.ndarray, np.ndarray]:
        """Compares transitions, field by field, with what was recorded.

        Returns:
            Each one's environment, and the number of the step that it starts at.
        """
        places, slots = np.divmod(sample.key, buffer.max_length)
        newest = len(self.steps) - 1
        numbers = newest - (newest - slots) % buffer.max_length

        def recorded(field: str, later: int = 0) -> np.ndarray:
            pairs = zip(numbers + later, places, strict=True)
            return np.stack([getattr(self.steps[number], field)[place] for number, place in pairs])

        for found, expected in (
            (sample.observation, recorded("observation")),
            (sample.action, recorded("action")),
            (sample.reward, recorded("reward")),
            (sample.discount, recorded("discount")),
            (sample.next_observation, recorded("observation", later=1)),
            (sample.weight, recorded("step_type") != LAST),
        ):
            np.testing.assert_array_equal(found, expected)
        return places, numbers


@tf.function(autograph=False)
def _add(buffer: ReplayBuffer, step: trajectory.Trajectory) -> None:
    buffer.add_batch(step)


@tf.function(autograph=False)
def _sample(buffer: ReplayBuffer, number: int) -> Transitions:
    return buffer.sample(number)


def sample(buffer: ReplayBuffer, number: int) -> Transitions:
    """What training draws, in a graph as there, as NumPy arrays."""
    return tf.nest.map_structure(lambda values: values.numpy(), _sample(buffer, number))


def same(one: Any, other: Any) -> bool:
    flat = zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True)
    return all(np.array_equal(a, b) for a, b in flat)
