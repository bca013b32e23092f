from __future__ import annotations

import json
import subprocess
import sys

import pytest

from dqn_breakout.errors import UserError
from dqn_breakout.reporting.summary import main, summarise


def rows(text: str, heading: str) -> list[str]:
    """Each line below a heading up to the next blank line, its words one space apart."""
    block = text.split(heading, 1)[1].split("\n\n")[0]
    return [" ".join(line.split()) for line in block.splitlines()[1:]]


def test_summary(write_run, make_evaluation):
    path = write_run(evaluations={4000: make_evaluation(8.0)})
    (path / "summary.json").write_text(json.dumps({"weights_sha256": "ab" * 32}))
    text = summarise(path)
    assert text.splitlines()[:6] == [
        f"Run              {path}",
        "Game             Breakout",
        "Seed             7",
        "Command          train.py --seed=7",
        "Started          2026-01-02",
        f"Weights SHA-256  {'ab' * 32}",
    ]
    progress = text.split("Progress\n")[1].split("\n\n")[0].splitlines()
    assert progress == [
        "  Environment steps   5,000 of 10,000 (50 %)",
        "  ALE frames          20,000",
        "  Train steps         1,000",
        "  Full games          10",
        "  Replay buffer       5,000 transitions",
        "  Time                50 s",
        "  Speed, whole run    100 env steps/s",
        "  Speed, latest       200 env steps/s",
    ]
    training = rows(text, "Training (")
    assert training[0] == "env steps games return length loss mean Q epsilon steps/s"
    assert training[1] == "1,000 0 - - - - 1.000 4,000"
    assert training[5] == "5,000 10 5.00 180 0.01 0.5 0.750 200"
    assert training[6] == "Best return 5.00, at 5,000 env steps"
    assert rows(text, "Evaluations (")[1] == ("4,000 nature 10 8.00 6.50 to 9.50 7.5 2.00 25.0 %")
    assert max(map(len, text.split("Progress")[1].splitlines())) <= 90


def test_long_runs_are_thinned_and_end_with_the_last_line(write_run, make_log_line):
    lines = [make_log_line(2000 + 10 * step) for step in range(1000)]
    training = rows(summarise(write_run(lines=lines)), "Training (")
    assert len(training) == 1 + 12 + 1
    assert training[1].startswith("2,000 ")
    assert training[12].startswith("11,990 ")


def test_many_evaluations_show_the_latest(write_run, make_evaluation):
    path = write_run(evaluations={1000 * step: make_evaluation(step) for step in range(1, 16)})
    evaluations = rows(summarise(path), "Evaluations (")
    assert evaluations[0] == "3 earlier left out"
    assert evaluations[-1].startswith("15,000 ")
    assert len(evaluations) == 1 + 1 + 12


def test_evaluation_of_one_game_has_no_spread(write_run, make_evaluation):
    score = make_evaluation(3.0, games=1, ci95=None, std=None, human_normalised=None)
    evaluations = rows(summarise(write_run(evaluations={4000: score})), "Evaluations (")
    assert evaluations[1] == "4,000 nature 1 3.00 - 2.5 - -"


def test_a_run_that_has_just_begun(write_run, make_log_line):
    text = summarise(write_run(lines=[make_log_line(1000, wall_seconds=0.0)]))
    assert "No full game has ended yet" in text
    assert "Evaluations\n  None yet" in text
    assert "whole run" not in text


def test_a_run_that_went_on(write_run, make_log_line):
    starts = [
        {"env_steps": 0, "time": "Monday", "command": "first"},
        {"env_steps": 3000, "time": "Friday", "command": "second", "git_revision": "abc"},
    ]
    lines = [
        make_log_line(3000, wall_seconds=4000.0),
        make_log_line(4000, wall_seconds=100.0),
    ]
    text = summarise(write_run(starts=starts, lines=lines))
    assert "Command          second\n" in text
    assert "Git revision     abc\n" in text
    assert "Monday; went on once, last from 3,000 env steps, Friday" in text
    assert "Time                1 h 08 min\n" in text


def test_notes_come_last(write_run):
    path = write_run()
    with open(path / "metrics.jsonl", "a") as file:
        file.write('{"env')
    assert "the last line, 6, is not whole" in summarise(path).splitlines()[-1]


def test_text_of_strangers_does_not_steer_the_terminal(write_run):
    text = summarise(write_run(game="Break\x1b[2Jout\n"))
    assert "\x1b" not in text
    assert "Game             Break\\x1b[2Jout\\n\n" in text


def test_module(write_run, tmp_path):
    path = write_run()
    answer = subprocess.run(
        [sys.executable, "-m", "dqn_breakout.reporting.summary", str(path)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path), "HOME": str(tmp_path)},
        check=True,
    )
    assert answer.stdout == summarise(path)
    assert answer.stderr == ""


def test_bad_input_is_one_sentence(tmp_path, capsys):
    assert main([str(tmp_path / "nowhere")]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("There is no directory")
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    with pytest.raises(UserError):
        summarise(tmp_path)
