"""CarRacing that draws only what is looked at; apart, since it loads Box2D."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.envs.box2d.car_racing import CarRacing


class UndrawnCarRacing(CarRacing):
    """CarRacing that draws in a step where `draws` says so: that takes nearly all of its time."""

    draws = True
    _picture: np.ndarray

    def _render(self, mode: str) -> Any:
        if mode != "state_pixels":
            return super()._render(mode)
        if self.draws:
            self._picture = super()._render(mode)
        return self._picture
