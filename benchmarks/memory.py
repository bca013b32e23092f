"""Memory of plain and compressed replay, and what it costs: python -m benchmarks.memory --help

Both play and train on Breakout as breakout.gin says, each in a process of its own that sleeps while
the other runs. Memory is that of the whole process: TensorFlow, network, optimizer, games, buffer.
The buffers are filled with the play of pretrained/breakout, repeated; at three levels both train in
interleaved rounds. At the end both overwrite rows of the full buffer. No checkpoint is written.
"""

from __future__ import annotations

import argparse
import contextlib
from typing import Any

from benchmarks import processes, report, rounds
from dqn_breakout.errors import UserError

_TABLES = {"plain": "@plain_frames", "compressed": "@compressed_frames"}
_LEAST_TRANSITIONS = 50_000
_MOST_PLAYED_ENV_STEPS = 30_000
# Of the capacity, overwritten once it is full: memory must not grow.
_OVERWRITTEN_SHARE = 0.25


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = report.parser("memory", __doc__, rounds=3, seconds=10.0, epsilon=0.01, seed=1)
    made.set_defaults(game="Breakout", random_fill_env_steps=2_000)
    made.add_argument(
        "--transitions", type=report.positive_int, default=1_000_000, help="each buffer's capacity"
    )
    return made


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything, as the result holds it.

    Raises:
        UserError: The buffers are too small, or a process ended early.
    """
    transitions = options.transitions
    if transitions < _LEAST_TRANSITIONS:
        raise UserError(
            f"--transitions needs {_LEAST_TRANSITIONS:,} or more, but is {transitions:,}: with "
            "fewer, what is measured is not the buffer."
        )
    options.played_env_steps = min(_MOST_PLAYED_ENV_STEPS, transitions // 8)
    levels = {"empty": 0, "half": transitions // 2, "full": transitions}
    tables: dict[str, dict[str, Any]] = {}
    measured = []
    with contextlib.ExitStack() as running:
        children: dict[str, processes.Child] = {}
        for name, frame_table in _TABLES.items():
            report.tell(f"{name}: building, and playing {options.played_env_steps:,} steps ...")
            children[name] = child = running.enter_context(_start(options, name, frame_table))
            tables[name] = {"built": child.ask("memory"), "levels": {}}
            child.ask("ready")
            child.ask("play", env_steps=options.played_env_steps)
        for level, number in levels.items():
            for name, child in children.items():
                filled = child.ask("level", transitions=number)
                report.tell(f"{name}, {level}: {filled['resident_bytes'] / 1e9:.2f} GB")
                tables[name]["levels"][level] = filled | {"sampling": child.ask("sampling")}
            taken = rounds.take_timed(children, options)
            measured += [{"level": level, **entry} for entry in taken]
        for name, child in children.items():
            more = int(transitions * (1 + _OVERWRITTEN_SHARE))
            tables[name]["overwritten"] = child.ask("level", transitions=more)
    return conclude(tables, measured)


def _start(options: argparse.Namespace, name: str, frame_table: str) -> processes.Child:
    bindings = [
        f"create_replay_buffer.frame_table = {frame_table}",
        f"create_replay_buffer.capacity_transitions = {options.transitions}",
        f"create_collector.random_fill_env_steps = {options.random_fill_env_steps}",
        f"create_agent.epsilon_initial = {options.epsilon}",
        f"create_agent.epsilon_final = {options.epsilon}",
        *options.gin_bindings,
    ]
    settings = {"gin_files": options.gin_file, "gin_bindings": bindings, "seed": options.seed}
    return processes.start(name, "benchmarks.this_project", settings)


def conclude(tables: dict[str, dict[str, Any]], measured: list[dict[str, Any]]) -> dict[str, Any]:
    """What the memory of each replay, and the rounds at each level, come to."""
    ratios = {}
    for level in tables["plain"]["levels"]:
        taken = [entry for entry in measured if entry["level"] == level]
        for name, speed in rounds.medians(taken, "env_steps_per_second").items():
            tables[name]["levels"][level]["env_steps_per_second"] = speed
        ratios[f"compressed / plain, {level}"] = rounds.ratio(taken, "compressed", "plain")
    for table in tables.values():
        empty, full = table["levels"]["empty"], table["levels"]["full"]
        grown = full["resident_bytes"] - empty["resident_bytes"]
        table["bytes_per_transition"] = grown / (full["transitions"] - empty["transitions"])
        table["peak_bytes"] = table["overwritten"]["peak_bytes"]
    return {"replay": tables, "ratios": ratios, "rounds": measured}


def show(result: dict[str, Any]) -> None:
    """Prints the result as tables."""
    memory, speed = [], []
    for name, table in result["replay"].items():
        filled = {**table["levels"], "overwritten": table["overwritten"]}
        gigabytes = {level: each["resident_bytes"] / 1e9 for level, each in filled.items()}
        memory.append(
            {
                "GB": name,
                "built": table["built"]["resident_bytes"] / 1e9,
                **gigabytes,
                "peak": table["peak_bytes"] / 1e9,
                "bytes/transition": table["bytes_per_transition"],
            }
        )
        for level, each in table["levels"].items():
            milliseconds = each["sampling"]["milliseconds"]
            row = {"replay": name, "level": level, "env steps/s": each["env_steps_per_second"]}
            speed.append(row | {"ms to sample a group": milliseconds})
    report.table(memory)
    report.table(speed)
    report.table([{"": "env steps/s", **result["ratios"]}])


if __name__ == "__main__":
    report.run(parser(), measure, show)
