"""Where a training iteration's time goes, part by part, next to the least that each could take.

    python -m benchmarks.profile --output FILE.json

The training loop and then every part alone, in turn, several rounds; medians over rounds, so that a
machine whose speed drifts is the same for all. Because games are played beside training, wall times
of parts do not add up; processor times do, those of all threads together. Times are for one train
step and its `env_steps_per_train_step` environment steps.

- environment: one step of all games, random actions.
- policy: action values, exploration and choice. policy, synchronised: the network copied to the one
  that plays beside training; once a turn.
- replay, writing: a turn's steps; where games are played beside training, staged and released.
- replay, sampling: a group's transitions, both stacks of each.
- targets: as the learner asks for them, for a batch or a group.
- gradient: of a batch's mean Huber loss. It is written anew here: without the training step's
  checks for divergence and ended games.
- optimizer: one update, of copies of the weights.

Overhead is the whole less all parts. It is what no part has (the drivers' and the learner's loops,
the training step's checks and reported numbers, the copy to the target network, metrics, waiting)
and what running together costs or saves: it is below 0 where the parts, called one by one from
Python, cost more than inside the loop.

Floors are processor time too: a product of large fp32 matrices for whatever is arithmetic; ale-py
alone for the environment; copying memory for the rest, by the bytes that it must read and write.
Each is the best of all rounds. Overhead has none.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks import machine_speed, report, rounds
from benchmarks.this_project import first_layer_flops

_ROUNDS = 5
# Of a part in each round.
_CALLS = 20
_EMULATOR_SECONDS = 1.0
# An optimizer step reads gradient, weight and both running means, and writes the last three.
_OPTIMIZER_PASSES = 7


class Part(NamedTuple):
    """A part of a training iteration.

    Attributes:
        name: In the table.
        call: Does it once.
        train_steps: How many train steps one call is for.
    """

    name: str
    call: Callable[[], Any]
    train_steps: float


def main(arguments: Sequence[str]) -> int:
    """Profiles one configuration; see the module."""
    parser = report.ArgumentParser(
        prog="python -m benchmarks.profile", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--gin_file", action="append", help="as of train.py; default: breakout.gin")
    parser.add_argument("--gin_bindings", action="append", default=[], help="as of train.py")
    parser.add_argument(
        "--seconds", type=report.positive_seconds, default=20.0, help="of the whole iteration"
    )
    parser.add_argument("--output", type=Path, help="a JSON file for the result")
    options = parser.parse_args(arguments)
    report.check_output(options.output)
    files = options.gin_file or ["breakout.gin"]
    bindings = [
        "create_replay_buffer.capacity_transitions = 20000",
        "create_collector.random_fill_env_steps = 10000",
        *options.gin_bindings,
    ]
    settings = {"gin_files": files, "gin_bindings": bindings, "seconds": options.seconds}
    result = report.header("profile", settings)

    from dqn_breakout import config, experiment, machine

    config.parse(files, bindings)
    machine.share_threads()
    with config.building():
        parts = experiment.build(1)
    print(f"Filling {parts.collector.random_fill_env_steps:,} transitions ...", flush=True)
    while (env_steps := parts.metrics.env_steps) < parts.collector.random_fill_env_steps:
        parts.collector.fill(env_steps)

    result |= measure(parts, options.seconds)
    report.write(options.output, result)
    _show(result)
    return 0


def measure(parts: Any, seconds: float) -> dict[str, Any]:
    """Times whole iterations and each part, round by round.

    Args:
        parts: An `experiment.Experiment` whose random fill is over.
        seconds: Of whole iterations, over all rounds.

    Returns:
        `parts` and `iteration`, in ms for one train step, and `machine_speed`.
    """
    from dqn_breakout.training.loop import iterations

    turns = iterations(parts.collector, parts.learner, lambda: parts.metrics.env_steps, 10**9)
    for _ in range(3):
        next(turns)
    each_part = _parts(parts)
    for part in each_part:
        part.call()
    wholes, machines = [], []
    alone: dict[str, list[dict[str, float]]] = {part.name: [] for part in each_part}
    for _ in range(_ROUNDS):
        # The games went on without the collector.
        parts.collector.time_step = parts.environment.current_time_step()
        wholes.append(_iteration(parts, turns, seconds / _ROUNDS))
        for part in each_part:
            alone[part.name].append(_timed(part))
        machines.append(_machine(parts.environment.batch_size))
    whole = _medians(wholes)
    rows: list[dict[str, Any]] = [
        {"part": name, **_medians(measured)} for name, measured in alone.items()
    ]
    rest = [
        taken["processor_ms"] - sum(measured[number]["processor_ms"] for measured in alone.values())
        for number, taken in enumerate(wholes)
    ]
    rows.append({"part": "overhead", "wall_ms": None, "processor_ms": float(np.median(rest))})
    machine = {
        name: min(each[name] for each in machines)
        if name == "emulator_processor_seconds_per_env_step"
        else max(each[name] for each in machines)
        for name in machines[0]
    }
    _add_floors(rows, parts, machine)
    whole["floor_ms"] = sum(row["floor_ms"] or 0 for row in rows)
    return {"parts": rows, "iteration": whole, "machine_speed": machine}


def _parts(parts: Any) -> list[Part]:
    """Every part; see the module."""
    import tensorflow as tf
    from tf_agents.trajectories import trajectory as trajectory_lib

    from dqn_breakout.agents.rmsprop import create_optimizer
    from dqn_breakout.collection.staging import Staging

    learner, agent, environment = parts.learner, parts.agent, parts.environment
    collector, replay_buffer = parts.collector, parts.replay_buffer
    number = environment.batch_size
    policy = agent.collect_policy.detached() if collector.overlapped else agent.collect_policy
    # Train steps that one step of all games is for, and those of a turn.
    all_games = number / learner.env_steps_per_train_step
    steps_of_turn = _steps_of_turn(parts)
    turn = steps_of_turn * all_games

    count = int(environment.action_spec().maximum) + 1
    drawn = tf.random.stateless_uniform([1000, number], (1, 2), 0, count, tf.int32)
    actions = itertools.cycle(tf.unstack(drawn))
    step = tf.function(lambda action: environment.step(action).observation, autograph=False)
    time_step = environment.current_time_step()
    act = tf.function(lambda: policy.action(time_step).action, autograph=False)

    policy_step = policy.action(time_step)
    trajectory = trajectory_lib.from_transition(
        time_step, policy_step, environment.step(policy_step.action)
    )
    add_batch = replay_buffer.add_batch
    if collector.overlapped:
        staging = Staging(agent.collect_data_spec, number, steps_of_turn, add_batch)
        add_batch = staging.add_batch

    @tf.function(autograph=False)
    def write() -> None:
        for _ in range(steps_of_turn):
            add_batch(trajectory)
        if collector.overlapped:
            staging.release()

    group = learner.batch_size * learner.train_steps_per_group
    sample = tf.function(lambda: replay_buffer.sample_transitions(group), autograph=False)
    transitions = sample()
    train_steps_of_pass = 1 if learner.targets_ahead else learner.train_steps_per_group
    next_time_steps = tf.nest.map_structure(
        lambda values: values[: learner.batch_size * train_steps_of_pass],
        transitions.next_time_steps,
    )
    targets = tf.function(lambda: agent.td_targets(next_time_steps), autograph=False)
    observation = transitions.time_steps.observation[: learner.batch_size]
    taken = transitions.actions[: learner.batch_size]
    batch_targets = targets()[: learner.batch_size]
    weights = agent.q_network.trainable_weights

    @tf.function(autograph=False)
    def gradient() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            values = tf.gather(agent.q_network(observation, training=True)[0], taken, batch_dims=1)
            loss = tf.reduce_mean(tf.keras.losses.huber(batch_targets[:, None], values[:, None]))
        return tape.gradient(loss, weights)

    gradients = gradient()
    # The same gradient a hundred times leaves no network worth training.
    copies = [tf.Variable(each) for each in weights]
    optimizer = create_optimizer()

    @tf.function(autograph=False)
    def update() -> None:
        optimizer.apply_gradients(zip(gradients, copies, strict=True))

    found = [
        Part("environment", lambda: step(next(actions)), all_games),
        Part("policy", act, all_games),
        Part("replay, writing", write, turn),
        Part("replay, sampling", sample, learner.train_steps_per_group),
        Part("targets", targets, train_steps_of_pass),
        Part("gradient", gradient, 1),
        Part("optimizer", update, 1),
    ]
    if collector.overlapped:
        found.insert(2, Part("policy, synchronised", policy.synchronise, turn))
    return found


def _steps_of_turn(parts: Any) -> int:
    """How often all games are stepped between two moments of training."""
    return -(-parts.collector.env_steps_per_iteration // parts.environment.batch_size)


def _timed(part: Part) -> dict[str, float]:
    """A part's time for one train step."""
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(_CALLS):
        part.call()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    scale = 1e3 / _CALLS / part.train_steps
    return {"wall_ms": wall * scale, "processor_ms": processor * scale}


