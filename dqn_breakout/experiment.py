"""The composition root: builders in, one run out."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gin
from tf_agents.environments.tf_py_environment import TFPyEnvironment

# What gin may name is registered by being imported.
from dqn_breakout import errors
from dqn_breakout.agents import dqn_agent, optimizers, q_learning  # noqa: F401
from dqn_breakout.agents.exploration import Clock
from dqn_breakout.collection.metrics import CollectionMetrics
from dqn_breakout.configurable import Builder, configurable, require
from dqn_breakout.environments import (  # noqa: F401
    car_racing,
    gymnasium_games,
    python_games,
    three_states,
    vector_games,
)
from dqn_breakout.environments.builder import create_environment
from dqn_breakout.environments.spec import EnvironmentSpec
from dqn_breakout.errors import UserError
from dqn_breakout.evaluation import evaluate as evaluation
from dqn_breakout.evaluation import protocols, video
from dqn_breakout.learning import (  # noqa: F401
    episode_learning,
    online_learning,
    replay_learning,
    table_updates,
)
from dqn_breakout.learning.divergence import Divergence
from dqn_breakout.learning.learning import Learning, turns
from dqn_breakout.networks import nature_cnn, q_table  # noqa: F401
from dqn_breakout.networks.weights import weights_sha256
from dqn_breakout.replay import replay_buffer  # noqa: F401
from dqn_breakout.runs import record
from dqn_breakout.runs.checkpoint import RunCheckpointer
from dqn_breakout.runs.directory import RunDirectory
from dqn_breakout.training import console, estimate, hooks
from dqn_breakout.training.milestones import Milestones, Schedule
from dqn_breakout.training.progress import ProgressMeter
from dqn_breakout.training.signals import StopSignals


@dataclasses.dataclass(frozen=True)
class Experiment:
    """All the parts of a run, built from gin and wired together."""

    seed: int
    environment: TFPyEnvironment
    metrics: CollectionMetrics
    agent: Any
    learning: Learning

    def weights_sha256(self) -> str:
        """The network's weights as one short name."""
        return weights_sha256(self.agent.network_variables().values())


@configurable
def build(
    seed: int,
    ignore_memory: bool = False,
    *,
    agent: Builder = gin.REQUIRED,
    learning: Builder = gin.REQUIRED,
) -> Experiment:
    """Builds every part that gin describes, in the order in which data flows.

    Args:
        seed: The run's seed.
        ignore_memory: Whether to go on even if replay cannot fit this machine's memory.
        agent: Builder of who acts and is trained, such as `@create_agent`.
        learning: Builder of how it is trained, such as `@ReplayLearning`.

    Raises:
        UserError: A binding is missing or out of range, or memory is too small.
    """
    environment = create_environment(seed, "collection")
    metrics = CollectionMetrics(environment.batch_size)

    clock = Clock(
        # Asked only when the agent acts, and by then there is a way of learning.
        explored_env_steps=lambda: metrics.env_steps_variable - built.random_fill_env_steps,
        episodes=lambda: metrics.episodes_variable,
    )
    acting = agent(environment.time_step_spec(), environment.action_spec(), clock, seed)
    built: Learning = learning(environment, acting, metrics, seed, ignore_memory)
    return Experiment(seed, environment, metrics, acting, built)


def train(
    run_dir: str | os.PathLike[str], seed: int | None = None, *, ignore_memory: bool = False
) -> int:
    """Trains in `run_dir`, from the start or from where the run there stopped.

    Args:
        run_dir: Where the run lives.
        seed: The run's seed; None for the seed of the run that is there, 1 in a new run.
        ignore_memory: Whether to start even if replay cannot fit this machine's memory.

    Returns:
        The process's exit code: 0 when the budget is spent, 128 + signal after a stop.

    Raises:
        UserError: A value is out of range, the run directory cannot be used, a file cannot be
            written, or training has diverged.
    """
    schedule = Schedule()
    run = RunDirectory(run_dir)
    with (
        record.locked(run) as lock,
        StopSignals() as stop,
        contextlib.ExitStack() as closing,
    ):
        parts = build(record.settle_seed(run, seed), ignore_memory)
        closing.enter_context(_failures_told(run, parts))
        closing.callback(parts.learning.close)
        fill = parts.learning.random_fill_env_steps
        require(
            schedule.total_env_steps > fill,
            "train.total_env_steps",
            f"is {schedule.total_env_steps:,}, but the random fill alone takes {fill:,} "
            "environment steps; give more.",
        )
        operative_config = record.check_config(run)
        checkpointer = RunCheckpointer(
            run, parts.learning.parts, parts.learning.rows, parts.seed, schedule.keep_checkpoints
        )
        closing.callback(checkpointer.close)
        for sentence in checkpointer.restore_newest():
            console.tell(f"Damaged checkpoint left out: {sentence}.")
        milestones = _milestones(parts, schedule, checkpointer, lock, stop)
        closing.callback(milestones.close)
        if milestones.nothing_left():
            console.tell(console.end(run, parts.learning.env_steps, None))
            return 0
        _record_and_tell_start(run, parts, operative_config, schedule.total_env_steps)
        # Until now there was nothing to save, and a signal ended the process at once.
        stop.catch()
        goes_on = milestones.make_up()
        ahead = turns(parts.learning, schedule.total_env_steps)
        while goes_on and (turn := next(ahead, None)) is not None:
            goes_on = milestones.after(turn)
    stopped_by = stop.received.name if stop.received is not None else None
    if result := parts.learning.result():
        console.tell(result)
    console.tell(console.end(run, parts.learning.env_steps, stopped_by))
    return stop.exit_code


