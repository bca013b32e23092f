from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from dqn_breakout.errors import UserError
from dqn_breakout.reporting.run_records import read_run


def test_reads_log_lines_as_columns(write_run):
    run = read_run(write_run())
    np.testing.assert_array_equal(run.env_steps, [1000, 2000, 3000, 4000, 5000])
    np.testing.assert_array_equal(run.metrics["average_return"], [np.nan, 2, 3, 4, 5])
    np.testing.assert_array_equal(run.metrics["env_steps_per_second"], [4000, 200, 200, 200, 200])
    assert run.latest("epsilon") == 0.75
    assert (run.game, run.seed, run.budget_env_steps, run.frame_skip) == ("Breakout", 7, 10000, 4)
    assert run.starts[0].command == "train.py --seed=7"
    assert run.starts[0].git_revision is None
    assert run.notes == ()


def test_unknown_keys_and_missing_metrics_are_no_fault(write_run):
    run = read_run(write_run(lines=[{"env_steps": 5, "loss": 0.5, "new_metric": [1]}]))
    assert run.latest("loss") == 0.5
    assert run.latest("mean_q") is None


def test_only_metrics_are_needed(write_run):
    path = write_run()
    (path / "run.json").unlink()
    (path / "config.gin").unlink()
    run = read_run(path)
    assert (run.game, run.seed, run.starts, run.frame_skip) == (None, None, (), None)


def test_settings_through_macros(write_run):
    run = read_run(write_run(config="STEPS = 500\ntrain.total_env_steps = %STEPS\n"))
    assert run.budget_env_steps == 500


@pytest.mark.parametrize("torn", ['{"env_steps": 6000, "loss": 0.', "{", '{"a": "\xff'])
def test_a_torn_last_line_is_left_out_with_a_note(write_run, torn):
    path = write_run()
    with open(path / "metrics.jsonl", "ab") as file:
        file.write(torn.encode("latin-1"))
    run = read_run(path)
    assert run.env_steps[-1] == 5000
    (note,) = run.notes
    assert "the last line, 6, is not whole" in note


def test_a_whole_last_line_needs_no_newline(write_run, make_log_line):
    path = write_run()
    with open(path / "metrics.jsonl", "a") as file:
        file.write(json.dumps(make_log_line(6000)))
    run = read_run(path)
    assert run.env_steps[-1] == 6000
    assert run.notes == ()


@pytest.mark.parametrize(
    ("damaged", "words"),
    [
        ('{"env_steps": 2000, "lo{"env_steps": 3000}', "not JSON"),
        ("[1, 2]", "not a JSON object"),
        ("[" * 100_000, "not JSON"),
        ('{"loss": 0.1}', "env_steps must be a whole number of 0 or more, but is missing"),
        ('{"env_steps": -1}', "env_steps must be a whole number of 0 or more, but is -1"),
        ('{"env_steps": true}', "env_steps must be a whole number of 0 or more, but is true"),
        ('{"env_steps": 1.5}', "env_steps must be a whole number of 0 or more, but is 1.5"),
        ('{"env_steps": 5, "loss": "low"}', 'loss must be a number or null, but is "low"'),
        ('{"env_steps": 5, "loss": false}', "loss must be a number or null, but is false"),
    ],
)
def test_a_damaged_line_in_the_middle_is_named(write_run, damaged, words):
    path = write_run()
    lines = (path / "metrics.jsonl").read_text().splitlines()
    lines[2] = damaged
    (path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=r"^Line 3 of .*metrics\.jsonl") as error:
        read_run(path)
    assert words in error.value.message


def test_lines_logged_again_after_a_resume_count_once(write_run, make_log_line):
    lines = [make_log_line(steps) for steps in (1000, 2000, 3000)]
    lines += [make_log_line(steps, loss=0.7) for steps in (2000, 3000, 4000)]
    run = read_run(write_run(lines=lines))
    np.testing.assert_array_equal(run.env_steps, [1000, 2000, 3000, 4000])
    np.testing.assert_array_equal(run.metrics["loss"][1:], [0.7, 0.7, 0.7])
    assert "1 line is left out" in run.notes[0]


def test_values_that_are_not_finite_become_gaps_with_a_note(write_run, make_log_line):
    lines = [make_log_line(2000), make_log_line(3000, loss=math.nan, mean_q=math.inf)]
    run = read_run(write_run(lines=lines))
    assert run.latest("loss") is None
    assert run.latest("mean_q") is None
    assert "2 values are left out that are not finite" in run.notes[0]


