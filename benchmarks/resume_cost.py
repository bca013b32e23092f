"""What it costs that a run goes on to the bit: python -m benchmarks.resume_cost --help

Two real `train.py` of the same configuration and seed take turns on the machine; while one runs,
the other is stopped (SIGSTOP). One writes replay segments beside training, and checkpoints; the
other writes neither. Both write their rows of numbers; neither evaluates.

A checkpoint of `breakout.gin` comes every five minutes or so, too rarely to be timed often. So the
two costs are measured apart and put together by `COST_FORMULA`: what the segments take from the
speed between checkpoints, by both processes' times without the pauses; and how long training stands
still for a checkpoint, which comes more often here. How long hardly depends on how often: all but
the last few thousand transitions were written before, beside training.

On a machine that others use too, speeds of two processes differ by more than that. The processor
time that an environment step takes hardly does, and is told beside.

What determinism takes is in neither, for both processes have it. Random numbers are counted and
stateless. What is played beside training follows the policy of the turn before and comes to the
replay buffer when the turn ends. TensorFlow's flag for deterministic operations is not set: on
processors they give the same bits without. None of this is a choice of gin's;
`create_collector.overlapped = False` is another algorithm, as deterministic, and slower.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import processes, report, rounds
from dqn_breakout.runs.directory import RunDirectory

ON, OFF = "exact resume on", "exact resume off"
COST_FORMULA = (
    "1 - r * t / (t + pause): r = median over rounds of on / off, environment steps a second "
    "without the pauses; t = checkpoint_period_env_steps / (on, median); pause = median of all "
    "checkpoints"
)
_SEED = 1
_NEVER = 10**9
# Of all processors' time; where more goes to others, the machine is not idle.
_BUSY_SHARE = 0.05
_LOOKS_EVERY_SECONDS = 0.002
# The first turns compile.
_ROWS_OF_WARM_UP = 3
# `train.py`, but for the segments written beside training.
_WITHOUT_WRITING_AHEAD = (
    "import runpy; from dqn_breakout.runs.checkpoint import RunCheckpointer; "
    "RunCheckpointer.write_ahead = lambda self: None; "
    "runpy.run_path('train.py', run_name='__main__')"
)


class Rows:
    """The rows of a run, as they come."""

    def __init__(self, path: Path):
        """Reads `metrics.jsonl` from its start; it need not be there yet."""
        self._path = path
        self._read = 0

    def new(self) -> list[dict[str, Any]]:
        """Those that were finished since the last call."""
        try:
            with open(self._path, "rb") as file:
                file.seek(self._read)
                content = file.read()
        except FileNotFoundError:
            return []
        whole = content[: content.rfind(b"\n") + 1]
        self._read += len(whole)
        return [json.loads(line) for line in whole.splitlines()]


class Training(processes.OwnProcess):
    """`train.py`, which is stopped as soon as it has written a row, but while it is measured.

    A stop never falls into a checkpoint: its row comes after it.
    """

    def __init__(self, name: str, command: Sequence[str], run: RunDirectory):
        """Starts it; it runs until `warm_up` returns."""
        super().__init__(name, command, talks=False)
        self._rows = Rows(run.metrics_jsonl)

    def warm_up(self) -> None:
        """Waits until a few rows tell of train steps, and stops it.

        Raises:
            MeasurementError: The process ended.
        """
        trained = 0
        while trained < _ROWS_OF_WARM_UP:
            trained += sum(row["train_steps"] > 0 for row in self._next_rows())
        os.killpg(self._process.pid, signal.SIGSTOP)

    def go_on(self, seconds: float) -> dict[str, Any]:
        """Lets it train for at least so long, from one row to another, and stops it again.

        Up to the first row nothing is timed: caches are then its own.

        Raises:
            MeasurementError: The process ended.
        """
        self._rows.new()
        os.killpg(self._process.pid, signal.SIGCONT)
        first, started = self._next_rows()[-1], time.perf_counter()
        worked = self.cpu_seconds()
        rows, ended = [], started
        while ended - started < seconds:
            rows += self._next_rows()
            ended = time.perf_counter()
        worked = self.cpu_seconds() - worked
        os.killpg(self._process.pid, signal.SIGSTOP)
        env_steps = rows[-1]["env_steps"] - first["env_steps"]
        pauses = [each for row in rows if (each := row["checkpoint_seconds"]) is not None]
        passed = ended - started
        return {
            "env_steps": env_steps,
            "seconds": passed,
            "checkpoint_seconds": pauses,
            "env_steps_per_second": env_steps / (passed - sum(pauses)),
            "env_steps_per_second_pauses_included": env_steps / passed,
            "processor_ms_per_env_step": 1000 * worked / env_steps,
        }

    def _next_rows(self) -> list[dict[str, Any]]:
        while not (rows := self._rows.new()):
            if self.has_ended():
                raise self.ended()
            time.sleep(_LOOKS_EVERY_SECONDS)
        return rows


def cost(measured: Sequence[dict[str, Any]], checkpoint_period_env_steps: int) -> dict[str, float]:
    """Puts the two costs together.

    Args:
        measured: Both contestants' every round.
        checkpoint_period_env_steps: How often there is a checkpoint in the run that is asked about.

    Returns:
        `of_writing_ahead`, `of_checkpoints` and `cost`, shares of the speed without either;
        `pause_seconds`, of one checkpoint; and `of_processor_time`, what writing ahead and the
        timed checkpoints add to the processor time of an environment step.

    Raises:
        MeasurementError: There was no checkpoint.
    """
    pauses = [seconds for each in measured for seconds in each["checkpoint_seconds"]]
    if not pauses:
        raise report.MeasurementError(
            "No checkpoint came while it was timed. Give more --seconds or --rounds, or fewer "
            "--checkpoint_period_env_steps."
        )
    on, off = rounds.speeds(measured, ON), rounds.speeds(measured, OFF)
    ratio, pause = report.median_of_ratios(on, off), statistics.median(pauses)
    between = checkpoint_period_env_steps / statistics.median(on)
    training = between / (between + pause)
    work = {
        name: [each["processor_ms_per_env_step"] for each in measured if each["contestant"] == name]
        for name in (ON, OFF)
    }
    return {
        "of_processor_time": report.median_of_ratios(work[ON], work[OFF]) - 1,
        "of_writing_ahead": 1 - ratio,
        "of_checkpoints": 1 - training,
        "pause_seconds": pause,
        "cost": 1 - ratio * training,
    }


def main(arguments: Sequence[str]) -> int:
    """Measures, writes, prints."""
    options = _options(arguments)
    report.check_output(options.output)
    period = _checkpoint_period(options)
    settings = {**vars(options), "output": None, "seed": _SEED, "gin_period_env_steps": period}
    result = report.header("resume_cost", settings)
    runs = processes.ROOT / "runs"
    runs.mkdir(exist_ok=True)
    with contextlib.ExitStack() as closing:
        folder = closing.enter_context(tempfile.TemporaryDirectory(prefix=".cost-", dir=runs))
        both: dict[str, Training] = {}
        for name in (ON, OFF):
            _tell(f"{name}: the random fill, the first train steps ...")
            run = RunDirectory(Path(folder) / name.replace(" ", "-"))
            both[name] = Training(name, _command(name, run, options), run)
            closing.enter_context(both[name])
            both[name].warm_up()
        measured = _run_rounds(options, both)
    result["formula"] = COST_FORMULA
    result["env_steps_per_second"] = rounds.medians(measured, "env_steps_per_second")
    result["checkpoint_seconds"] = [
        seconds for each in measured for seconds in each["checkpoint_seconds"]
    ]
    result |= cost(measured, period)
    result["rounds"] = measured
    print(_shown(result))
    report.write(options.output, result)
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = report.ArgumentParser(
        prog="python -m benchmarks.resume_cost", description=str(__doc__).partition("\n")[0]
    )
    parser.add_argument("--rounds", type=report.positive_int, default=8, help="rounds of each")
    parser.add_argument(
        "--seconds", type=report.positive_seconds, default=60.0, help="timed seconds of a round"
    )
    parser.add_argument(
        "--checkpoint_period_env_steps",
        type=report.positive_int,
        default=10_000,
        help="between the checkpoints that are timed",
    )
    parser.add_argument("--output", type=Path, help="JSON file for all numbers")
    parser.add_argument("--gin_file", action="append", help="as of train.py (breakout.gin)")
    parser.add_argument("--gin_bindings", action="append", default=[], help="as of train.py")
    options = parser.parse_args(arguments)
    options.gin_file = options.gin_file or ["breakout.gin"]
    return options


def _checkpoint_period(options: argparse.Namespace) -> int:
    """That of the configuration itself, in environment steps."""
    from dqn_breakout import config, experiment  # noqa: F401  (registers what gin configures)

    config.parse(options.gin_file, options.gin_bindings)
    return int(config.value("train.checkpoint_period_env_steps"))


def _command(name: str, run: RunDirectory, options: argparse.Namespace) -> list[str]:
    period = options.checkpoint_period_env_steps if name == ON else _NEVER
    program = ["train.py"] if name == ON else ["-c", _WITHOUT_WRITING_AHEAD]
    bindings = [
        *options.gin_bindings,
        f"train.checkpoint_period_env_steps = {period}",
        f"train.evaluation_period_env_steps = {_NEVER}",
        f"train.total_env_steps = {_NEVER}",
    ]
    return [
        *(sys.executable, *program, f"--run_dir={run.path}", f"--seed={_SEED}"),
        *(f"--gin_file={file}" for file in options.gin_file),
        *(f"--gin_bindings={binding}" for binding in bindings),
    ]


def _run_rounds(options: argparse.Namespace, both: dict[str, Training]) -> list[dict[str, Any]]:
    measured = []
    for number in range(options.rounds):
        for place, name in enumerate(rounds.order(list(both), number), 1):
            process = both[name]
            others = processes.machine_cpu_seconds() - process.cpu_seconds()
            started = time.monotonic()
            answer = process.go_on(options.seconds)
            others = processes.machine_cpu_seconds() - process.cpu_seconds() - others
            share = others / (time.monotonic() - started) / (os.cpu_count() or 1)
            measured.append(
                {
                    "round": number + 1,
                    "place": place,
                    "contestant": name,
                    **answer,
                    "others_processor_share": share,
                }
            )
            _tell(
                f"Round {number + 1} of {options.rounds}, {name}: "
                f"{answer['env_steps_per_second']:,.1f} environment steps a second"
            )
            if share > _BUSY_SHARE:
                _tell(
                    f"  This machine is not idle: {share:.0%} of its processors' time went "
                    "elsewhere, and the numbers will not hold."
                )
    return measured


def _shown(result: dict[str, Any]) -> str:
    """The result as a table and a few sentences."""
    settings = result["settings"]
    rows = []
    for name, speed in result["env_steps_per_second"].items():
        values = rounds.speeds(result["rounds"], name)
        work = statistics.median(
            each["processor_ms_per_env_step"]
            for each in result["rounds"]
            if each["contestant"] == name
        )
        spread = f"{min(values):,.1f} to {max(values):,.1f}"
        rows.append((name, f"{speed:,.1f}", spread, f"{work:.2f}"))
    pauses = result["checkpoint_seconds"]
    return "\n".join(
        [
            "",
            f"{', '.join(settings['gin_file'])}; rounds: {settings['rounds']} of at least "
            f"{settings['seconds']:g} s; medians, pauses left out",
            "",
            report.table(("", "env steps/s", "over rounds", "processor ms a step"), rows),
            "",
            f"Writing ahead costs {result['of_writing_ahead']:.1%} of the speed.",
            f"A checkpoint takes {result['pause_seconds']:.2f} s ({min(pauses):.2f} to "
            f"{max(pauses):.2f}, {len(pauses)} of them); one every "
            f"{settings['gin_period_env_steps']:,} environment steps costs "
            f"{result['of_checkpoints']:.2%}.",
            f"Together: {result['cost']:.1%} of the speed.",
            "By processor time, with a checkpoint every "
            f"{settings['checkpoint_period_env_steps']:,} environment steps: "
            f"{result['of_processor_time']:.1%}.",
        ]
    )


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


if __name__ == "__main__":
    report.run(main)
