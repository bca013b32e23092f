"""The composition root: builders in, one run out."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gin
import tensorflow as tf
from tf_agents.environments.tf_py_environment import TFPyEnvironment

from dqn_breakout import config, errors, limits
from dqn_breakout.agents.dqn_agent import ClippedDqnAgent
from dqn_breakout.agents.exploration import RandomPolicy
from dqn_breakout.collection.collector import Collector, create_collector
from dqn_breakout.collection.metrics import CollectionMetrics
from dqn_breakout.environments import python_games, vector_games  # noqa: F401  (registers them)
from dqn_breakout.environments.builder import create_environment
from dqn_breakout.errors import UserError
from dqn_breakout.evaluation import evaluate as evaluation
from dqn_breakout.evaluation import protocols, video
from dqn_breakout.networks.fingerprint import weights_sha256
from dqn_breakout.networks.nature_cnn import forward_flops
from dqn_breakout.replay.frame_replay_buffer import FrameReplayBuffer
from dqn_breakout.runs import record
from dqn_breakout.runs.checkpoint import RunCheckpointer
from dqn_breakout.runs.directory import RunDirectory
from dqn_breakout.runs.files import write_json
from dqn_breakout.training import console, estimate, hooks
from dqn_breakout.training.divergence import Divergence
from dqn_breakout.training.learner import Learner, create_learner
from dqn_breakout.training.loop import iterations
from dqn_breakout.training.milestones import NOTHING, Milestones, Owed, Schedule, Writing
from dqn_breakout.training.progress import ProgressMeter, Row
from dqn_breakout.training.signals import StopSignals


@dataclasses.dataclass(frozen=True)
class Experiment:
    """All the parts of a run, built from gin and wired together."""

    environment: TFPyEnvironment
    agent: ClippedDqnAgent
    replay_buffer: FrameReplayBuffer
    metrics: CollectionMetrics
    collector: Collector
    learner: Learner


@gin.configurable
def build(
    seed: int,
    ignore_memory: bool = False,
    *,
    q_network: Callable[..., Any] = gin.REQUIRED,
    agent: Callable[..., Any] = gin.REQUIRED,
    replay_buffer: Callable[..., Any] = gin.REQUIRED,
) -> Experiment:
    """Builds every part that gin describes, in the order in which data flows.

    Args:
        seed: The run's seed.
        ignore_memory: Whether to go on even if the replay buffer cannot fit this machine's memory.
        q_network: Builder of the network: `@create_q_network` or one with its arguments.
        agent: Builder of the agent: `@create_agent` or one with its arguments.
        replay_buffer: Builder of the buffer: `@create_replay_buffer` or one with its arguments.

    Raises:
        UserError: A binding is missing or out of range, or memory is too small.
    """
    for name, builder in (
        ("q_network", q_network),
        ("agent", agent),
        ("replay_buffer", replay_buffer),
    ):
        limits.builder(f"build.{name}", builder, f"@create_{name}")
    environment = create_environment(seed, "collection")
    metrics = CollectionMetrics(environment.batch_size)
    env_steps = metrics.env_steps_variable
    network = q_network(environment.observation_spec(), environment.action_spec(), seed)

    def explored_env_steps() -> tf.Tensor:
        # Asked only when the agent acts, and by then there is a collector.
        return env_steps - collector.random_fill_env_steps

    time_step_spec, action_spec = environment.time_step_spec(), environment.action_spec()
    learning_agent = agent(time_step_spec, action_spec, network, explored_env_steps, seed)
    buffer = replay_buffer(
        learning_agent.collect_data_spec, environment.batch_size, seed, ignore_memory
    )
    collector: Collector = create_collector(
        environment,
        RandomPolicy(time_step_spec, action_spec, seed, "collection/random fill"),
        learning_agent.collect_policy,
        buffer.add_batch,
        metrics.observers,
    )
    learner = create_learner(learning_agent, buffer)
    return Experiment(environment, learning_agent, buffer, metrics, collector, learner)


@gin.configurable
def train(
    run_dir: str | os.PathLike[str],
    seed: int | None = None,
    *,
    ignore_memory: bool = False,
    total_env_steps: int = gin.REQUIRED,
    log_period_env_steps: int = gin.REQUIRED,
    checkpoint_period_env_steps: int = gin.REQUIRED,
    keep_checkpoints: int = gin.REQUIRED,
    evaluation_period_env_steps: int = gin.REQUIRED,
    evaluation_games: int = gin.REQUIRED,
    evaluation_protocol: str = gin.REQUIRED,
    evaluation_video_seconds: int = gin.REQUIRED,
    go_on_without_checkpoints: bool = gin.REQUIRED,
) -> int:
    """Trains in `run_dir`, from the start or from where the run there stopped.

    Args:
        run_dir: Where the run lives.
        seed: The run's seed; None for the seed of the run that is there, 1 in a new run.
        ignore_memory: Whether to start even if the replay buffer cannot fit this machine's memory.
        total_env_steps: The budget in environment steps, random fill included.
        log_period_env_steps: Environment steps between rows of numbers.
        checkpoint_period_env_steps: Environment steps between checkpoints.
        keep_checkpoints: How many checkpoints stay on disk.
        evaluation_period_env_steps: Environment steps between evaluations.
        evaluation_games: Full games of an evaluation.
        evaluation_protocol: Name of the evaluation's protocol.
        evaluation_video_seconds: Seconds of a game to record at each evaluation; 0 for no video.
        go_on_without_checkpoints: Whether to train on where a file cannot be written (a full disk,
            a directory that is gone) instead of stopping; the next is tried when it is due. The
            last checkpoint must succeed.

    Returns:
        The process's exit code: 0 when the budget is spent, 128 + signal after a stop.

    Raises:
        UserError: A value is out of range, the run directory cannot be used, a file cannot be
            written, or training has diverged.
    """
    for name, value in (
        ("total_env_steps", total_env_steps),
        ("log_period_env_steps", log_period_env_steps),
        ("checkpoint_period_env_steps", checkpoint_period_env_steps),
        ("keep_checkpoints", keep_checkpoints),
        ("evaluation_period_env_steps", evaluation_period_env_steps),
        ("evaluation_games", evaluation_games),
    ):
        limits.positive_int(f"train.{name}", value)
    limits.non_negative_int("train.evaluation_video_seconds", evaluation_video_seconds)
    limits.boolean("train.go_on_without_checkpoints", go_on_without_checkpoints)
    protocol = protocols.by_name(evaluation_protocol)
    run = RunDirectory(run_dir)
    schedule = Schedule(
        total_env_steps,
        log_period_env_steps,
        checkpoint_period_env_steps,
        evaluation_period_env_steps,
    )
    with (
        record.locked(run) as lock,
        StopSignals() as stop,
        contextlib.ExitStack() as closing,
    ):
        seed = record.settle_seed(run, seed)
        parts = build(seed, ignore_memory)
        closing.enter_context(_failures_told(run, parts.metrics))
        closing.callback(parts.collector.close)
        fill = parts.collector.random_fill_env_steps
        limits.require(
            total_env_steps > fill,
            "train.total_env_steps",
            f"is {total_env_steps:,}, but the random fill alone takes {fill:,} environment steps; "
            "give more.",
        )
        operative_config = record.check_config(run)
        checkpointer = RunCheckpointer(
            run,
            parts.agent,
            parts.replay_buffer,
            parts.collector,
            parts.metrics,
            seed,
            keep_checkpoints,
        )
        closing.callback(checkpointer.close)
        for sentence in checkpointer.restore_newest():
            console.tell(f"Damaged checkpoint left out: {sentence}.")
        env_steps = parts.metrics.env_steps
        metrics_file = hooks.MetricsFileHook(run, env_steps)
        owed = Owed.at(run, checkpointer.restored_counters, metrics_file.last_env_steps)
        meter = ProgressMeter(parts.agent, parts.metrics, parts.replay_buffer, fill)

        def write_summary(row: Row) -> None:
            speed = meter.overall_env_steps_per_second
            write_json(run.summary_json, _summary(parts, row, speed))

        if env_steps >= total_env_steps:
            if not _summary_is_of(run, parts):
                write_summary(meter.row())
            if owed == NOTHING:
                console.tell(console.end(run, env_steps, None))
                return 0
        changes = record.changes_since_last_start(run)
        if changes:
            console.tell(
                f"Not as at this run's last start: {'; '.join(changes)}. It goes on, but perhaps "
                "not to the bit as it would have there."
            )
        game = config.value("create_environment.game")
        record.record_start(run, seed, game, env_steps, operative_config)
        console.tell(_plan(run, parts, seed, game, total_env_steps))
        writing = Writing(goes_on=go_on_without_checkpoints)
        play = functools.partial(
            evaluation.evaluate_network,
            parts.agent.q_network,
            protocol,
            evaluation_games,
            seed,
            parts.environment.batch_size,
            each_step=stop.check,
        )
        film = functools.partial(
            _record_game, parts, protocol, seed, evaluation_video_seconds, stop.check
        )
        evaluation_hook = hooks.EvaluationHook(
            run, play, film if evaluation_video_seconds else None, meter.pause
        )
        row_hooks: list[hooks.Hook] = [
            console.ConsoleHook(total_env_steps, env_steps),
            hooks.TensorBoardHook(run),
            metrics_file,
        ]
        for each in (evaluation_hook, *row_hooks):
            closing.callback(writing.close, each)
        milestones = Milestones(
            schedule,
            env_steps,
            meter=meter,
            checkpointer=checkpointer,
            write_summary=write_summary,
            hooks=row_hooks,
            evaluation=evaluation_hook,
            lock=lock,
            stop=stop,
            writing=writing,
        )
        # Until now there was nothing to save, and a signal ended the process at once.
        stop.catch()
        goes_on = milestones.make_up(owed)
        turns = iterations(
            parts.collector, parts.learner, lambda: parts.metrics.env_steps, total_env_steps
        )
        while goes_on and (iteration := next(turns, None)) is not None:
            goes_on = milestones.after(iteration)
    stopped_by = stop.received.name if stop.received is not None else None
    console.tell(console.end(run, parts.metrics.env_steps, stopped_by))
    return stop.exit_code


@contextlib.contextmanager
def _failures_told(run: RunDirectory, metrics: CollectionMetrics) -> Iterator[None]:
    """Says in a sentence what ended training.

    Raises:
        UserError: Training has diverged, or a file could not be written.
    """
    try:
        yield
    except Divergence as divergence:
        try:
            kept = f"is kept in {divergence.write(run)}"
        except OSError as error:
            kept = f"could not be kept ({errors.cause(error)})"
        raise UserError(
            f"Training diverged at train step {divergence.train_step:,} "
            f"({metrics.env_steps:,} environment steps): {divergence.reason}. The batch "
            f"{kept}; checkpoints written before are sound. Try a lower "
            "create_optimizer.learning_rate in another --run_dir."
        ) from divergence
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise UserError(
            f"A file could not be read or written at {metrics.env_steps:,} environment steps "
            f"({errors.cause(error)}). Checkpoints written before are sound; "
            f"{'make room' if full else 'mend that'} and start the same command again."
        ) from error


def _summary_is_of(run: RunDirectory, parts: Experiment) -> bool:
    """Whether summary.json tells of the run as it stands; a kill may have come before it."""
    try:
        summary = json.loads(run.summary_json.read_text())
    except (OSError, ValueError, RecursionError):
        return False
    if not isinstance(summary, dict):
        return False
    weights = weights_sha256(parts.agent.q_network.variables)
    found = (summary.get("env_steps"), summary.get("weights_sha256"))
    return found == (parts.metrics.env_steps, weights)


def _record_game(
    parts: Experiment,
    protocol: protocols.EvaluationProtocol,
    seed: int,
    max_seconds: int,
    each_step: Callable[[], None],
    path: Path,
) -> None:
    video.record_game(
        parts.agent.q_network,
        path,
        protocol,
        seed,
        max_seconds=max_seconds,
        caption=f"after {parts.metrics.env_steps:,} steps",
        each_step=each_step,
    )


def _summary(parts: Experiment, row: Row, speed: float) -> dict[str, Any]:
    return {
        "env_steps": row.env_steps,
        "train_steps": row.train_steps,
        "episodes": row.episodes,
        "env_steps_per_second": speed,
        "average_return": row.average_return,
        "average_length_env_steps": row.average_length,
        "epsilon": row.epsilon,
        "weights_sha256": weights_sha256(parts.agent.q_network.variables),
    }


def _plan(run: RunDirectory, parts: Experiment, seed: int, game: str, total: int) -> str:
    flops = forward_flops(parts.agent.q_network, parts.environment.observation_spec().shape[:2])
    replay = parts.replay_buffer
    return console.plan(
        game=game,
        seed=seed,
        run=run,
        num_environments=parts.environment.batch_size,
        replay_transitions=replay.capacity_transitions,
        replay_bytes=replay.capacity_bytes,
        env_steps=parts.metrics.env_steps,
        total_env_steps=total,
        frame_skip=config.value("create_environment.frame_skip"),
        guessed_env_steps_per_second=estimate.env_steps_per_second(
            flops, parts.learner.batch_size, parts.learner.env_steps_per_train_step
        ),
    )
