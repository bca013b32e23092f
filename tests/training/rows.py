"""A row of numbers such as a run shows."""

from __future__ import annotations

from typing import Any

from dqn_breakout.training.progress import Row


def row(env_steps: int, **changes: Any) -> Row:
    return {
        "env_steps": env_steps,
        "train_steps": env_steps // 4,
        "episodes": 1_234,
        "average_return": 12.3456,
        "average_length": 60.0,
        "loss": 0.25,
        "mean_q": 0.75,
        "gradient_norm": 2.0,
        "epsilon": 0.5,
        "env_steps_per_second": 250.0,
        "replay_transitions": env_steps,
        "wall_seconds": 4.0,
        "checkpoint_seconds": None,
        **changes,
    }
