"""The Markov decision process of three states that the textbook's chapter draws, to be played.

Géron 2019, "Hands-On Machine Learning", 2nd edition, chapter 18, Figure 18-8. gymnasium knows it as
`ThreeStates-v0`.
"""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium import spaces

# State -> action -> (probability, next state, reward, whether it ends), as gymnasium's tables have
# it. An action that a state does not have leads nowhere.
_MODEL: dict[int, dict[int, list[tuple[float, int, float, bool]]]] = {
    0: {
        0: [(0.7, 0, 10.0, False), (0.3, 1, 0.0, False)],
        1: [(1.0, 0, 0.0, False)],
        2: [(0.8, 0, 0.0, False), (0.2, 1, 0.0, False)],
    },
    1: {0: [(1.0, 1, 0.0, False)], 1: [], 2: [(1.0, 2, -50.0, False)]},
    2: {0: [], 1: [(0.8, 0, 40.0, False), (0.1, 1, 0.0, False), (0.1, 2, 0.0, False)], 2: []},
}


class ThreeStates(gymnasium.Env[int, int]):
    """Starts in state 0 and never ends.

    An action that a state does not have leaves everything as it was, for no reward.

    Attributes:
        P: The model, as FrozenLake and Taxi have it.
    """

    metadata = {"render_modes": [], "render_fps": 4}
    P = _MODEL

    def __init__(self, render_mode: str | None = None):
        self.render_mode = render_mode
        self.observation_space: Any = spaces.Discrete(len(self.P))
        self.action_space: Any = spaces.Discrete(len(self.P[0]))
        self._state = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Back to state 0."""
        super().reset(seed=seed)
        self._state = 0
        return self._state, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """One transition."""
        outcomes = self.P[self._state][int(action)]
        if not outcomes:
            return self._state, 0.0, False, False, {}
        place = self.np_random.choice(len(outcomes), p=[each[0] for each in outcomes])
        _, self._state, reward, ends = outcomes[place]
        return self._state, reward, ends, False, {}


gymnasium.register("ThreeStates-v0", entry_point=f"{__name__}:ThreeStates")
