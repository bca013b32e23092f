"""The short form of `make chaos`; see docs/reliability.md."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.chaos.train_process import REPOSITORY

pytestmark = pytest.mark.slow

# Not in the checkpoint, but of what happens beside training.
LOGS = ("rows ", "evaluations ")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("chaos")
    output = folder / "results.json"
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "tests.chaos.short"),
            *("--work_dir", folder / "work", "--output", output),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert output.exists(), ended.stdout + ended.stderr
    cases: list[dict[str, Any]] = json.loads(output.read_text())["cases"]
    assert len(cases) == 6
    return cases


def of_logs(result: dict[str, Any]) -> list[str]:
    return [fault for fault in result["faults"] if fault.startswith(LOGS)]


def test_killed_between_a_checkpoint_and_its_row_a_run_ends_as_if_left_alone(results):
    assert results[0]["told"]["killed"] == "before fsync checkpoints"
    assert [fault for fault in results[0]["faults"] if fault not in of_logs(results[0])] == []


def test_killed_between_a_checkpoint_and_its_row_a_run_lacks_no_row(results):
    assert [fault for fault in of_logs(results[0]) if fault.startswith("rows ")] == []


def test_killed_before_an_evaluation_a_run_makes_up_for_it(results):
    assert [fault for fault in of_logs(results[0]) if fault.startswith("evaluations ")] == []


def test_replay_segments_are_written_beside_training_meanwhile(results):
    assert results[0]["told"]["segments written beside training"] > 3


def test_a_disk_that_is_full_in_the_middle_of_a_checkpoint_costs_nothing(results):
    assert "learner.npz" in results[1]["told"]["at"]
    assert results[1]["told"]["saved before"] == 2
    assert results[1]["faults"] == []


def test_a_disk_that_is_full_at_the_lock_is_one_sentence(results):
    assert results[2]["told"]["at"] == "open .lock"
    assert results[2]["faults"] == []


def test_a_run_whose_directory_is_removed_ends_and_makes_no_other(results):
    assert results[3]["faults"] == []


def test_stopped_by_sigterm_a_run_is_saved_and_goes_on_as_if_left_alone(results):
    told = results[4]["told"]
    assert (told["path"], told["signal"], told["exit code"]) == ("fast", "SIGTERM", 143)
    assert told["saved at"] > 0
    # How soon depends on what else the machine does; `python -m tests.chaos.stop` holds it to 10 s.
    late = ("it took ",)
    assert [fault for fault in results[4]["faults"] if not fault.startswith(late)] == []


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(results):
    assert results[5]["told"]["it"] == "went back"
    assert results[5]["faults"] == []
