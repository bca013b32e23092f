"""Environment steps a second while training, beside peers: python -m benchmarks.throughput --help

All contestants play Breakout without sticky actions, train on the same batch at the same update
ratio with the same threads, from a full replay memory of the same number of transitions, at the
final epsilon. Each runs in a process of its own that sleeps while others run. Rounds are
interleaved, so that a machine whose speed drifts is the same for all.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import floor, processes, report, rounds
from benchmarks.this_project import LEVERS_OFF
from dqn_breakout import machine
from dqn_breakout.errors import UserError

_PEERS_PYTHON = str(processes.ROOT / ".venv-peers" / "bin" / "python")
_PEERS = {"sb3": _PEERS_PYTHON, "book": sys.executable}
_EMULATOR_ENV_STEPS = 12_000


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = report.parser("throughput", __doc__, rounds=3, seconds=30.0, epsilon=0.01, seed=1)
    made.set_defaults(game="Breakout", sticky_action_probability=0.0)
    made.set_defaults(batch_size=32, env_steps_per_update=4, threads=machine.usable_cores())
    made.add_argument(
        "--replay_transitions",
        type=report.positive_int,
        default=20_000,
        help="capacity of each replay memory, filled before anything is timed",
    )
    made.add_argument(
        "--peers", nargs="*", choices=list(_PEERS), default=list(_PEERS), help="whom to run beside"
    )
    alone = made.add_mutually_exclusive_group()
    alone.add_argument(
        "--environments",
        type=_numbers,
        help="only this project, with each of these numbers of environments: 1,2,4,8,16,32",
    )
    alone.add_argument(
        "--levers",
        action="store_true",
        help="only this project, and it without each of the choices made for speed",
    )
    return made


def _numbers(text: str) -> list[int]:
    return [report.positive_int(number) for number in text.split(",")]


def forms(options: argparse.Namespace) -> dict[str, tuple[str, ...]]:
    """The bindings of each form of this project that is to run, by name."""
    if options.environments:
        return {
            f"{number} environment" + "s" * (number > 1): (
                f"create_environment.num_environments = {number}",
            )
            for number in options.environments
        }
    levers = LEVERS_OFF if options.levers else {}
    return {rounds.OURS: (), **{f"without {lever}": off for lever, off in levers.items()}}


def contestants(options: argparse.Namespace) -> dict[str, tuple[str, dict[str, Any], str]]:
    """By name: module, settings and interpreter. This project first, in each form; then peers."""
    same_for_all = [
        f"create_environment.game = '{options.game}'",
        f"create_environment.sticky_action_probability = {options.sticky_action_probability}",
        f"create_agent.epsilon_initial = {options.epsilon}",
        f"create_agent.epsilon_final = {options.epsilon}",
        f"create_replay_buffer.capacity_transitions = {options.replay_transitions}",
        f"create_collector.random_fill_env_steps = {options.replay_transitions}",
        f"create_learner.batch_size = {options.batch_size}",
        f"create_learner.env_steps_per_train_step = {options.env_steps_per_update}",
    ]
    found = {}
    for name, bindings in forms(options).items():
        settings = {
            "gin_files": options.gin_file,
            "gin_bindings": [*same_for_all, *bindings, *options.gin_bindings],
            "seed": options.seed,
        }
        found[name] = ("benchmarks.this_project", settings, sys.executable)
    for peer in options.peers:
        found[peer] = (f"benchmarks.peers.{peer}", report.settings(options), _PEERS[peer])
    return found


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything that the options ask for, as the result holds it.

    Raises:
        UserError: A contestant cannot be run, or did not keep the update ratio.
    """
    alone = options.levers or options.environments
    if alone:
        options.peers = []
    if "sb3" in options.peers and not os.access(_PEERS_PYTHON, os.X_OK):
        raise UserError(
            f"There is no {_PEERS_PYTHON} to run sb3 with; `make bench` sets it up, and "
            "--peers=book leaves it out."
        )
    first_step = None if alone else _seconds_to_first_gradient_step(options)
    with contextlib.ExitStack() as running:
        speed = running.enter_context(processes.start("machine", "benchmarks.floor", {}))
        children, facts = {}, {}
        for name, served in contestants(options).items():
            report.tell(f"{name}: filling {options.replay_transitions:,} transitions ...")
            children[name] = running.enter_context(processes.start(name, *served))
            facts[name] = children[name].ask("ready")
        ours = next(iter(facts.values()))
        measured = _take_rounds(options, children, facts, speed)
        emulator = speed.ask(
            "emulator", num_environments=ours["num_environments"], env_steps=_EMULATOR_ENV_STEPS
        )
    products = [each["matrix_product_flops_per_second"] for each in measured]
    speeds = rounds.medians(measured, "env_steps_per_second")
    return {
        "seconds_to_first_gradient_step": first_step,
        "emulator_env_steps_per_second": emulator["env_steps_per_second"],
        "random_fill_env_steps_per_second": ours["random_fill_env_steps_per_second"],
        "contestants": facts,
        "env_steps_per_second": speeds,
        "floor": {
            "formula": floor.FLOOR_FORMULA,
            "flops_per_sample": ours["flops_per_sample"],
            "matrix_product_flops_per_second": statistics.median(products),
            "share": rounds.medians(measured, "floor_share"),
        },
        "ratios": {
            name: rounds.ratio(measured, rounds.OURS, name)
            for name in speeds
            if rounds.OURS in speeds and name != rounds.OURS
        },
        "rounds": measured,
    }


