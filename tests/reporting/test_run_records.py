from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dqn_breakout.reporting.run_records import read_run
from dqn_breakout.runs.metrics import METRICS
from tests.reporting.conftest import evaluation, log_line


def test_reads_log_lines_as_columns(write_run):
    config = "STEPS = 9000\ntrain.total_env_steps = %STEPS\ncreate_environment.frame_skip = 4\n"
    run = read_run(write_run(config=config))
    np.testing.assert_array_equal(run.log["env_steps"], [1000, 2000, 3000, 4000, 5000])
    np.testing.assert_array_equal(run.log["average_return"], [np.nan, 2, 3, 4, 5])
    assert run.log["env_steps"].dtype == np.int64
    assert (run.game, run.seed, run.total_env_steps, run.frame_skip) == ("Breakout", 7, 9000, 4)
    assert run.starts["command"].tolist() == ["train.py 0"]


def test_metrics_of_other_algorithms_are_kept_and_none_is_nan(write_run):
    lines = [{"env_steps": 5, "priority": 0.5, "loss": None}, {"env_steps": 6, "loss": math.inf}]
    log = read_run(write_run(lines=lines)).log
    np.testing.assert_array_equal(log["priority"], [0.5, np.nan])
    assert set(METRICS) < set(log)
    assert log[["loss", "mean_q"]].isna().all(axis=None)


def test_only_metrics_are_needed(write_run):
    path = write_run()
    (path / "run.json").unlink()
    (path / "config.gin").unlink()
    run = read_run(path)
    assert (run.game, run.seed, len(run.starts), run.frame_skip) == (None, None, 0, None)
    assert run.seconds == 50


def test_a_last_line_that_is_cut_short_is_left_out(write_run):
    path = write_run()
    with (path / "metrics.jsonl").open("ab") as file:
        file.write(b'{"env_steps": 6000, "a": "\xff')
    assert read_run(path).log["env_steps"].iloc[-1] == 5000


# In the last case the newest checkpoint was damaged, and the run went on from an older one.
@pytest.mark.parametrize(
    ("starts", "seconds"), [([0], 30), ([0, 2000, 4000], 65), ([0, 4500, 4600, 2000], 50)]
)
def test_seconds_add_up_over_starts(write_run, starts, seconds):
    wall_seconds = {1000: 10.0, 2000: 20.0, 3000: 5.0, 4000: 15.0, 5000: 30.0}
    lines = [log_line(steps, wall_seconds=wall) for steps, wall in wall_seconds.items()]
    assert read_run(write_run(lines=lines, starts=starts)).seconds == seconds


def test_evaluations_in_order_of_env_steps(write_run):
    alone = evaluation(3.0, ci95=None, std=None, games=1, human_normalised=None)
    path = write_run(evaluations={4000: evaluation(8.0), 2000: alone})
    (path / "evaluations" / "notes.json").write_text("not an evaluation")
    first, second = read_run(path).evaluations.to_dict("records")
    assert (first["env_steps"], first["mean"], first["games"]) == (2000, 3.0, 1)
    assert np.isnan([first["low"], first["high"], first["std"], first["human_normalised"]]).all()
    assert tuple(second.values()) == (4000, "nature", 10, 8.0, 6.5, 9.5, 7.5, 2.0, 0.25)


@pytest.mark.parametrize("module", ["curves", "summary"])
def test_commands_refuse_in_one_sentence_and_never_import_tensorflow(module):
    words = ["-X", "importtime", "-m", f"dqn_breakout.reporting.{module}", "nowhere"]
    answer = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    *lines, last = answer.stderr.splitlines()
    assert answer.returncode == 2
    assert last.startswith(f"There is no directory {Path('nowhere').absolute()}. Give")
    imported = {line.split("|")[-1].strip().split(".")[0] for line in lines}
    assert "pandas" in imported
    assert not imported & {"tensorflow", "tf_agents", "tf_keras"}
