"""Stable-Baselines3's DQN on PyTorch's CPU build, with its own Atari wrappers.

Runs in the peers' environment (`make bench` makes it). Settings as in RL Baselines3 Zoo for Atari,
but for these:

- batch, ratio, replay size and random fill, which all contestants share;
- epsilon, the final one from the start: with a high epsilon most actions need no forward pass;
- `target_update_interval`, 8,000 environment steps as with the others (the Zoo: 10,000, 1,000);
- `optimize_memory_usage`, which the Zoo leaves off: observations are stored once instead of twice,
  as they must be for a million transitions to fit a common machine.
"""

from __future__ import annotations

import time
from importlib import metadata
from typing import Any

import ale_py
import gymnasium
import torch
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_atari_env
from stable_baselines3.common.vec_env import VecFrameStack

from benchmarks import contestant

_PACKAGES = ("ale-py", "gymnasium", "numpy", "stable-baselines3", "torch")


class StopAtDeadline(BaseCallback):
    """Ends `learn` once the time is over, at the step after an update."""

    deadline = float("inf")
    _steps_since_update = 0

    def _on_rollout_start(self) -> None:
        self._steps_since_update = 0

    def _on_step(self) -> bool:
        self._steps_since_update += 1
        return self._steps_since_update > 1 or time.perf_counter() < self.deadline


class StableBaselines3(contestant.Contestant):
    """`DQN("CnnPolicy", ...)` and its `learn`."""

    def __init__(self, settings: dict[str, Any]):
        """Builds environment and model from the settings of `throughput`."""
        gymnasium.register_envs(ale_py)
        torch.set_num_threads(settings["threads"])
        self.env_steps_per_iteration = settings["env_steps_per_update"]
        self._transitions = settings["replay_transitions"]
        self._callback = StopAtDeadline()
        # NoFrameskip-v4: no sticky actions; the wrappers skip frames themselves.
        games = make_atari_env("BreakoutNoFrameskip-v4", n_envs=1, seed=settings["seed"])
        self._model = DQN(
            "CnnPolicy",
            VecFrameStack(games, n_stack=4),
            learning_rate=1e-4,
            buffer_size=self._transitions,
            learning_starts=self._transitions,
            batch_size=settings["batch_size"],
            train_freq=settings["env_steps_per_update"],
            gradient_steps=1,
            target_update_interval=8_000,
            exploration_initial_eps=settings["epsilon"],
            exploration_final_eps=settings["epsilon"],
            optimize_memory_usage=True,
            # Does not go with it; the two together are refused.
            replay_buffer_kwargs={"handle_timeout_termination": False},
            seed=settings["seed"],
            device="cpu",
            verbose=0,
        )

    def fill(self) -> dict[str, Any]:
        """See `contestant.Contestant`."""
        self._model.learn(self._transitions, log_interval=1_000_000)
        return {
            "num_environments": 1,
            "replay_capacity_transitions": self._transitions,
            "versions": {package: metadata.version(package) for package in _PACKAGES},
        }

    def train_until(self, deadline: float) -> None:
        """See `contestant.Contestant`."""
        self._callback.deadline = deadline
        self._model.learn(
            10**9, callback=self._callback, log_interval=1_000_000, reset_num_timesteps=False
        )

    def counts(self) -> tuple[int, int]:
        """See `contestant.Contestant`."""
        return self._model.num_timesteps, self._model._n_updates


if __name__ == "__main__":
    contestant.serve(StableBaselines3)
