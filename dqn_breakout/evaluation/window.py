"""Shows one evaluation game in a window, at the game's own pace."""

from __future__ import annotations

import time
from typing import Any

from dqn_breakout import config
from dqn_breakout.evaluation.protocols import EvaluationProtocol
from dqn_breakout.evaluation.shown_game import ShownGame
from dqn_breakout.evaluation.video import ALE_FRAMES_PER_SECOND


def watch_game(q_network: Any, protocol: EvaluationProtocol, seed: int) -> dict[str, Any]:
    """Plays a full game in a window; see `request.check_display`.

    Args:
        q_network: Gives action values, float32 `(B, actions)`.
        protocol: The rules.
        seed: Of the game and the random actions.

    Returns:
        `score`, unclipped, and `env_steps`.

    Raises:
        UserError: The game does not start, or a value is out of range.
    """
    seconds_per_step = config.value("create_environment.frame_skip") / ALE_FRAMES_PER_SECOND
    game = ShownGame(q_network, protocol, seed, "human")
    due = time.monotonic()
    try:
        for _ in game:
            # A late step is not made up for: the game slows down, it never jumps.
            due = max(due + seconds_per_step, time.monotonic())
            time.sleep(due - time.monotonic() if due > time.monotonic() else 0)
    finally:
        game.close()
    return {"score": game.score, "env_steps": game.env_steps}
