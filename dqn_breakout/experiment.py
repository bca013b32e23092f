"""The composition root: builders in, one run out."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import gin
import psutil
import tensorflow as tf
from tf_agents.environments.tf_py_environment import TFPyEnvironment

from dqn_breakout import config
from dqn_breakout.agents.dqn_agent import ClippedDqnAgent, create_agent
from dqn_breakout.agents.exploration import RandomPolicy
from dqn_breakout.collection.collector import Collector, create_collector
from dqn_breakout.collection.metrics import CollectionMetrics
from dqn_breakout.environments import python_games, vector_games  # noqa: F401  (registers them)
from dqn_breakout.environments.builder import create_environment
from dqn_breakout.errors import UserError
from dqn_breakout.evaluation import evaluate as evaluation
from dqn_breakout.evaluation import protocols
from dqn_breakout.networks.fingerprint import weights_sha256
from dqn_breakout.networks.nature_cnn import create_q_network
from dqn_breakout.replay.frame_replay_buffer import (
    FrameReplayBuffer,
    create_replay_buffer,
)
from dqn_breakout.run_directory import RunDirectory, write_json
from dqn_breakout.training import hooks
from dqn_breakout.training.checkpoint import RunCheckpointer
from dqn_breakout.training.learner import Learner, create_learner
from dqn_breakout.training.loop import iterations
from dqn_breakout.training.progress import ProgressMeter, Row
from dqn_breakout.training.signals import StopSignals

# Bindings that may change when a run goes on: they decide how long and how closely watched it is,
# not what it learns.
_MAY_CHANGE = (
    "train.total_env_steps",
    "train.log_period_env_steps",
    "train.checkpoint_period_env_steps",
    "train.keep_checkpoints",
    "train.evaluation_period_env_steps",
    "train.evaluation_games",
    "train.evaluation_protocol",
)
_PACKAGES = ("tensorflow", "tf-keras", "tf-agents", "gymnasium", "ale-py", "numpy", "gin-config")
# What a process takes beside the replay buffer: TensorFlow, the networks, a segment being written.
_OTHER_MEMORY_BYTES = 1_500_000_000


@dataclasses.dataclass(frozen=True)
class Experiment:
    """All the parts of a run, built from gin and wired together."""

    environment: TFPyEnvironment
    agent: ClippedDqnAgent
    replay_buffer: FrameReplayBuffer
    metrics: CollectionMetrics
    collector: Collector
    learner: Learner


def build(seed: int) -> Experiment:
    """Builds every part that gin describes, in the order in which data flows.

    Args:
        seed: The run's seed.

    Raises:
        UserError: A binding is missing or out of range.
    """
    environment = create_environment(seed, "collection")
    metrics = CollectionMetrics(environment.batch_size)
    env_steps = metrics.env_steps_variable
    q_network = create_q_network(
        environment.observation_spec(), environment.action_spec(), seed
    )
    # The collector knows where exploration begins, and needs the agent's policy to be built.
    random_fill: list[int] = []
    agent = create_agent(
        environment.time_step_spec(),
        environment.action_spec(),
        q_network,
        lambda: env_steps - random_fill[0],
        seed,
    )
    replay_buffer = create_replay_buffer(agent.collect_data_spec, environment.batch_size, seed)
    random_policy = RandomPolicy(
        environment.time_step_spec(), environment.action_spec(), seed, "collection/random fill"
    )
    collector = create_collector(
        environment,
        random_policy,
        agent.collect_policy,
        observers=[replay_buffer.add_batch, *metrics.observers],
    )
    random_fill.append(collector.random_fill_env_steps)
    learner = create_learner(agent, replay_buffer)
    return Experiment(environment, agent, replay_buffer, metrics, collector, learner)


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

    Returns:
        The process's exit code: 0 when the budget is spent, 128 + signal after a stop.

    Raises:
        UserError: A value is out of range, or the run directory cannot be used.
    """
    for name, value in (
        ("total_env_steps", total_env_steps),
        ("log_period_env_steps", log_period_env_steps),
        ("checkpoint_period_env_steps", checkpoint_period_env_steps),
        ("keep_checkpoints", keep_checkpoints),
        ("evaluation_period_env_steps", evaluation_period_env_steps),
        ("evaluation_games", evaluation_games),
    ):
        config.positive_int(f"train.{name}", value)
    protocol = protocols.by_name(evaluation_protocol)
    run = RunDirectory(run_dir)
    run.create()
    with _locked(run), StopSignals() as stop:
        seed = _settle_seed(run, seed)
        experiment = build(seed)
        _check_memory(experiment.replay_buffer, ignore_memory)
        _settle_config(run, experiment)
        checkpointer = RunCheckpointer(
            run,
            experiment.agent,
            experiment.replay_buffer,
            experiment.collector,
            experiment.metrics,
            keep_checkpoints,
        )
        restored, damage = checkpointer.restore_newest()
        for sentence in damage:
            print(f"Damaged checkpoint left out: {sentence}.", file=sys.stderr)
        env_steps = experiment.metrics.env_steps
        _record_start(run, seed, env_steps)
        _print_plan(run, experiment, seed, total_env_steps, restored is not None)

        meter = ProgressMeter(
            experiment.agent,
            experiment.metrics,
            experiment.replay_buffer,
            experiment.collector.random_fill_env_steps,
        )

        def evaluate(_: int) -> dict[str, Any]:
            return evaluation.evaluate_network(
                experiment.agent.q_network,
                protocol,
                evaluation_games,
                seed,
                min(evaluation_games, experiment.environment.batch_size),
            )

        evaluation_hook = hooks.EvaluationHook(
            run, evaluate, evaluation_period_env_steps, env_steps, meter.pause
        )
        all_hooks: list[hooks.Hook] = [
            hooks.ConsoleHook(total_env_steps, env_steps),
            hooks.TensorBoardHook(run),
            hooks.MetricsFileHook(run, env_steps),
            evaluation_hook,
        ]

        def save(row: Row) -> None:
            summary = _summary(experiment, row, meter.overall_env_steps_per_second)
            try:
                checkpointer.save({key: summary[key] for key in ("env_steps", "train_steps")})
                write_json(run.summary_json, summary)
            except OSError as error:
                raise UserError(
                    f"The checkpoint at {row.env_steps:,} environment steps could not be written "
                    f"({error.strerror}: {error.filename}). The one before is sound; make room and "
                    "start the same command again."
                ) from error

        log_due = hooks.Period(log_period_env_steps, env_steps)
        save_due = hooks.Period(checkpoint_period_env_steps, env_steps)
        row = None
        try:
            for iteration in iterations(
                experiment.collector,
                experiment.learner,
                lambda: experiment.metrics.env_steps,
                total_env_steps,
            ):
                meter.add(iteration)
                for hook in all_hooks:
                    hook.on_iteration(iteration)
                row = None
                finished = iteration.env_steps >= total_env_steps
                if log_due.due(iteration.env_steps) or finished:
                    row = meter.row()
                    for hook in all_hooks:
                        hook.on_row(row)
                if save_due.due(iteration.env_steps) or finished or stop.received:
                    row = row or meter.row()
                    save(row)
                if stop.received:
                    break
        finally:
            for hook in all_hooks:
                hook.close()
            experiment.environment.close()
        _print_end(run, experiment, stop, total_env_steps)
        return stop.exit_code


