"""The conversation with a contestant, with one that needs no library."""

from __future__ import annotations

import contextlib
import json
import sys
import textwrap
from typing import Any

import psutil
import pytest

from benchmarks import processes
from benchmarks.report import MeasurementError
from dqn_breakout.errors import UserError

COUNTER = """
    import os
    import sys
    import time

    from benchmarks import contestant

    contestant._WARM_UP_SECONDS = 0.01

    class Counter:
        env_steps_per_iteration = 4

        def __init__(self, settings):
            if settings["refuse"]:
                raise ValueError(settings["refuse"])
            self.env_steps = 0

        def fill(self):
            print("A library talks.")
            return {"threads": os.environ.get("OMP_NUM_THREADS")}

        def train_until(self, deadline):
            while time.perf_counter() < deadline:
                self.env_steps += 4
            if self.env_steps > 10**12:
                sys.exit("unreachable")

        def counts(self):
            return self.env_steps, self.env_steps // 4

    contestant.serve_contestant(Counter, lambda: {"counter": "1"}, tell=(ValueError,))
"""


def start(**settings: Any) -> processes.OwnProcess:
    arguments = json.dumps({"threads": 1, "refuse": "", **settings})
    command = [sys.executable, "-c", textwrap.dedent(COUNTER), arguments]
    return processes.OwnProcess("counter", command, talks=True)


def test_a_round_counts_what_was_done_in_its_time() -> None:
    with start() as counter:
        ready = counter.ask(None)
        assert ready == {"env_steps_per_iteration": 4, "versions": {"counter": "1"}, "threads": "1"}
        first, second = counter.ask("round", seconds=0.05), counter.ask("round", seconds=0.05)
    for answer in (first, second):
        assert answer["seconds"] >= 0.05
        assert answer["env_steps"] == 4 * answer["updates"] > 0
    assert counter.has_ended()


def test_what_the_user_gave_wrong_is_told() -> None:
    with start(refuse="No such gin file.") as counter, pytest.raises(UserError) as error:
        counter.ask(None)
    assert error.value.message == "No such gin file."


def test_a_contestant_that_ends_is_named_with_its_last_words() -> None:
    with start() as counter:
        counter.ask(None)
        with pytest.raises(MeasurementError, match=r"^counter ended with code 1; .*KeyError: 'no'"):
            counter.ask("no")


def test_an_error_in_the_benchmark_ends_its_children() -> None:
    with contextlib.suppress(KeyboardInterrupt), start() as counter:
        counter.ask(None)
        process = psutil.Process(counter._process.pid)
        raise KeyboardInterrupt
    assert not process.is_running()


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(MeasurementError, match="sb3 cannot be started"):
        processes.start("sb3", "/nowhere/python", "benchmarks.peers.sb3", {})
