"""Where a training iteration's time goes, part by part, next to the least that each could take.

    python -m benchmarks.profile --output FILE.json

The training loop and then every part alone, in turn; medians over rounds, so that a machine whose
speed drifts is the same for all. Because games are played beside training, wall times of parts do
not add up; processor times of all threads do. Times are for one train step and its environment
steps.

- environment: one step of all games, random actions.
- policy: action values, exploration and choice. policy, synchronised: the network copied to the one
  that plays beside training; once a turn.
- replay, writing: one step of all games. replay, sampling: a group's transitions, stacked.
- targets: as the learner asks for them, for a batch or a group.
- gradient: of a batch's mean loss, written anew without the checks of a training step.
- optimizer: one update, of copies of the weights.

Overhead is the whole less all parts: what no part has (loops, play held back until its turn ends,
checks and numbers, the copy to the target network, metrics, waiting) and what running together
costs or saves. It is below 0 where the parts, called one by one, cost more than inside the loop.

Floors are processor time too: a product of large fp32 matrices for whatever is arithmetic; ale-py
alone for the environment; copying memory for the rest, by the bytes that it must read and write.
Each is the best of all rounds. Overhead has none.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import floor, report
from benchmarks.floor import MachineSpeed, timed
from benchmarks.this_project import SMALL_REPLAY, Part, ThisProject

_ROUNDS = 5
# Of a part in each round.
_CALLS = 20
_EMULATOR_ENV_STEPS = 2_500
# An optimizer step reads gradient, weight and both running means, and writes the last three.
_OPTIMIZER_PASSES = 7


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Profiles one configuration."""
    options.gin_bindings = [*SMALL_REPLAY, *options.gin_bindings]
    project = ThisProject(options.gin_file, options.gin_bindings)
    report.tell("The random fill ...")
    project.fill()
    result = measure_parts(project, options.seconds)
    project.close()
    return result


def measure_parts(project: ThisProject, seconds: float) -> dict[str, Any]:
    """Times whole iterations, for so many seconds in all, and each part, round by round.

    Returns:
        `parts` and `iteration`, in ms for one train step, and `machine_speed`.
    """
    for _ in range(3):
        project.turn()
    parts = project.parts()
    wholes, machines, overheads = [], [], []
    alone: dict[str, list[dict[str, float]]] = {part.name: [] for part in parts}
    for _ in range(_ROUNDS):
        wholes.append(_iteration(project, seconds / _ROUNDS))
        for part in parts:
            alone[part.name].append(_part(part))
        together = sum(measured[-1]["processor_ms"] for measured in alone.values())
        overheads.append({"processor_ms": wholes[-1]["processor_ms"] - together})
        machines.append(_machine(project.num_environments))
    machine = {name: max(each[name] for each in machines) for name in machines[0]}
    floors = _floors_ms(project, machine)
    rows: list[dict[str, Any]] = [
        {"part": name, "wall_ms": None, **_medians(measured), "floor_ms": floors.get(name)}
        for name, measured in (*alone.items(), ("overhead", overheads))
    ]
    whole = _medians(wholes) | {"floor_ms": sum(row["floor_ms"] or 0 for row in rows)}
    return {"parts": rows, "iteration": whole, "machine_speed": machine}


def _part(part: Part) -> dict[str, float]:
    """A part's time for one train step."""
    wall, processor = timed(part.call, _CALLS)
    scale = 1e3 / part.train_steps
    return {"wall_ms": wall * scale, "processor_ms": processor * scale}


def _iteration(project: ThisProject, seconds: float) -> dict[str, float]:
    """Times the training loop itself, for at least `seconds`."""
    project.turn()
    before = project.counts()
    wall, processor = timed(lambda: project.train_until(time.perf_counter() + seconds))
    env_steps, trained = (
        after - then for after, then in zip(project.counts(), before, strict=True)
    )
    return {
        "env_steps_per_second": env_steps / wall,
        "wall_ms": wall / trained * 1e3,
        "processor_ms": processor / trained * 1e3,
        "processors_busy": processor / wall,
    }


def _medians(measured: Sequence[dict[str, float]]) -> dict[str, Any]:
    return {name: statistics.median(each[name] for each in measured) for name in measured[0]}


def _machine(num_environments: int) -> dict[str, float]:
    """What the machine does at most; see the module."""
    source = np.ones(2**26, np.uint8)
    target = np.empty_like(source)
    copying = min(timed(lambda: np.copyto(target, source))[1] for _ in range(10))
    emulator = MachineSpeed().emulator(num_environments, _EMULATOR_ENV_STEPS)
    return {
        "flops_per_second_of_one_thread": MachineSpeed().product()["flops_per_processor_second"],
        "emulator_env_steps_per_second": emulator["env_steps_per_second"],
        "emulator_env_steps_per_processor_second": 1 / emulator["processor_seconds_per_env_step"],
        "copied_bytes_per_second": 2 * source.size / copying,
    }


def _floors_ms(project: ThisProject, machine: dict[str, float]) -> dict[str, float]:
    """The least processor time of each part for one train step."""
    height, width, channels = project.observation_shape
    env_steps, batch = project.env_steps_per_train_step, project.batch_size
    forward = sum(layer.flops for layer in project.layers)
    sample = floor.flops_per_sample(project.layers)
    weights_bytes = 4 * sum(float(np.prod(layer.kernel_shape)) for layer in project.layers)
    flops = 1e3 / machine["flops_per_second_of_one_thread"]
    memory = 1e3 / machine["copied_bytes_per_second"]
    frame = height * width
    turn = project.env_steps_per_iteration / env_steps
    return {
        "environment": 1e3 * env_steps / machine["emulator_env_steps_per_processor_second"],
        "policy": env_steps * forward * flops,
        "policy, synchronised": 2 * weights_bytes / turn * memory,
        "replay, writing": 2 * env_steps * frame * memory,
        "replay, sampling": 2 * batch * 2 * channels * frame * memory,
        "targets": batch * forward * flops,
        "gradient": batch * (sample - forward) * flops,
        "optimizer": _OPTIMIZER_PASSES * weights_bytes * memory,
    }


def show(result: dict[str, Any]) -> None:
    """Prints the result as tables; the first is for one train step."""
    whole = {"part": "whole iteration", **result["iteration"]}
    columns = ("part", "processor_ms", "floor_ms", "wall_ms")
    report.table([{name: row[name] for name in columns} for row in (*result["parts"], whole)])
    report.table([{name: whole[name] for name in ("env_steps_per_second", "processors_busy")}])
    report.table([result["machine_speed"]])


if __name__ == "__main__":
    report.run(report.parser("profile", __doc__, seconds=20.0), measure, show)