def _summary(experiment: Experiment, row: Row, speed: float) -> dict[str, Any]:
    return {
        "env_steps": row.env_steps,
        "train_steps": row.train_steps,
        "episodes": row.episodes,
        "env_steps_per_second": speed,
        "average_return": row.average_return,
        "average_length_env_steps": row.average_length,
        "epsilon": row.epsilon,
        "weights_sha256": weights_sha256(experiment.agent.q_network.variables),
    }


@contextlib.contextmanager
def _locked(run: RunDirectory) -> Iterator[None]:
    """Holds the run directory; the system lets go of it when the process dies, however it dies."""
    with open(run.path / ".lock", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise UserError(
                f"The run directory {run.path} is in use by {holder}. Wait for it, stop it, or "
                "choose another --run_dir."
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield


def _settle_seed(run: RunDirectory, seed: int | None) -> int:
    """The seed to use; raises UserError where the run there has another."""
    if not run.run_json.exists():
        return 1 if seed is None else seed
    there = int(_read_run_json(run)["seed"])
    if seed is not None and seed != there:
        raise UserError(
            f"The run in {run.path} has seed {there}, not {seed}. Leave --seed out to go on with "
            "it, or choose another --run_dir."
        )
    return there


def _settle_config(run: RunDirectory, experiment: Experiment) -> None:
    """Records the operative config; raises UserError where the run there has another."""
    del experiment  # It had to be built for gin to know what is operative.
    text = config.operative_config()
    if run.config_gin.exists():
        differences = [
            sentence
            for sentence in config.differences(run.config_gin.read_text(), text)
            if not sentence.startswith(_MAY_CHANGE)
        ]
        if differences:
            raise UserError(
                f"The run in {run.path} has another config: {'; '.join(differences)}. Give the "
                "same config to go on with it, or choose another --run_dir."
            )
    run.config_gin.write_text(text)


def _record_start(run: RunDirectory, seed: int, env_steps: int) -> None:
    """Adds this start to run.json."""
    starts = _read_run_json(run)["starts"] if run.run_json.exists() else []
    start = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "env_steps": env_steps,
        "command": shlex.join(sys.argv),
        "git_revision": _git_revision(),
        "versions": versions(),
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "memory_bytes": psutil.virtual_memory().total,
            "gpus": [device.name for device in tf.config.list_physical_devices("GPU")],
        },
    }
    game = gin.query_parameter("create_environment.game")
    write_json(run.run_json, {"seed": seed, "game": game, "starts": [*starts, start]})


