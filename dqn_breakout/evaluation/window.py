"""Shows one evaluation game in a window, at the game's own pace."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from dqn_breakout.errors import UserError
from dqn_breakout.evaluation.protocols import EvaluationProtocol, configured
from dqn_breakout.evaluation.shown_game import ShownGame
from dqn_breakout.evaluation.video import ALE_FRAMES_PER_SECOND


def check_display() -> None:
    """Makes sure that a window would be seen.

    Raises:
        UserError: There is no display.
    """
    # Without one the emulator would draw to nowhere and not complain. Who names a video driver
    # knows what they do.
    named = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in named):
        raise UserError(
            "There is no display to open a window on (neither DISPLAY nor WAYLAND_DISPLAY is set). "
            "Record the game instead, with --video=game.mp4."
        )


def watch_game(q_network: Any, protocol: EvaluationProtocol, seed: int) -> dict[str, Any]:
    """Plays a full game in a window.

    Args:
        q_network: Gives action values, float32 `(B, actions)`.
        protocol: The rules.
        seed: Of the game and the random actions.

    Returns:
        `return` and `length_env_steps`.

    Raises:
        UserError: There is no display, or a value is out of range.
    """
    check_display()
    seconds_per_step = configured("create_environment.frame_skip") / ALE_FRAMES_PER_SECOND
    game = ShownGame(q_network, protocol, seed, "human")
    score, env_steps = 0.0, 0
    due = time.monotonic()
    try:
        for step in game:
            score, env_steps = step.score, step.env_steps
            # A late step is not made up for: the game slows down, it never jumps.
            due = max(due + seconds_per_step, time.monotonic())
            time.sleep(due - time.monotonic() if due > time.monotonic() else 0)
    finally:
        game.close()
    return {"return": score, "length_env_steps": env_steps}
