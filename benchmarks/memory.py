"""Memory of plain and compressed replay, and what it costs: python -m benchmarks.memory --help

Both play and train on Breakout as breakout.gin says, each in a process of its own that sleeps while
the other runs. Memory is that of the whole process: TensorFlow, network, optimizer, games, buffer.
The buffers are filled with the play of pretrained/breakout, repeated; at three levels both train in
interleaved rounds. At the end both overwrite rows of the full buffer and write a piece of a
checkpoint.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import processes, report, rounds

_TABLES = {"plain": "@plain_frames", "compressed": "@compressed_frames"}
_SEED = 1
_EPSILON = 0.01
_RANDOM_FILL_ENV_STEPS = 2_000
_MOST_PLAYED_ENV_STEPS = 30_000
# Of the capacity, overwritten once it is full: memory must not grow.
_OVERWRITTEN_SHARE = 0.25


def main(arguments: Sequence[str]) -> int:
    """Measures, writes, prints."""
    options = _options(arguments)
    report.check_output(options.output)
    played = min(_MOST_PLAYED_ENV_STEPS, options.transitions // 8)
    result = report.header(
        "memory",
        {
            "game": "Breakout",
            "transitions": options.transitions,
            "rounds": options.rounds,
            "seconds": options.seconds,
            "random_fill_env_steps": _RANDOM_FILL_ENV_STEPS,
            "played_env_steps": played,
            "epsilon": _EPSILON,
            "gin_bindings": options.gin_bindings,
            "seed": _SEED,
        },
    )
    tables: dict[str, dict[str, Any]] = {}
    with contextlib.ExitStack() as running:
        children: dict[str, processes.OwnProcess] = {}
        for name, reference in _TABLES.items():
            _tell(f"{name}: building, and playing {played:,} environment steps ...")
            settings = {
                "gin_files": ["breakout.gin"],
                "gin_bindings": [
                    f"create_replay_buffer.frame_table = {reference}",
                    f"create_replay_buffer.capacity_transitions = {options.transitions}",
                    f"create_collector.random_fill_env_steps = {_RANDOM_FILL_ENV_STEPS}",
                    f"create_agent.epsilon_initial = {_EPSILON}",
                    f"create_agent.epsilon_final = {_EPSILON}",
                    *options.gin_bindings,
                ],
                "played_env_steps": played,
                "threads": None,
                "seed": _SEED,
            }
            child = processes.start(name, sys.executable, "benchmarks.filled_replay", settings)
            children[name] = running.enter_context(child)
            facts = child.ask(None)
            tables[name] = {
                "stated_bytes_per_transition": facts["capacity_bytes"] / options.transitions,
                "built": facts["memory"],
                "levels": {},
            }
        measured = []
        levels = {"empty": 0, "half": options.transitions // 2, "full": options.transitions}
        for level, transitions in levels.items():
            for name, child in children.items():
                filled = child.ask("level", transitions=transitions)
                _tell(
                    f"{name}, {level}: {filled['transitions']:,} transitions, "
                    f"{filled['resident_bytes'] / 1e9:.2f} GB"
                )
                tables[name]["levels"][level] = filled | {"sampling": child.ask("sampling")}
            measured += _rounds(options, level, children)
        for name, child in children.items():
            more = int(options.transitions * (1 + _OVERWRITTEN_SHARE))
            tables[name]["overwritten"] = child.ask("level", transitions=more)
            tables[name]["checkpoint"] = child.ask("checkpoint")
    for name, table in tables.items():
        _conclude(name, table, levels, measured)
    result["replay"] = tables
    result["ratios"] = {
        f"compressed / plain, {level}": report.median_of_ratios(
            _speeds(measured, level, "compressed"), _speeds(measured, level, "plain")
        )
        for level in levels
    }
    result["rounds"] = measured
    print(_shown(result))
    report.write(options.output, result)
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = report.ArgumentParser(
        prog="python -m benchmarks.memory", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "--transitions", type=report.positive_int, default=1_000_000, help="capacity of each buffer"
    )
    parser.add_argument(
        "--rounds", type=report.positive_int, default=3, help="rounds at each level"
    )
    parser.add_argument(
        "--seconds", type=report.positive_seconds, default=10.0, help="timed seconds of a round"
    )
    parser.add_argument("--output", type=Path, help="JSON file for all numbers")
    parser.add_argument(
        "--gin_bindings", action="append", default=[], help="a binding after those of breakout.gin"
    )
    options = parser.parse_args(arguments)
    if options.transitions < 50_000:
        parser.error(
            f"argument --transitions: needs 50,000 or more, but is {options.transitions:,}: with "
            "fewer, what is measured is not the buffer"
        )
    return options


def _rounds(
    options: argparse.Namespace, level: str, children: dict[str, processes.OwnProcess]
) -> list[dict[str, Any]]:
    """Trains with both in turn; returns each round of each."""
    measured = []
    for number in range(options.rounds):
        for name in rounds.order(list(children), number):
            answer = children[name].ask("training", seconds=options.seconds)
            speed = answer["env_steps"] / answer["seconds"]
            entry = {"level": level, "round": number + 1, "contestant": name, **answer}
            measured.append(entry | {"env_steps_per_second": speed})
            _tell(f"Round {number + 1} of {options.rounds}, {level}, {name}: {speed:,.0f} steps/s")
    return measured


def _speeds(measured: Sequence[dict[str, Any]], level: str, contestant: str) -> list[float]:
    return rounds.speeds((each for each in measured if each["level"] == level), contestant)


def _conclude(
    name: str, table: dict[str, Any], levels: dict[str, int], measured: Sequence[dict[str, Any]]
) -> None:
    """Adds to a table's measurements what they come to."""
    found = table["levels"]
    for level in levels:
        found[level]["env_steps_per_second"] = statistics.median(_speeds(measured, level, name))
    empty, full = found["empty"], found["full"]
    table["bytes_per_transition"] = (full["resident_bytes"] - empty["resident_bytes"]) / (
        full["transitions"] - empty["transitions"]
    )
    table["peak_bytes"] = table["checkpoint"]["peak_bytes"]
    table["growth_while_overwriting_bytes"] = (
        table["overwritten"]["resident_bytes"] - full["resident_bytes"]
    )