def _read_run_json(run: RunDirectory) -> dict[str, Any]:
    try:
        content = json.loads(run.run_json.read_text())
        return {"seed": int(content["seed"]), "starts": list(content["starts"])}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{run.run_json} is damaged. Restore it, or choose another --run_dir."
        ) from error


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on."""
    return {"python": platform.python_version()} | {
        package: metadata.version(package) for package in _PACKAGES
    }


def _git_revision() -> str | None:
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        # Without git, or outside a checkout, there is no revision to tell.
        return None
    return answer.stdout.strip()


def _check_memory(replay_buffer: FrameReplayBuffer, ignore: bool) -> None:
    needed = replay_buffer.capacity_bytes + _OTHER_MEMORY_BYTES
    there = psutil.virtual_memory().total
    if needed > there and not ignore:
        raise UserError(
            f"The replay buffer would take {replay_buffer.capacity_bytes / 1e9:.1f} GB when full, "
            f"and training about {_OTHER_MEMORY_BYTES / 1e9:.1f} GB beside it; this machine has "
            f"{there / 1e9:.1f} GB. Lower create_replay_buffer.capacity_transitions, or go on all "
            "the same with --ignore_memory."
        )


def _print_plan(
    run: RunDirectory, experiment: Experiment, seed: int, total_env_steps: int, resumed: bool
) -> None:
    env_steps = experiment.metrics.env_steps
    game = gin.query_parameter("create_environment.game")
    replay = experiment.replay_buffer
    gpus = tf.config.list_physical_devices("GPU")
    lines = [
        f"DQN on {game}, seed {seed}, {experiment.environment.batch_size} games side by side.",
        f"Run directory  {run.path}",
        f"Device         {f'{len(gpus)} GPU' if gpus else f'CPU, {os.cpu_count()} cores'}",
        f"Replay buffer  {replay.capacity_transitions:,} transitions, {replay.capacity_bytes / 1e9:.2f} GB "
        f"when full; this machine has {psutil.virtual_memory().total / 1e9:.1f} GB",
        f"Budget         {total_env_steps:,} environment steps ({4 * total_env_steps:,} ALE frames)"
        + (f", of which {env_steps:,} are done" if resumed else ""),
        f"Watch          tensorboard --logdir {shlex.quote(str(run.path))}",
    ]
    print("\n".join(lines), file=sys.stderr, flush=True)


def _print_end(
    run: RunDirectory, experiment: Experiment, stop: StopSignals, total_env_steps: int
) -> None:
    env_steps = experiment.metrics.env_steps
    if stop.received is not None:
        print(
            f"Stopped by {stop.received.name} at {env_steps:,} environment steps; everything is "
            "saved. The same command goes on from here.",
            file=sys.stderr,
        )
        return
    print(
        f"Done: {env_steps:,} of {total_env_steps:,} environment steps.\n"
        f"Watch it play: python eval.py --checkpoint_dir={shlex.quote(str(run.path))} "
        "--video=game.mp4",
        file=sys.stderr,
    )


def parse_and_train(
    gin_files: Sequence[str],
    gin_bindings: Sequence[str],
    run_dir: str,
    seed: int | None,
    ignore_memory: bool,
) -> int:
    """Parses gin, then trains; see `train`."""
    config.parse(gin_files, gin_bindings)
    with config.building():
        return train(run_dir, seed, ignore_memory=ignore_memory)
