"""Environment steps a second while training, beside peers: python -m benchmarks.throughput --help

All contestants play Breakout without sticky actions, train on the same batch at the same update
ratio with the same threads, from a full replay memory of the same number of transitions, at the
final epsilon. Each runs in a process of its own that sleeps while others run. Rounds are
interleaved, so that a machine whose speed drifts is the same for all. Where other work took more
than a twentieth of the machine, a round is taken again, twice at most, and the quietest counts.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import first_gradient_step, processes, report, rounds

_PEERS_PYTHON = processes.ROOT / ".venv-peers" / "bin" / "python"
_PEERS = ("sb3", "book")
_SEED = 1
_EPSILON = 0.01
# Of all processors' time; where more goes to others, the machine is not idle.
_BUSY_SHARE = 0.05
_TRIES = 3
# What breakout.gin is without each choice made for speed.
_LEVERS_OFF: dict[str, tuple[str, ...]] = {
    "games in C++": ("create_environment.games = @python_games",),
    "sixteen games": ("create_environment.num_environments = 1",),
    "overlapped collection": ("create_collector.overlapped = False",),
    "two lanes": ("create_q_network.convolution_lanes = 1",),
    "compiled optimizer": ("create_optimizer.compiled = False",),
    "targets ahead": ("create_learner.targets_ahead = False",),
    "groups of four batches": ("create_learner.train_steps_per_group = 1",),
}
_LEVERS_OFF |= {
    "any of these": tuple(binding for (binding,) in _LEVERS_OFF.values()),
    # A lever for memory, which may cost speed.
    "plain replay": ("create_replay_buffer.frame_table = @compressed_frames",),
}


class Contestant(NamedTuple):
    """Who runs.

    Attributes:
        name: In table and JSON.
        python: The interpreter of its environment.
        module: What serves it.
        settings: What it is given.
    """

    name: str
    python: str | Path
    module: str
    settings: dict[str, Any]


def main(arguments: Sequence[str]) -> int:
    """Measures, writes, prints."""
    options = _options(arguments)
    report.check_output(options.output)
    contestants = _contestants(options)
    result = report.header("throughput", _settings(options))
    if not _is_alone(options):
        _tell("From the command to the first gradient step ...")
        try:
            result["seconds_to_first_gradient_step"] = first_gradient_step.seconds(
                options.gin_file, options.gin_bindings, options.threads
            )
        except first_gradient_step.TooLittleMemory as error:
            _tell(f"  Left out: {error.message}")
            result["seconds_to_first_gradient_step"] = None
    with contextlib.ExitStack() as running:
        speed = _start_machine_speed(options)
        running.enter_context(speed)
        speed.ask(None)
        children: dict[str, processes.OwnProcess] = {}
        facts: dict[str, dict[str, Any]] = {}
        for contestant in contestants:
            _tell(f"{contestant.name}: filling {options.replay_transitions:,} transitions ...")
            child = processes.start(*contestant)
            children[contestant.name] = running.enter_context(child)
            facts[contestant.name] = child.ask(None)
        ours = facts[contestants[0].name]
        sample_flops = rounds.flops_per_sample(ours["forward_flops"], ours["first_layer_flops"])
        measured = _run_rounds(options, children, facts, speed, sample_flops)
        if not _is_alone(options):
            emulator = speed.ask("emulator", num_environments=ours["num_environments"])
            result["emulator_env_steps_per_second"] = emulator["env_steps_per_second"]
            result["random_fill_env_steps_per_second"] = ours["random_fill_env_steps_per_second"]
    result["versions"] |= {name: fact["versions"] for name, fact in facts.items() if name in _PEERS}
    result["contestants"] = {
        name: {key: value for key, value in fact.items() if key != "versions"}
        for name, fact in facts.items()
    }
    counted = [each for each in measured if each["counts"]]
    result["env_steps_per_second"] = rounds.medians(counted, "env_steps_per_second")
    result["floor"] = {
        "formula": rounds.FLOOR_FORMULA,
        "flops_per_sample": sample_flops,
        "matrix_product_flops_per_second": statistics.median(
            each["matrix_product_flops_per_second"] for each in counted
        ),
        "share": rounds.medians(counted, "floor_share"),
    }
    if options.levers:
        gains = rounds.ratios(counted, map(_lever_name, _LEVERS_OFF))
        result["levers"] = [
            {
                "contestant": _lever_name(name),
                "gin_bindings": list(off),
                "env_steps_per_second": result["env_steps_per_second"][_lever_name(name)],
                "gain": gains[_lever_name(name)],
            }
            for name, off in _LEVERS_OFF.items()
        ]
    elif options.environments is None:
        result["ratios"] = rounds.ratios(counted, options.peers)
    else:
        result["environments_curve"] = [
            {
                "num_environments": number,
                "env_steps_per_second": result["env_steps_per_second"][_curve_name(number)],
                "floor_share": result["floor"]["share"][_curve_name(number)],
            }
            for number in options.environments
        ]
    result["rounds"] = measured
    print(_shown(result))
    report.write(options.output, result)
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = report.ArgumentParser(
        prog="python -m benchmarks.throughput", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--rounds", type=report.positive_int, default=3, help="rounds of each")
    parser.add_argument(
        "--seconds", type=report.positive_seconds, default=30.0, help="timed seconds of a round"
    )
    parser.add_argument("--output", type=Path, help="JSON file for all numbers")
    parser.add_argument("--batch_size", type=report.positive_int, default=32, help="of an update")
    parser.add_argument(
        "--env_steps_per_update", type=report.positive_int, default=4, help="the update ratio"
    )
    parser.add_argument(
        "--threads", type=_threads, default=None, help="processor cores to use; None for all"
    )
    parser.add_argument(
        "--peers", type=_peers, default=list(_PEERS), help="names with commas between, or 'none'"
    )
    parser.add_argument(
        "--replay_transitions",
        type=report.positive_int,
        default=20_000,
        help="capacity of each replay memory, filled before anything is timed",
    )
    parser.add_argument(
        "--environments",
        type=_environments,
        default=None,
        help="only this project, with each of these numbers of environments: 1,2,4,8,16,32",
    )
    parser.add_argument(
        "--levers",
        action="store_true",
        help="only this project, and it without each of the choices made for speed",
    )
    parser.add_argument(
        "--gin_file",
        action="append",
        help="this project's gin file (breakout.gin); may be repeated",
    )
    parser.add_argument(
        "--gin_bindings", action="append", default=[], help="a binding of this project's"
    )
    parser.add_argument(
        "--peers_python", type=Path, default=_PEERS_PYTHON, help="interpreter that has SB3"
    )
    options = parser.parse_args(arguments)
    options.gin_file = options.gin_file or ["breakout.gin"]
    if options.replay_transitions <= options.batch_size:
        parser.error(
            f"argument --replay_transitions: needs more than a batch of {options.batch_size}, but "
            f"is {options.replay_transitions}"
        )
    if options.levers and options.environments is not None:
        parser.error("--levers and --environments are two measurements: give one of them")
    if _is_alone(options):
        options.peers = []
    if "sb3" in options.peers and not os.access(options.peers_python, os.X_OK):
        parser.error(
            f"there is no {options.peers_python} to run sb3 with; `make bench` sets it up, and "
            "--peers=book leaves it out"
        )
    return options


def _is_alone(options: argparse.Namespace) -> bool:
    """Whether this project is compared with itself alone."""
    return options.levers or options.environments is not None


def _threads(text: str) -> int:
    threads = report.positive_int(text)
    cores = os.cpu_count() or 1
    if threads > cores:
        raise argparse.ArgumentTypeError(f"is {threads}, but this machine has {cores} cores")
    return threads


def _peers(text: str) -> list[str]:
    if text == "none":
        return []
    names = list(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in _PEERS:
            raise argparse.ArgumentTypeError(
                f"knows {' and '.join(_PEERS)}, but not {name!r}; give names with commas between, "
                "or none"
            )
    return names


def _environments(text: str) -> list[int]:
    return list(dict.fromkeys(report.positive_int(number) for number in text.split(",")))


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "game": "Breakout",
        "sticky_action_probability": 0.0,
        "epsilon": _EPSILON,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "batch_size": options.batch_size,
        "env_steps_per_update": options.env_steps_per_update,
        "threads": options.threads or os.cpu_count(),
        "peers": options.peers,
        "replay_transitions": options.replay_transitions,
        "environments": options.environments,
        "levers": options.levers,
        "gin_file": options.gin_file,
        "gin_bindings": options.gin_bindings,
        "seed": _SEED,
    }


def _contestants(options: argparse.Namespace) -> list[Contestant]:
    """This project first, once or in each of its forms; then the peers."""
    shared = {
        "batch_size": options.batch_size,
        "env_steps_per_update": options.env_steps_per_update,
        "replay_transitions": options.replay_transitions,
        "threads": options.threads,
        "seed": _SEED,
    }
    same_for_all = [
        "create_environment.game = 'Breakout'",
        "create_environment.sticky_action_probability = 0.0",
        f"create_agent.epsilon_initial = {_EPSILON}",
        f"create_agent.epsilon_final = {_EPSILON}",
        f"create_replay_buffer.capacity_transitions = {options.replay_transitions}",
        f"create_collector.random_fill_env_steps = {options.replay_transitions}",
        f"create_learner.batch_size = {options.batch_size}",
        f"create_learner.env_steps_per_train_step = {options.env_steps_per_update}",
    ]

    def this_project(name: str, *bindings: str) -> Contestant:
        settings = {
            **shared,
            "gin_files": options.gin_file,
            "gin_bindings": [*same_for_all, *bindings, *options.gin_bindings],
        }
        return Contestant(name, sys.executable, "benchmarks.this_project", settings)

    if options.environments is not None:
        return [
            this_project(_curve_name(number), f"create_environment.num_environments = {number}")
            for number in options.environments
        ]
    if options.levers:
        return [
            this_project(rounds.OURS),
            *(this_project(_lever_name(name), *off) for name, off in _LEVERS_OFF.items()),
        ]
    pythons = {"sb3": options.peers_python, "book": sys.executable}
    return [
        this_project(rounds.OURS),
        *(
            Contestant(name, pythons[name], f"benchmarks.peers.{name}", shared)
            for name in options.peers
        ),
    ]


def _curve_name(num_environments: int) -> str:
    return f"{num_environments} environments" if num_environments > 1 else "1 environment"


def _lever_name(lever: str) -> str:
    return f"without {lever}"


def _start_machine_speed(options: argparse.Namespace) -> processes.OwnProcess:
    settings = {"threads": options.threads, "seed": _SEED}
    return processes.start("machine_speed", sys.executable, "benchmarks.machine_speed", settings)


def _run_rounds(
    options: argparse.Namespace,
    children: dict[str, processes.OwnProcess],
    facts: dict[str, dict[str, Any]],
    speed: processes.OwnProcess,
    sample_flops: int,
) -> list[dict[str, Any]]:
    """Every round of every contestant; one taken again is there again, and one of them counts."""
    measured: list[dict[str, Any]] = []
    for number in range(options.rounds):
        for place, name in enumerate(rounds.order(list(children), number), 1):
            tries: list[dict[str, Any]] = []
            while len(tries) < _TRIES and all(_is_busy(each) for each in tries):
                taken = _round(options, children[name], speed, sample_flops)
                tries.append({"round": number + 1, "place": place, "contestant": name, **taken})
                _tell(
                    f"Round {number + 1} of {options.rounds}, {name}: "
                    f"{taken['env_steps_per_second']:,.0f} environment steps a second"
                )
                if _is_busy(taken):
                    _tell(
                        f"  This machine is not idle: {taken['others_processor_share']:.0%} of its "
                        "processors' time went elsewhere."
                    )
                _check(options, [tries[-1]], facts[name])
            quietest = min(tries, key=lambda each: each["others_processor_share"])
            measured += [{**each, "counts": each is quietest} for each in tries]
    for name in children:
        # What is within bounds in each round may still add up.
        _check(options, [each for each in measured if each["contestant"] == name], facts[name])
    return measured


def _round(
    options: argparse.Namespace,
    contestant: processes.OwnProcess,
    speed: processes.OwnProcess,
    sample_flops: int,
) -> dict[str, Any]:
    """One timed round of one contestant."""
    peak_before = speed.ask("peak")["flops_per_second"]
    others = processes.machine_cpu_seconds() - contestant.cpu_seconds()
    started = time.monotonic()
    answer = contestant.ask("round", seconds=options.seconds)
    others = processes.machine_cpu_seconds() - contestant.cpu_seconds() - others
    passed = time.monotonic() - started
    # The better of both: neighbours on a shared machine only ever take away.
    peak = max(peak_before, speed.ask("peak")["flops_per_second"])
    updates_per_second = answer["updates"] / answer["seconds"]
    return {
        **answer,
        "env_steps_per_second": answer["env_steps"] / answer["seconds"],
        "updates_per_second": updates_per_second,
        "matrix_product_flops_per_second": peak,
        "floor_share": rounds.floor_share(
            updates_per_second, options.batch_size, sample_flops, peak
        ),
        "others_processor_share": others / passed / (os.cpu_count() or 1),
    }


def _is_busy(taken: dict[str, Any]) -> bool:
    return bool(taken["others_processor_share"] > _BUSY_SHARE)


def _check(
    options: argparse.Namespace, measured: Sequence[dict[str, Any]], facts: dict[str, Any]
) -> None:
    """Refuses rounds of one contestant in which, together, it did not keep the update ratio."""
    rounds.check_update_ratio(
        measured[0]["contestant"],
        sum(each["env_steps"] for each in measured),
        sum(each["updates"] for each in measured),
        options.env_steps_per_update,
        facts["env_steps_per_iteration"],
    )


def _shown(result: dict[str, Any]) -> str:
    """The result as a table and a few sentences."""
    speeds, shares = result["env_steps_per_second"], result["floor"]["share"]
    counted = [each for each in result["rounds"] if each["counts"]]
    others = {
        name: max(each["others_processor_share"] for each in counted if each["contestant"] == name)
        for name in speeds
    }
    ratio = result.get("ratios", {})
    ratio |= {each["contestant"]: each["gain"] for each in result.get("levers", ())}
    rows = [
        (
            name,
            f"{speed:,.0f}",
            f"{min(values):,.0f} to {max(values):,.0f}",
            f"{shares[name]:.0%}",
            f"{others[name]:.0%}",
            f"{ratio[name]:.2f}" if name in ratio else None,
        )
        for name, speed in speeds.items()
        if (values := rounds.speeds(counted, name))
    ]
    columns = (
        "contestant",
        "env steps/s",
        "over rounds",
        "of fp32 floor",
        "taken by others, worst",
        "ours / theirs",
    )
    width = len(columns) if ratio else len(columns) - 1
    machine, settings = result["machine"], result["settings"]
    lines = [
        "",
        f"{machine['processor']}, {settings['threads']} of {machine['cores']} cores; batch "
        f"{settings['batch_size']}, one update every {settings['env_steps_per_update']} "
        f"environment steps; rounds: {settings['rounds']} of {settings['seconds']:g} s, medians",
        "",
        report.table(columns[:width], [row[:width] for row in rows]),
        "",
        f"Matrix product (fp32): {result['floor']['matrix_product_flops_per_second'] / 1e9:,.0f} "
        f"GFLOP/s; {result['floor']['flops_per_sample'] / 1e6:.1f} MFLOP a sample",
    ]
    if "seconds_to_first_gradient_step" in result:
        first = result["seconds_to_first_gradient_step"]
        fill = result["random_fill_env_steps_per_second"]
        lines += [
            "Random fill: "
            + ("too short to measure" if fill is None else f"{fill:,.0f} environment steps/s")
            + f"; the emulator alone: {result['emulator_env_steps_per_second']:,.0f}",
            "From the command to the first gradient step: "
            + ("not measured, too little memory" if first is None else f"{first:.1f} s"),
        ]
    return "\n".join(lines)


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


if __name__ == "__main__":
    report.run(main)
