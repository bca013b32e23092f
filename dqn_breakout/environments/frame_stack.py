"""The last four frames as one observation (Mnih et al. 2015, Methods, "Preprocessing")."""

from __future__ import annotations

import numpy as np
from tf_agents.environments import wrappers
from tf_agents.specs import array_spec
from tf_agents.trajectories import time_step as ts

from dqn_breakout.errors import UserError

STACK_FRAMES = 4


class FrameStack4(wrappers.PyEnvironmentBaseWrapper):
    """Stacks the newest four frames of each game of a batch, newest last.

    The observation is uint8 `(B, height, width, 4)`. At FIRST all four are the game's first frame,
    so that a stack never reaches across a game's start; the replay buffer rebuilds stacks by the
    same rule.
    """

    def __init__(self, environment: wrappers.py_environment.PyEnvironment):
        """Wraps a batched environment whose observation is one frame per game."""
        super().__init__(environment)
        frame = environment.observation_spec()
        self._observation_spec = array_spec.BoundedArraySpec(
            (*frame.shape, STACK_FRAMES), frame.dtype, 0, 255, name="observation"
        )
        self._stack = np.zeros((environment.batch_size, *frame.shape, STACK_FRAMES), frame.dtype)

    def observation_spec(self) -> array_spec.BoundedArraySpec:
        """Four frames, uint8 `(height, width, 4)`."""
        return self._observation_spec

    def get_state(self) -> dict[str, np.ndarray]:
        """The environment's state, and `stack`, uint8 `(B, height, width, 4)`."""
        return {**self._env.get_state(), "stack": self._stack.copy()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restores what `get_state` gave.

        Raises:
            UserError: The games, brought back, do not show the frames that they showed.
        """
        self._env.set_state({name: each for name, each in state.items() if name != "stack"})
        self._stack = np.ascontiguousarray(state["stack"]).copy()
        frames = self._env.current_time_step().observation
        if not np.array_equal(frames, self._stack[..., -1]):
            raise UserError(
                "its games cannot be brought back to where the run stopped: this ale-py, its ROM "
                "or this OpenCV shows the same actions differently. Install the versions that "
                "run.json names."
            )
        self._current_time_step = self._env.current_time_step()._replace(observation=self._stack)

    def _reset(self) -> ts.TimeStep:
        return self._push(self._env.reset())

    def _step(self, action: np.ndarray) -> ts.TimeStep:
        return self._push(self._env.step(action))

    def _push(self, time_step: ts.TimeStep) -> ts.TimeStep:
        frames = time_step.observation
        # Four pixels lie side by side, as one little-endian number: all of them move on at once.
        # A new array each time: TensorFlow may still read the last one.
        words = self._stack.view("<u4")[..., 0] >> 8
        words |= frames.astype("<u4") << 24
        stack = words[..., np.newaxis].view(np.uint8)
        first = np.flatnonzero(time_step.is_first())
        stack[first] = frames[first, ..., np.newaxis]
        self._stack = stack
        return time_step._replace(observation=stack)