def _seconds_to_first_gradient_step(options: argparse.Namespace) -> float:
    """Starts a run in a new directory, waits for its first train steps, and ends it.

    It writes a row after each turn; what is timed ends when the first of them tells of train steps.
    Imports, the random fill and compilation are in it.

    Raises:
        UserError: The run ended before: gin is wrong, say, or memory too small for the replay.
    """
    bindings = [*options.gin_bindings, "train.log_period_env_steps = 1"]
    with tempfile.TemporaryDirectory(prefix="first-gradient-step-") as folder:
        started = time.perf_counter()
        training = processes.TrainProcess("train.py", Path(folder), options.gin_file, bindings)
        with training:
            while not any(row["train_steps"] for row in training.next_rows()):
                pass
            return time.perf_counter() - started


def _take_rounds(
    options: argparse.Namespace,
    children: dict[str, processes.Child],
    facts: dict[str, dict[str, Any]],
    speed: processes.Child,
) -> list[dict[str, Any]]:
    """Every round of every contestant.

    Raises:
        UserError: A contestant did not keep the update ratio.
    """
    measured: list[dict[str, Any]] = []
    update_flops = options.batch_size * next(iter(facts.values()))["flops_per_sample"]
    peak = speed.ask("product")["flops_per_second"]
    for entry in rounds.take_timed(children, options):
        # The better of before and after: neighbours on a shared machine only ever take away.
        before, peak = peak, speed.ask("product")["flops_per_second"]
        best, name = max(before, peak), entry["contestant"]
        entry["matrix_product_flops_per_second"] = best
        entry["floor_share"] = entry["updates_per_second"] * update_flops / best
        measured.append(entry)
        # All rounds so far: what is within bounds in each may still add up.
        rounds.check_update_ratio(
            name,
            sum(rounds.values(measured, name, "env_steps")),
            sum(rounds.values(measured, name, "updates")),
            options.env_steps_per_update,
            facts[name]["env_steps_per_iteration"],
        )
    return measured


def show(result: dict[str, Any]) -> None:
    """Prints the result as tables."""
    shares, ratios = result["floor"]["share"], result["ratios"]
    report.table(
        [
            rounds.speed_row(result["rounds"], name)
            | {"of fp32 floor": shares[name], "ours / theirs": ratios.get(name)}
            for name in shares
        ]
    )
    others = {
        "first gradient step, s": result["seconds_to_first_gradient_step"],
        "random fill, steps/s": result["random_fill_env_steps_per_second"],
        "emulator alone": result["emulator_env_steps_per_second"],
        "matrix product, FLOP/s": result["floor"]["matrix_product_flops_per_second"],
    }
    report.table([others])


if __name__ == "__main__":
    report.run(parser(), measure, show)