def _shown(result: dict[str, Any]) -> str:
    """The result as tables and a sentence."""
    gigabytes = "{:.2f} GB".format
    memory, speed = [], []
    for name, table in result["replay"].items():
        levels = table["levels"]
        memory.append(
            (
                name,
                gigabytes(table["built"]["resident_bytes"] / 1e9),
                *(gigabytes(each["resident_bytes"] / 1e9) for each in levels.values()),
                gigabytes(table["overwritten"]["resident_bytes"] / 1e9),
                gigabytes(table["peak_bytes"] / 1e9),
                f"{table['bytes_per_transition']:,.0f}",
            )
        )
        speed.append(
            (
                name,
                *(f"{each['env_steps_per_second']:,.0f}" for each in levels.values()),
                *(f"{each['sampling']['milliseconds']:.1f}" for each in levels.values()),
            )
        )
    ratios = result["ratios"].values()
    speed.append(("compressed / plain", *(f"{ratio:.2f}" for ratio in ratios), *[None] * 3))
    machine, settings = result["machine"], result["settings"]
    group = result["replay"]["plain"]["levels"]["full"]["sampling"]["transitions"]
    return "\n".join(
        [
            "",
            f"{machine['processor']}, {machine['cores']} cores; {settings['transitions']:,} "
            "transitions of Breakout.",
            "",
            "Memory of the whole process:",
            report.table(
                (
                    "replay",
                    "built",
                    "empty",
                    "half",
                    "full",
                    "overwritten",
                    "peak",
                    "bytes/transition",
                ),
                memory,
            ),
            "",
            f"Environment steps/s while training, and milliseconds to sample {group} transitions:",
            report.table(
                ("replay", "empty", "half", "full", "ms, empty", "ms, half", "ms, full"), speed
            ),
        ]
    )


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


if __name__ == "__main__":
    report.run(main)
