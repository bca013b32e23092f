"""CarRacing as a stack of gray pictures: what its wrapper does before `FrameStack` stacks."""

from __future__ import annotations

from typing import Any

import cv2
import gin
import gymnasium
import numpy as np
from gymnasium import spaces

from dqn_breakout.configurable import NonNegativeInt, PositiveInt, configurable

_ROWS_OF_THE_PANEL = 12  # At the bottom, with speed and steering drawn as bars.

gymnasium.register(
    "UndrawnCarRacing-v3",
    entry_point="dqn_breakout.environments.undrawn_car_racing:UndrawnCarRacing",
)


@configurable
class CarRacingPictures(gymnasium.Wrapper[np.ndarray, int, np.ndarray, int]):
    """Gray pictures of 84x84 without the panel, an action for several frames, no opening zoom.

    Attributes:
        frame_skip: Frames in one environment step.
    """

    def __init__(
        self,
        environment: gymnasium.Env[np.ndarray, int],
        *,
        frame_skip: PositiveInt = gin.REQUIRED,
        opening_frames: NonNegativeInt = gin.REQUIRED,
    ):
        """Wraps a `CarRacing` with discrete actions; nothing is done in the opening frames."""
        super().__init__(environment)
        self.frame_skip = frame_skip
        self._opening_frames = opening_frames
        self.observation_space = spaces.Box(0, 255, (84, 84), np.uint8)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """A new track, its opening over."""
        # The last game may have ended in a frame that was not drawn.
        self.env.unwrapped.draws = True  # type: ignore[attr-defined]
        picture, info = self.env.reset(seed=seed, options=options)
        for _ in range(self._opening_frames):
            picture, *_ = self.env.step(0)
        return _gray(picture), info

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """The action in each of the frames; the last one is what is seen."""
        total = 0.0
        for frame in range(self.frame_skip):
            self.env.unwrapped.draws = frame == self.frame_skip - 1  # type: ignore[attr-defined]
            picture, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return _gray(picture), total, terminated, truncated, info


def _gray(picture: np.ndarray) -> np.ndarray:
    """uint8 `(96, 96, 3)` to `(84, 84)`: the panel below and as much at the right cut off."""
    size = len(picture) - _ROWS_OF_THE_PANEL
    left = _ROWS_OF_THE_PANEL // 2
    return cv2.cvtColor(picture[:size, left : left + size], cv2.COLOR_RGB2GRAY)
