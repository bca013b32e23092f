"""The conversation with a contestant, and with a `train.py`, that need no library."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest

from benchmarks import processes
from benchmarks.processes import Child, TrainProcess
from dqn_breakout.errors import UserError

COUNTER = """
    import time

    from benchmarks import contestant

    contestant._WARM_UP_SECONDS = 0.01

    class Counter(contestant.Contestant):
        env_steps_per_iteration = 4
        env_steps = 0

        def fill(self):
            print("A library talks.")
            return {"filled": True}

        def train_until(self, deadline):
            while time.perf_counter() < deadline:
                self.env_steps += 4

        def counts(self):
            return self.env_steps, self.env_steps // 4

    contestant.serve(lambda settings: Counter())
"""


def counter() -> Child:
    return Child("counter", [sys.executable, "-c", textwrap.dedent(COUNTER), "{}"])


def test_a_round_counts_what_was_done_in_its_time() -> None:
    with counter() as child:
        assert child.ask("ready") == {"env_steps_per_iteration": 4, "filled": True}
        for answer in (child.ask("round", seconds=0.05), child.ask("round", seconds=0.05)):
            assert answer["seconds"] >= 0.05
            assert answer["env_steps"] == 4 * answer["updates"] > 0
    assert not child.process.is_running()


def test_a_contestant_that_ends_is_named_with_its_last_words() -> None:
    with counter() as child, pytest.raises(UserError, match=r"^counter .* code 1; .* 'no'"):
        child.ask("no")


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(UserError, match="sb3 cannot be started"):
        processes.start("sb3", "benchmarks.peers.sb3", {}, "/nowhere/python")


def test_rows_of_a_run_are_read_once_and_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "train.py").write_text("import sys\nsys.exit(f'No such {sys.argv[-1]}.')")
    monkeypatch.setattr(processes, "ROOT", tmp_path)
    with TrainProcess("a run", tmp_path, ["none.gin"], []) as run:
        with pytest.raises(UserError, match=r"a run ended with code 1; .*No such --gin_file=none"):
            run.next_rows()
        metrics_jsonl = tmp_path / "metrics.jsonl"
        metrics_jsonl.write_text('{"env_steps": 64}\n{"env_s')
        assert run.next_rows() == [{"env_steps": 64}]
        assert run.new_rows() == []
        metrics_jsonl.write_text('{"env_steps": 64}\n{"env_steps": 128}\n')
        assert run.next_rows() == [{"env_steps": 128}]