def _iteration(parts: Any, turns: Iterator[Any], seconds: float) -> dict[str, float]:
    """Times the training loop itself, for at least `seconds`."""
    next(turns)
    before, started = parts.metrics.env_steps, time.perf_counter()
    processor = time.process_time()
    trained = 0
    while (wall := time.perf_counter() - started) < seconds or not trained:
        trained += next(turns).train_steps_taken
    processor = time.process_time() - processor
    return {
        "env_steps_per_second": (parts.metrics.env_steps - before) / wall,
        "wall_ms": wall / trained * 1e3,
        "processor_ms": processor / trained * 1e3,
        "processors_busy": processor / wall,
    }


def _medians(measured: Sequence[dict[str, float]]) -> dict[str, Any]:
    return {name: float(np.median([each[name] for each in measured])) for name in measured[0]}


def _machine(num_environments: int) -> dict[str, float]:
    """What the machine does at most; see the module."""
    source = np.ones(2**26, np.uint8)
    target = np.empty_like(source)
    best = float("inf")
    for _ in range(10):
        started = time.process_time()
        np.copyto(target, source)
        best = min(best, time.process_time() - started)
    emulator = machine_speed.emulator(num_environments, None, 1, _EMULATOR_SECONDS)
    product = machine_speed.matrix_product_flops_per_second()
    return {
        "flops_per_second_of_one_thread": product["flops_per_processor_second"],
        "emulator_env_steps_per_second": emulator["env_steps_per_second"],
        "emulator_processor_seconds_per_env_step": emulator["processor_seconds_per_env_step"],
        "copied_bytes_per_second": 2 * source.size / best,
    }