def _milestones(
    parts: Experiment,
    schedule: Schedule,
    checkpointer: RunCheckpointer,
    lock: record.Lock,
    stop: StopSignals,
) -> Milestones:
    """Everything that a run leaves behind, wired to its parts."""
    env_steps = parts.learning.env_steps
    meter = ProgressMeter(parts.metrics, parts.learning.metric_names, parts.learning.status)
    spec: EnvironmentSpec = parts.environment.pyenv.spec
    protocol = protocols.of_environment(spec, schedule.evaluation_protocol)
    evaluate = functools.partial(
        evaluation.evaluate_agent,
        parts.agent,
        protocol,
        schedule.evaluation_games,
        parts.seed,
        parts.environment.batch_size,
        each_step=stop.check,
    )

    def record_video(path: Path) -> None:
        video.record_game(
            parts.agent,
            path,
            protocol,
            parts.seed,
            max_seconds=schedule.evaluation_video_seconds,
            caption=f"after {parts.learning.env_steps:,} steps",
            each_step=stop.check,
        )

    recorder = record_video if schedule.evaluation_video_seconds else None
    return Milestones(
        schedule=schedule,
        meter=meter,
        checkpointer=checkpointer,
        weights_sha256=parts.weights_sha256,
        hooks=[
            console.ConsoleHook(
                schedule.total_env_steps, env_steps, parts.learning.random_fill_env_steps
            ),
            hooks.TensorBoardHook(lock.run),
            hooks.MetricsFileHook(lock.run, checkpointer.restored_counters),
        ],
        evaluation=hooks.EvaluationHook(lock, evaluate, recorder, meter.pause),
        lock=lock,
        stop=stop,
    )


def _record_and_tell_start(
    run: RunDirectory, parts: Experiment, operative_config: str, total_env_steps: int
) -> None:
    """Adds this start to the run's record, and says what will happen."""
    changes = record.changes_since_last_start(run)
    if changes:
        console.tell(
            f"Not as at this run's last start: {'; '.join(changes)}. It goes on, but perhaps not "
            "to the bit as it would have there."
        )
    spec: EnvironmentSpec = parts.environment.pyenv.spec
    env_steps = parts.learning.env_steps
    record.record_start(run, parts.seed, spec.name, env_steps, operative_config)
    console.tell(
        console.plan(
            spec,
            run,
            parts.seed,
            parts.environment.batch_size,
            parts.learning.plan(),
            env_steps,
            total_env_steps,
            estimate.env_steps_per_second(parts.learning.flops_per_env_step()),
        )
    )


@contextlib.contextmanager
def _failures_told(run: RunDirectory, parts: Experiment) -> Iterator[None]:
    """Says in a sentence what ended training: it has diverged, or a file could not be written."""
    try:
        yield
    except Divergence as divergence:
        path = run.diverged_npz(divergence.train_step)
        try:
            divergence.write(path)
            kept = f"is kept in {path}"
        except OSError as error:
            kept = f"could not be kept ({errors.cause(error)})"
        raise UserError(
            f"Training diverged at train step {divergence.train_step:,} "
            f"({parts.learning.env_steps:,} environment steps): {divergence.reason}. The batch "
            f"{kept}; checkpoints written before are sound. {divergence.mend}."
        ) from divergence
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise UserError(
            f"A file could not be read or written at {parts.learning.env_steps:,} environment "
            f"steps ({errors.cause(error)}). Checkpoints written before are sound; "
            f"{'make room' if full else 'mend that'} and start the same command again."
        ) from error
