"""Where a training iteration's time goes, part by part, next to the least that each could take.

    python -m benchmarks.profile --output FILE.json

Every part runs alone, as the training loop runs it, on a replay buffer filled at random. Because
games are played beside training, wall times of parts do not add up; processor times do, those of
all threads together. Times are for one train step and its `env_steps_per_train_step` environment
steps.

Floors: a product of large fp32 matrices (peak FLOP/s) for whatever is arithmetic; ale-py alone for
the environment; copying memory for the optimizer and the replay buffer, by the bytes that they must
read and write. Replay and overhead have no other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine_speed, report, rounds
from benchmarks.this_project import first_layer_flops

_ROUNDS = 5
# An optimizer step reads gradient, weight and both running means, and writes the last three.
_OPTIMIZER_PASSES = 7


def main(arguments: Sequence[str]) -> int:
    """Profiles one configuration; see the module."""
    parser = report.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
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

    from dqn_breakout import config, experiment, threads

    config.parse(files, bindings)
    threads.share()
    with config.building():
        parts = experiment.build(1)
    print(f"Filling {parts.collector.random_fill_env_steps:,} transitions ...", flush=True)
    while (env_steps := parts.metrics.env_steps) < parts.collector.random_fill_env_steps:
        parts.collector.fill(env_steps)

    whole = _iteration(parts, options.seconds)
    # After it: the same gradient applied a hundred times leaves no network worth training.
    rows = _profile(parts)
    spent = sum(row["processor_ms"] for row in rows)
    overhead = {"part": "overhead: loops, threads, waiting", "wall_ms": None, "floor_ms": None}
    rows.append({**overhead, "processor_ms": whole["processor_ms"] - spent})
    result |= {"parts": rows, "iteration": whole, "machine_speed": _machine(parts)}
    _add_floors(rows, parts, result["machine_speed"])
    whole["floor_ms"] = sum(row["floor_ms"] or 0 for row in rows)
    report.write(options.output, result)
    _show(rows, whole, result["machine_speed"])
    return 0


def _profile(parts: Any) -> list[dict[str, Any]]:
    """Times each part alone."""
    import tensorflow as tf

    learner, agent, environment = parts.learner, parts.agent, parts.environment
    group = learner.batch_size * learner.train_steps_per_group
    env_steps = learner.env_steps_per_train_step
    all_games = environment.batch_size / env_steps  # Train steps that one step of all games is for.
    time_step = environment.current_time_step()
    actions = tf.zeros([environment.batch_size], tf.int32)
    observation = tf.constant(time_step.observation)

    step_games = tf.function(lambda: environment.step(actions).reward, autograph=False)
    act = tf.function(lambda: tf.argmax(agent.q_network(observation)[0], axis=-1), autograph=False)
    sample = tf.function(lambda: parts.replay_buffer.sample_transitions(group)[1], autograph=False)
    transitions = parts.replay_buffer.sample_transitions(group)
    train_steps_of_pass = 1 if learner.targets_ahead else learner.train_steps_per_group
    next_time_steps = tf.nest.map_structure(
        lambda values: values[: learner.batch_size * train_steps_of_pass],
        transitions.next_time_steps,
    )
    targets = tf.function(lambda: agent.td_targets(next_time_steps), autograph=False)
    batch, batch_actions = tf.nest.map_structure(
        lambda values: values[: learner.batch_size], transitions[:2]
    )
    batch_targets = targets()[: learner.batch_size]
    variables = agent.q_network.trainable_weights

    def loss() -> tf.Tensor:
        values = agent.q_network(batch.observation, training=True)[0]
        chosen = tf.gather(values, batch_actions, batch_dims=1)
        return tf.reduce_mean(tf.keras.losses.huber(batch_targets[:, None], chosen[:, None]))

    @tf.function(autograph=False)
    def gradient() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            value = loss()
        return tape.gradient(value, variables)

    gradients = gradient()

    @tf.function(autograph=False)
    def update() -> None:
        agent._optimizer.apply_gradients(zip(gradients, variables, strict=True))

    trajectory = tf.nest.map_structure(
        lambda spec: tf.zeros([environment.batch_size, *spec.shape], spec.dtype),
        agent.collect_data_spec,
    )

    @tf.function(autograph=False)
    def store() -> None:
        parts.replay_buffer.add_batch(trajectory)

    return [
        _timed("environment", step_games, all_games, 20),
        _timed("policy", act, all_games, 20),
        _timed("replay: write", store, all_games, 20),
        _timed("replay: sample", sample, learner.train_steps_per_group, 20),
        _timed("targets", targets, train_steps_of_pass, 10),
        _timed("gradient", gradient, 1, 20),
        _timed("optimizer", update, 1, 20),
    ]


def _timed(part: str, call: Callable[[], Any], train_steps: float, times: int) -> dict[str, Any]:
    """The median of several rounds of calls, each of which is for `train_steps` train steps."""
    call()
    walls, processor = [], []
    for _ in range(_ROUNDS):
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(times):
            call()
        walls.append(time.perf_counter() - wall)
        processor.append(time.process_time() - cpu)
    scale = 1e3 / times / train_steps
    return {
        "part": part,
        "wall_ms": float(np.median(walls)) * scale,
        "processor_ms": float(np.median(processor)) * scale,
    }


def _iteration(parts: Any, seconds: float) -> dict[str, Any]:
    """Times the training loop itself, for at least `seconds`."""
    from dqn_breakout.training.loop import iterations

    turns = iterations(parts.collector, parts.learner, lambda: parts.metrics.env_steps, 10**9)
    for _ in range(3):
        next(turns)
    before, started = parts.metrics.env_steps, time.perf_counter()
    processor = time.process_time()
    trained = 0
    while (wall := time.perf_counter() - started) < seconds:
        trained += next(turns).train_steps_taken
    processor = time.process_time() - processor
    return {
        "env_steps_per_second": (parts.metrics.env_steps - before) / wall,
        "wall_ms": wall / trained * 1e3,
        "processor_ms": processor / trained * 1e3,
        "processors_busy": processor / wall,
    }


def _machine(parts: Any) -> dict[str, float]:
    """What the machine does at most; see the module."""
    source = np.ones(2**26, np.uint8)
    target = np.empty_like(source)
    best = float("inf")
    for _ in range(10):
        started = time.perf_counter()
        np.copyto(target, source)
        best = min(best, time.perf_counter() - started)
    emulator = machine_speed.emulator_env_steps_per_second(parts.environment.batch_size, None, 1)
    import tensorflow as tf

    threads = tf.config.threading.get_intra_op_parallelism_threads()
    peak = machine_speed.matrix_product_flops_per_second()["flops_per_second"]
    return {
        "flops_per_second_of_one_thread": peak / max(threads, 1),
        "emulator_env_steps_per_second": emulator["env_steps_per_second"],
        "copied_bytes_per_second": 2 * source.size / best,
    }


def _add_floors(rows: list[dict[str, Any]], parts: Any, machine: dict[str, float]) -> None:
    """Adds to each part the least processor time of one train step, in ms."""
    from dqn_breakout import provenance
    from dqn_breakout.networks.nature_cnn import forward_flops

    height, width, channels = parts.environment.observation_spec().shape
    forward = forward_flops(parts.agent.q_network, (height, width))
    first_layer = first_layer_flops((height, width, channels))
    env_steps, batch = parts.learner.env_steps_per_train_step, parts.learner.batch_size
    weights = sum(each.shape.num_elements() for each in parts.agent.q_network.trainable_weights)
    flops = 1e3 / machine["flops_per_second_of_one_thread"]
    memory = 1e3 / machine["copied_bytes_per_second"]
    picture = height * width
    floors = {
        "environment": 1e3
        * provenance.usable_cores()
        * env_steps
        / machine["emulator_env_steps_per_second"],
        "policy": env_steps * forward * flops,
        "replay: write": 2 * env_steps * picture * memory,
        "replay: sample": 2 * batch * 2 * channels * picture * memory,
        "targets": batch * forward * flops,
        "gradient": batch * (rounds.flops_per_sample(forward, first_layer) - forward) * flops,
        "optimizer": _OPTIMIZER_PASSES * 4 * weights * memory,
    }
    for row in rows:
        row["floor_ms"] = floors.get(row["part"])


def _show(rows: list[dict[str, Any]], whole: dict[str, Any], machine: dict[str, float]) -> None:
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


if __name__ == "__main__":
    report.run(main)