def test_seconds_add_up_over_starts(write_run, make_log_line):
    lines = [
        make_log_line(1000, wall_seconds=10.0),
        make_log_line(2000, wall_seconds=20.0),
        make_log_line(3000, wall_seconds=5.0),  # Less than before: another process.
        make_log_line(4000, wall_seconds=15.0),
        make_log_line(5000, wall_seconds=30.0),  # More, but started at 4,000.
    ]
    starts = [{"env_steps": 0}, {"env_steps": 2000}, {"env_steps": 4000}]
    assert read_run(write_run(lines=lines, starts=starts)).seconds == 20 + 15 + 30


def test_no_seconds_logged(write_run):
    assert read_run(write_run(lines=[{"env_steps": 1}])).seconds is None


def test_no_directory(tmp_path):
    with pytest.raises(UserError, match=r"There is no directory .*nowhere"):
        read_run(tmp_path / "nowhere")


def test_no_metrics(tmp_path):
    with pytest.raises(UserError, match=r"There is no file .*metrics\.jsonl"):
        read_run(tmp_path)


@pytest.mark.parametrize("content", ["", "\n\n", '{"env_st'])
def test_empty_metrics(tmp_path, content):
    (tmp_path / "metrics.jsonl").write_text(content)
    with pytest.raises(UserError, match="holds no log line"):
        read_run(tmp_path)


def test_metrics_that_are_a_directory(tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('{"seed": "seven"}', 'seed must be a whole number, but is "seven"'),
        ('{"game": 5}', "game must be text, but is 5"),
        ('{"starts": {}}', "starts must be a list of objects"),
        ('{"starts": [{"env_steps": null}]}', "env_steps must be a whole number"),
    ],
)
def test_damaged_run_json(write_run, content, words):
    path = write_run()
    (path / "run.json").write_text(content)
    with pytest.raises(UserError) as error:
        read_run(path)
    assert "run.json" in error.value.message
    assert words in error.value.message


def test_damaged_config(write_run):
    with pytest.raises(UserError, match=r"config\.gin is damaged"):
        read_run(write_run(config="train.total_env_steps = (1,\n"))


def test_evaluations_in_order_of_env_steps(write_run, make_evaluation):
    path = write_run(
        evaluations={
            4000: make_evaluation(8.0),
            2000: make_evaluation(3.0, ci95=None, std=None, games=1, human_normalised=None),
        }
    )
    (path / "evaluations" / "notes.json").write_text("not an evaluation")
    first, second = read_run(path).evaluations
    assert (first.env_steps, first.mean, first.ci95, first.games) == (2000, 3.0, None, 1)
    assert (second.env_steps, second.ci95, second.protocol) == (4000, (6.5, 9.5), "nature")
    assert (second.median, second.std, second.human_normalised) == (7.5, 2.0, 0.25)


def test_env_steps_in_an_evaluation_win_over_its_name(write_run, make_evaluation):
    run = read_run(write_run(evaluations={2000: make_evaluation(3.0, env_steps=2016)}))
    assert run.evaluations[0].env_steps == 2016


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mean": None}, "has no mean"),
        ({"mean": "3"}, 'mean must be a finite number, but is "3"'),
        ({"mean": math.nan}, "mean must be a finite number, but is NaN"),
        ({"mean": 10**400}, "mean must be a finite number, but is 1000"),
        ({"games": 0}, "games must be 1 or more"),
        ({"games": None}, "games must be a whole number"),
        ({"protocol": None}, "does not name its protocol"),
        ({"protocol": {}}, "does not name its protocol"),
        ({"ci95": [5, 1]}, "ci95 must be null or [low, high]"),
        ({"ci95": [5]}, "ci95 must be null or [low, high]"),
        ({"ci95": [-math.inf, 1]}, "ci95 must be null or [low, high]"),
        ({"env_steps": -5}, "env_steps must be a whole number"),
    ],
)
def test_damaged_evaluation_is_named(write_run, make_evaluation, changes, words):
    path = write_run(evaluations={2000: make_evaluation(3.0, **changes)})
    with pytest.raises(UserError) as error:
        read_run(path)
    assert "000000002000.json" in error.value.message
    assert words in error.value.message


def test_reporting_never_imports_tensorflow():
    code = (
        "import sys, dqn_breakout.reporting.curves, dqn_breakout.reporting.summary;"
        "print([name for name in sys.modules if name.startswith(('tensorflow', 'tf_'))])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
