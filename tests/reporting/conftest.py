"""Synthetic run directories, small enough to know every number in them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def log_line(env_steps: int, /, **changes: Any) -> dict[str, Any]:
    """A log line of a run that trains from 2,000 environment steps on, its first game over then."""
    training = env_steps >= 2000
    line = {
        "env_steps": env_steps,
        "train_steps": max(0, (env_steps - 1000) // 4) if training else 0,
        "episodes": env_steps // 500 if training else 0,
        "average_return": env_steps / 1000 if training else None,
        "average_length": 180.0 if training else None,
        "loss": 0.01 if training else None,
        "mean_q": 0.5 if training else None,
        "epsilon": 0.75 if training else 1.0,
        "env_steps_per_second": 200.0 if training else 4000.0,
        "replay_transitions": env_steps,
        "wall_seconds": env_steps / 100,
    }
    return {**line, **changes}


def evaluation(mean: float, /, **changes: Any) -> dict[str, Any]:
    return {
        "games": 10,
        "mean": mean,
        "median": mean - 0.5,
        "std": 2.0,
        "ci95": [mean - 1.5, mean + 1.5],
        "human_normalised": 0.25,
        "protocol": {"name": "nature", "epsilon": 0.05},
        **changes,
    }


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a run directory and returns its path."""

    def write(
        name: str = "run",
        lines: list[dict[str, Any]] | None = None,
        evaluations: dict[int, dict[str, Any]] | None = None,
        game: str = "Breakout",
        starts: tuple[int, ...] = (0,),
        config: str = "train.total_env_steps = 10000\ncreate_environment.frame_skip = 4\n",
    ) -> Path:
        path = tmp_path / name
        (path / "evaluations").mkdir(parents=True)
        lines = lines or [log_line(steps) for steps in range(1000, 5001, 1000)]
        (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        each = [{"env_steps": n, "time": "2026-01-02", "command": f"train.py {n}"} for n in starts]
        (path / "run.json").write_text(json.dumps({"seed": 7, "game": game, "starts": each}))
        (path / "config.gin").write_text(config)
        for env_steps, scores in (evaluations or {}).items():
            content = json.dumps({"env_steps": env_steps, **scores})
            (path / "evaluations" / f"{env_steps:012d}.json").write_text(content)
        return path

    return write


@pytest.fixture
def published_csv(tmp_path: Path) -> Path:
    """Two games, two agents; the point of Space Invaders has no spread."""
    path = tmp_path / "published.csv"
    path.write_text(
        "game,encoder,agent,env_steps,mean_return,std_over_seeds,seeds\n"
        "breakout,nature_cnn,DQN,4000,8.0,1.0,5\n"
        "breakout,nature_cnn,DQN,2000,3.0,0.5,5\n"
        "breakout,nature_cnn,DQN,90000,500.0,9.0,5\n"
        "breakout,None,QR-DQN,2000,6.0,0.5,4\n"
        "breakout,impala_cnn,DQN,2000,9.0,0.5,5\n"
        "space_invaders,nature_cnn,DQN,2000,100.0,,5\n"
    )
    return path
