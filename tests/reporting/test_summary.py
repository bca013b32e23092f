from __future__ import annotations

import json

import pytest

from dqn_breakout.reporting import curves, summary
from dqn_breakout.reporting.summary import main, summarise
from tests.reporting.conftest import evaluation, log_line


def rows(text, heading):
    """The lines of the table below a heading, their words one space apart."""
    block = text.split(heading, 1)[1].split("\n\n")[0]
    return [" ".join(line.split()) for line in block.split("─\n")[-1].splitlines()]


def test_summary(write_run, capsys):
    path = write_run(evaluations={4000: evaluation(8.0)}, starts=[0, 3000])
    (path / "summary.json").write_text(json.dumps({"weights_sha256": "ab" * 32}))
    assert main([str(path)]) == 0
    text = capsys.readouterr().out
    assert text.split("\n\n")[0].splitlines() == [
        f"Run                {path}",
        "Game               Breakout",
        "Seed               7",
        "Command            train.py 3000",
        f"Weights SHA-256    {'ab' * 32}",
        "Environment steps  5,000 of 10,000 (50%)",
        "ALE frames         20,000",
        "Train steps        1,000",
        "Transitions stored 5,000",
        "Time               0:01:20",
        "Speed              62 steps/s",
        "Best return        5.00, at 5,000 steps",
    ]
    # env steps, games, return, length, loss, mean Q, epsilon, speed
    assert rows(text, "Training (")[0] == "1,000 0 - - - - 1 4,000"
    assert rows(text, "Training (")[4] == "5,000 10 5 180 0.01 0.5 0.75 200"
    assert rows(text, "Evaluations (") == ["4,000 nature 10 8 6.5 9.5 7.5 2 0.25"]
    assert rows(text, "Starts")[1] == "3,000 2026-01-02 -"


def test_long_runs_are_thinned_and_metrics_of_other_algorithms_shown(write_run):
    lines = [log_line(2000 + 10 * step, priority=0.125) for step in range(1000)]
    text = summarise(write_run(lines=lines))
    assert "priority" in text
    training = rows(text, "Training (")
    assert len(training) == 12
    assert training[-1].startswith("11,990 ")
    assert training[-1].endswith(" 0.125")


def test_a_run_that_has_just_begun(write_run):
    text = summarise(write_run(lines=[log_line(1000, wall_seconds=0.0)]))
    assert "no full game has ended yet" in text
    assert "None yet" in text
    assert "Speed" not in text


def test_text_does_not_steer_the_terminal(write_run):
    text = summarise(write_run(game="Break\x1b[2Jout [bold]\n"))
    assert "Game               Break\\x1b[2Jout [bold]\\n\n" in text


@pytest.mark.parametrize("command", [curves, summary])
def test_ctrl_c_ends_a_command_without_a_trace(write_run, monkeypatch, capsys, command):
    def interrupted(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "read_run", interrupted)
    assert command.main([str(write_run())]) == 130
    assert capsys.readouterr() == ("", "")