def _add_floors(rows: list[dict[str, Any]], parts: Any, machine: dict[str, float]) -> None:
    """Adds to each part the least processor time of one train step, in ms."""
    from dqn_breakout.networks.nature_cnn import forward_flops

    height, width, channels = parts.environment.observation_spec().shape
    forward = forward_flops(parts.agent.q_network, (height, width))
    first_layer = first_layer_flops((height, width, channels))
    env_steps, batch = parts.learner.env_steps_per_train_step, parts.learner.batch_size
    weights = sum(each.shape.num_elements() for each in parts.agent.q_network.trainable_weights)
    flops = 1e3 / machine["flops_per_second_of_one_thread"]
    memory = 1e3 / machine["copied_bytes_per_second"]
    picture = height * width
    turn = _steps_of_turn(parts) * parts.environment.batch_size / env_steps
    floors = {
        "environment": 1e3 * env_steps * machine["emulator_processor_seconds_per_env_step"],
        "policy": env_steps * forward * flops,
        "policy, synchronised": 2 * 4 * weights / turn * memory,
        "replay, writing": 2 * env_steps * picture * memory,
        "replay, sampling": 2 * batch * 2 * channels * picture * memory,
        "targets": batch * forward * flops,
        "gradient": batch * (rounds.flops_per_sample(forward, first_layer) - forward) * flops,
        "optimizer": _OPTIMIZER_PASSES * 4 * weights * memory,
    }
    for row in rows:
        row["floor_ms"] = floors.get(row["part"])


def _show(result: dict[str, Any]) -> None:
    rows, whole, machine = result["parts"], result["iteration"], result["machine_speed"]

    def cells(name: str, row: dict[str, Any]) -> list[str | None]:
        def shown(key: str) -> str | None:
            return None if row.get(key) is None else f"{row[key]:.2f}"

        return [name, shown("processor_ms"), shown("floor_ms"), shown("wall_ms")]

    print("\nFor one train step, in ms:")
    print(
        report.table(
            ["part", "processor", "floor", "wall, alone"],
            [*(cells(row["part"], row) for row in rows), cells("whole iteration", whole)],
        )
    )
    print(
        f"\n{whole['env_steps_per_second']:.0f} environment steps/s, "
        f"{whole['processors_busy']:.2f} processors busy; one thread: "
        f"{machine['flops_per_second_of_one_thread'] / 1e9:.0f} GFLOP/s, "
        f"{machine['copied_bytes_per_second'] / 1e9:.0f} GB/s copied; emulator alone: "
        f"{machine['emulator_env_steps_per_second']:.0f} steps/s"
    )
    if rows[-1]["processor_ms"] < 0:
        print(
            "The overhead is below 0: called one by one, the parts cost more than inside the loop. "
            "Differences as small as that mean nothing here."
        )


if __name__ == "__main__":
    report.run(main)
