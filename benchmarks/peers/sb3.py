"""Stable-Baselines3's DQN on PyTorch's CPU build, with its own Atari wrappers.

Runs in the peers' environment (`make bench` makes it). Settings as in RL Baselines3 Zoo for Atari,
but for these:

- batch, ratio, replay size and random fill, which all contestants share;
- epsilon, the final one from the start: with a high epsilon most actions need no forward pass;
- `target_update_interval`, 8,000 environment steps, as often as the other contestants copy (the Zoo
  has had 10,000 and 1,000): a copy is a small part of a second;
- `optimize_memory_usage`, which the Zoo leaves off: observations are stored once instead of twice,
  as they must be for a million transitions to fit a common machine.
"""

from __future__ import annotations

import os
import platform
import time
from importlib import metadata
from typing import Any

from benchmarks import contestant

_TARGET_UPDATE_ENV_STEPS = 8_000
_EPSILON = 0.01
_PACKAGES = ("ale-py", "gymnasium", "numpy", "stable-baselines3", "torch")


class StableBaselines3:
    """`DQN("CnnPolicy", ...)` and its `learn`.

    Attributes:
        env_steps_per_iteration: See `contestant.Contestant`.
    """

    def __init__(self, settings: dict[str, Any]):
        """Builds environment and model.

        Args:
            settings: `batch_size`, `env_steps_per_update`, `replay_transitions`, `seed`, `threads`.
        """
        import ale_py
        import gymnasium
        import torch
        from stable_baselines3 import DQN
        from stable_baselines3.common.callbacks import BaseCallback
        from stable_baselines3.common.env_util import make_atari_env
        from stable_baselines3.common.vec_env import VecFrameStack

        gymnasium.register_envs(ale_py)
        torch.set_num_threads(settings["threads"] or os.cpu_count() or 1)
        self.env_steps_per_iteration = settings["env_steps_per_update"]
        self._transitions = settings["replay_transitions"]
        # NoFrameskip-v4: no sticky actions; the wrappers skip frames themselves.
        environment = VecFrameStack(
            make_atari_env("BreakoutNoFrameskip-v4", n_envs=1, seed=settings["seed"]), n_stack=4
        )
        self._model = DQN(
            "CnnPolicy",
            environment,
            learning_rate=1e-4,
            buffer_size=self._transitions,
            learning_starts=self._transitions,
            batch_size=settings["batch_size"],
            train_freq=settings["env_steps_per_update"],
            gradient_steps=1,
            target_update_interval=_TARGET_UPDATE_ENV_STEPS,
            exploration_initial_eps=_EPSILON,
            exploration_final_eps=_EPSILON,
            optimize_memory_usage=True,
            # Does not go with it; the two together are refused.
            replay_buffer_kwargs={"handle_timeout_termination": False},
            seed=settings["seed"],
            device="cpu",
            verbose=0,
        )

        class StopAtDeadline(BaseCallback):
            """Ends `learn` once the time is over, at the step after an update."""

            deadline = 0.0
            _steps_since_update = 0

            def _on_rollout_start(self) -> None:
                self._steps_since_update = 0

            def _on_step(self) -> bool:
                self._steps_since_update += 1
                return self._steps_since_update > 1 or time.perf_counter() < self.deadline

        self._callback = StopAtDeadline()

    def fill(self) -> dict[str, Any]:
        """See `contestant.Contestant`."""
        self._model.learn(self._transitions, log_interval=1_000_000)
        return {"num_environments": 1, "replay_capacity_transitions": self._transitions}

    def train_until(self, deadline: float) -> None:
        """See `contestant.Contestant`."""
        self._callback.deadline = deadline
        self._model.learn(
            10**9, callback=self._callback, log_interval=1_000_000, reset_num_timesteps=False
        )

    def counts(self) -> tuple[int, int]:
        """See `contestant.Contestant`."""
        return self._model.num_timesteps, self._model._n_updates


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in _PACKAGES},
    }


if __name__ == "__main__":
    contestant.serve_contestant(StableBaselines3, _versions)
