"""What the rest of the project asks of an environment, whichever it is."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class EnvironmentSpec:
    """An environment's facts, handed on by `create_environment` as `environment.pyenv.spec`.

    Attributes:
        name: What it is called, such as "Breakout".
        action_names: The name of each action.
        frame_skip: Emulator frames in one environment step; 1 where there is no emulator.
        steps_per_second: Environment steps in a second of the game's own pace.
        random_and_human: Published scores of a random player and a human; None where there are
            none.
        protocols: Names of the evaluation protocols that mean something there, the usual one first.
        rules: What a score depends on, fit for JSON.
        stacked: Whether the last axis of an observation is time, oldest first.
    """

    name: str
    action_names: tuple[str, ...]
    frame_skip: int
    steps_per_second: float
    random_and_human: tuple[float, float] | None
    protocols: tuple[str, ...]
    rules: dict[str, Any]
    stacked: bool = False
