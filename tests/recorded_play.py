"""What an environment gave, step by step, to compare replay buffers with."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from tf_agents.trajectories import policy_step, trajectory

from dqn_breakout.replay.frame_replay_buffer import FrameReplayBuffer
from dqn_breakout.replay.frame_table import FrameTable
from tests.scripted_games import Script, ScriptedGames, scripted_environment, trajectories

FRAME_SHAPE = (2, 3)


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
        self, max_length: int, seed: int = 1, table: type[FrameTable] = FrameTable
    ) -> FrameReplayBuffer:
        batch_size = self._environment.batch_size
        return FrameReplayBuffer(self.data_spec, batch_size, max_length, seed, table)

    def play(self, steps: int, *buffers: FrameReplayBuffer) -> None:
        for _ in range(steps):
            step = next(self._play)
            self.steps.append(step)
            for buffer in buffers:
                _add(buffer, tf.nest.map_structure(tf.constant, step))

    def check(self, experience: trajectory.Trajectory, ids: np.ndarray) -> np.ndarray:
        """Compares samples with what was recorded; returns each one's environment.

        The place of a sample's game is the first number in its frame; whether that is the right
        game at all, the rest of the comparison tells, as no two recorded frames are alike.
        """
        places = experience.observation[:, 0, 0, 0, -1]
        for step in range(2):
            for name in (
                "observation",
                "action",
                "reward",
                "discount",
                "step_type",
                "next_step_type",
            ):
                expected = np.stack(
                    [
                        getattr(self.steps[number], name)[place]
                        for number, place in zip(ids[:, step], places, strict=True)
                    ]
                )
                np.testing.assert_array_equal(getattr(experience, name)[:, step], expected, name)
        return places


@tf.function(autograph=False)
def _add(buffer: FrameReplayBuffer, step: trajectory.Trajectory) -> None:
    buffer.add_batch(step)


def sample(
    buffer: FrameReplayBuffer, number: int
) -> tuple[trajectory.Trajectory, np.ndarray, np.ndarray]:
    """A batch and its ids and probabilities, as NumPy arrays."""
    experience, info = buffer.get_next(sample_batch_size=number, num_steps=2)
    arrays = tf.nest.map_structure(lambda values: values.numpy(), experience)
    return arrays, info.ids.numpy(), info.probabilities.numpy()


def same(one: Any, other: Any) -> bool:
    flat = zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True)
    return all(np.array_equal(a, b) for a, b in flat)
