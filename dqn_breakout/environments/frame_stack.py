"""The newest frames as one observation (Mnih et al. 2015, Methods, "Preprocessing")."""

from __future__ import annotations

import numpy as np
from tf_agents.environments import wrappers
from tf_agents.specs import array_spec
from tf_agents.trajectories import time_step as ts

STACK_FRAMES = 4


class FrameStack(wrappers.PyEnvironmentBaseWrapper):
    """Stacks the newest frames of each game of a batch, newest last.

    The observation is `(B, height, width, length)`. At FIRST all are the game's first frame, so
    that a stack never reaches across a game's start; the replay buffer rebuilds stacks by the same
    rule.
    """

    def __init__(self, environment: wrappers.py_environment.PyEnvironment, length: int):
        """Wraps a batched environment whose observation is one frame per game."""
        super().__init__(environment)
        frame = environment.observation_spec()
        self._observation_spec = array_spec.BoundedArraySpec(
            (*frame.shape, length),
            frame.dtype,
            np.min(frame.minimum),
            np.max(frame.maximum),
            "observation",
        )
        self._stack = np.zeros((environment.batch_size, *frame.shape, length), frame.dtype)

    def observation_spec(self) -> array_spec.BoundedArraySpec:
        """Frames, `(height, width, length)`."""
        return self._observation_spec

    def get_state(self) -> dict[str, np.ndarray]:
        """The environment's state, and `stack`, `(B, height, width, length)`."""
        return {**self._env.get_state(), "stack": self._stack.copy()}

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Restores what `get_state` gave."""
        self._env.set_state({name: each for name, each in state.items() if name != "stack"})
        self._stack = np.ascontiguousarray(state["stack"]).copy()
        self._current_time_step = self._env.current_time_step()._replace(observation=self._stack)

    def _reset(self) -> ts.TimeStep:
        return self._push(self._env.reset())

    def _step(self, action: np.ndarray) -> ts.TimeStep:
        return self._push(self._env.step(action))

    def _push(self, time_step: ts.TimeStep) -> ts.TimeStep:
        frames = time_step.observation
        # A new array each time: TensorFlow may still read the last one.
        stack = self._moved_on(frames)
        first = np.flatnonzero(time_step.is_first())
        stack[first] = frames[first, ..., np.newaxis]
        self._stack = stack
        return time_step._replace(observation=stack)

    def _moved_on(self, frames: np.ndarray) -> np.ndarray:
        """The stacks without their oldest frames and with these, in a new array."""
        return np.concatenate([self._stack[..., 1:], frames[..., np.newaxis]], axis=-1)


class FrameStack4(FrameStack):
    """Four frames of bytes, as Atari's (Mnih et al. 2015): `FrameStack` of 4, and faster."""

    def __init__(self, environment: wrappers.py_environment.PyEnvironment):
        """Wraps a batched environment whose observation is one frame of bytes per game."""
        super().__init__(environment, STACK_FRAMES)

    def _moved_on(self, frames: np.ndarray) -> np.ndarray:
        # Four pixels lie side by side, as one little-endian number: all of them move on at once.
        words = self._stack.view("<u4")[..., 0] >> 8
        words |= frames.astype("<u4") << 24
        return words[..., np.newaxis].view(np.uint8)
