"""This project as a contestant: a gin file's experiment and its training loop, without a run.

What `experiment.train` does between turns is left out, as peers are timed without theirs: files
(metrics, checkpoints and the rows written ahead for them, TensorBoard), console lines, evaluations,
signals. The numbers of a row are computed as often as in a run, and dropped.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from benchmarks import contestant
from dqn_breakout import machine
from dqn_breakout.errors import UserError

# Never reached: rounds end by time.
_BUDGET_ENV_STEPS = 10**9


def first_layer_flops(observation_shape: Sequence[int]) -> int:
    """Operations of the configured network's first layer in one forward pass: two a multiply-add.

    Args:
        observation_shape: `(height, width, channels)`.
    """
    from dqn_breakout import config

    height, width, channels = observation_shape
    filters, kernel, stride = config.value("create_q_network.conv_layers")[0]
    places = ((height - kernel) // stride + 1) * ((width - kernel) // stride + 1)
    return int(2 * kernel * kernel * channels * filters * places)


class ThisProject:
    """`experiment.build` and `training.loop.iterations`, with a run's numbers but no files.

    Attributes:
        env_steps_per_iteration: See `contestant.Contestant`.
    """

    def __init__(self, settings: dict[str, Any]):
        """Builds the experiment.

        Args:
            settings: `gin_files`, `gin_bindings`, `seed`, `threads`.

        Raises:
            UserError: The gin files or bindings are wrong.
        """
        from dqn_breakout import config, experiment, machine
        from dqn_breakout.networks.nature_cnn import forward_flops
        from dqn_breakout.training.loop import iterations
        from dqn_breakout.training.milestones import Period
        from dqn_breakout.training.progress import ProgressMeter

        config.parse(settings["gin_files"], settings["gin_bindings"])
        machine.share_threads(settings["threads"])
        with config.building():
            parts = experiment.build(settings["seed"])
        self._parts = parts
        self._fill_env_steps = parts.collector.random_fill_env_steps
        self._turns = iterations(
            parts.collector, parts.learner, lambda: parts.metrics.env_steps, _BUDGET_ENV_STEPS
        )
        self._meter = ProgressMeter(
            parts.agent, parts.metrics, parts.replay_buffer, self._fill_env_steps
        )
        self._log_period = Period(config.value("train.log_period_env_steps"), 0)
        self.env_steps_per_iteration = parts.collector.env_steps_per_iteration
        shape = parts.environment.observation_spec().shape
        self._facts = {
            "num_environments": parts.environment.batch_size,
            "replay_capacity_transitions": parts.replay_buffer.capacity_transitions,
            "forward_flops": forward_flops(parts.agent.q_network, shape[:2]),
            "first_layer_flops": first_layer_flops(shape),
        }

    def fill(self) -> dict[str, Any]:
        """Plays the random fill; its first piece, which compiles, is left out of the speed."""
        self._turn()
        env_steps, started = self._parts.metrics.env_steps, time.perf_counter()
        while self._parts.metrics.env_steps < self._fill_env_steps:
            self._turn()
        steps = self._parts.metrics.env_steps - env_steps
        seconds = time.perf_counter() - started
        self._facts["random_fill_env_steps_per_second"] = steps / seconds if steps else None
        return self._facts

    def train_until(self, deadline: float) -> None:
        """See `contestant.Contestant`."""
        while time.perf_counter() < deadline:
            self._turn()

    def counts(self) -> tuple[int, int]:
        """See `contestant.Contestant`."""
        return self._parts.metrics.env_steps, int(self._parts.agent.train_step_counter.numpy())

    def _turn(self) -> None:
        iteration = next(self._turns)
        self._meter.add(iteration)
        if self._log_period.due(iteration.env_steps):
            self._meter.row()


if __name__ == "__main__":
    contestant.serve_contestant(ThisProject, machine.versions, tell=(UserError,))
