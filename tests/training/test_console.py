"""Tests of what a person sees of a run: plan, progress, end."""

from __future__ import annotations

import datetime
import io
import re
import shlex
import subprocess
import sys
from typing import Any

import pytest
import tensorflow as tf

from dqn_breakout.command_line import PROJECT
from dqn_breakout.environments.spec import EnvironmentSpec
from dqn_breakout.learning.learning import Turn
from dqn_breakout.runs.directory import RunDirectory
from dqn_breakout.training import console
from tests.training.rows import row


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


# --- The plan -------------------------------------------------------------------------------------


def plan(frame_skip: int = 4, **changes: Any) -> str:
    arguments: dict[str, Any] = {
        "environment": EnvironmentSpec("Breakout", (), frame_skip, 15.0, None, ("nature",), {}),
        "run": RunDirectory("runs/my run"),
        "seed": 7,
        "num_environments": 16,
        "learning": {"replay buffer": "1,000,000 transitions"},
        "env_steps": 0,
        "total_env_steps": 10_000_000,
        "guessed_env_steps_per_second": 200.0,
    }
    return console.plan(**{**arguments, **changes})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "Breakout, seed 7, 16 game(s) side by side\n"),
        ({}, "  run directory   runs/my run\n"),
        ({}, "  replay buffer   1,000,000 transitions\n"),
        ({}, "  budget          10,000,000 environment steps (40,000,000 ALE frames)\n"),
        # 10 million steps at 200 a second: 13 hours, 53 minutes and 20 seconds.
        ({}, "in 13 h 53 min (a guess from the processor's speed: 200 steps/s)\n"),
        ({}, "-m tensorboard.main --logdir 'runs/my run'\n"),  # Can be pasted into a shell.
        ({}, "Ctrl-C saves and stops; the same command goes on"),
        ({"frame_skip": 2}, "10,000,000 environment steps (20,000,000 ALE frames)\n"),
        ({"frame_skip": 1}, "10,000,000 environment steps\n"),
        ({"env_steps": 2_500_000}, "(40,000,000 ALE frames), of which 2,500,000 are done\n"),
        ({"env_steps": 2_500_000, "guessed_env_steps_per_second": 2500.0}, "in 50 min ("),
        ({"env_steps": 10_000_064}, "in 0 s ("),
    ],
)
def test_the_plan_says_what_where_how_large_and_how_long(
    changes: dict[str, Any], said: str
) -> None:
    assert said in plan(**changes)


def test_the_plan_names_the_time_of_the_finish() -> None:
    before = datetime.datetime.now().astimezone()
    text = plan()
    after = datetime.datetime.now().astimezone()
    duration = datetime.timedelta(seconds=50_000)
    possible = {f"around {moment + duration:%a %H:%M}," for moment in (before, after)}
    assert any(each in text for each in possible)


@pytest.mark.parametrize(("gpus", "shown"), [(0, "CPU, "), (2, "2 GPU(s)\n")])
def test_the_plan_names_the_device(monkeypatch, gpus, shown):
    monkeypatch.setattr(tf.config, "list_physical_devices", {"GPU": ["a GPU"] * gpus}.get)
    assert f"  device          {shown}" in plan()


# --- Progress -------------------------------------------------------------------------------------

ROW = row(250_000, loss=0.01239, epsilon=0.0796)


@pytest.mark.parametrize(
    ("shown", "line"),
    [
        # 750,000 steps at 250 a second: 50 minutes.
        (
            ROW,
            r"   250,000 steps \( 25%\), 1,234 games, mean return 12\.35, loss 0\.0124, "
            r"epsilon 0\.080, 250 steps/s, 50 min left",
        ),
        (
            row(1000, train_steps=0, episodes=0, average_return=None, loss=None, epsilon=1.0),
            r" +1,000 steps \(  0%\), 0 games, mean return -, loss -, epsilon 1\.000, 250 steps/s, "
            "random fill",
        ),
        (row(1_000_056), r" 1,000,056 steps \(100%\), .* 0 s left"),
        (row(1001, env_steps_per_second=0.0), r".*, 0 steps/s, \d.* left"),
    ],
)
def test_without_a_terminal_each_row_is_a_plain_line(monkeypatch, shown, line):
    class Watched(io.StringIO):
        flushed = 0

        def flush(self) -> None:
            self.flushed += 1

    stream = Watched()
    monkeypatch.setattr(sys, "stderr", stream)
    hook = console.ConsoleHook(1_000_000, 0, 1000)  # On the stderr of the moment.
    hook.on_turn(Turn(64, 0, {}))
    assert stream.getvalue() == ""
    hook.on_row(shown)
    assert re.fullmatch(line + r"\n", stream.getvalue())
    assert stream.flushed >= 1  # Each line is out at once.
    hook.on_row(shown)
    hook.close()
    assert stream.getvalue().count("\n") == 2


def test_on_a_terminal_a_bar_shows_where_the_run_stands(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    hook = console.ConsoleHook(1_000_000, 0, 0)
    hook.on_turn(Turn(250_000, 0, {}))
    hook.on_row(ROW)
    hook.close()
    last = shown_last(stream)
    assert last.startswith(" 25% ")
    assert "250k/1.00M [" in last
    assert "1,234 games, mean return 12.35, loss 0.0124, epsilon 0.080" in last
    assert re.search(r"\[\d\d:\d\d<.*steps/s\]", last)
    # One line, written over and over, and the cursor below it at the end.
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().endswith("\n")


def shown_last(stream: io.StringIO) -> str:
    return stream.getvalue().rstrip("\n").split("\r")[-1]


def test_the_bar_never_passes_its_end():
    stream = Terminal()
    hook = console.ConsoleHook(1000, 900, 0, stream)
    for env_steps in (964, 1028):
        hook.on_turn(Turn(env_steps, 0, {}))
    hook.close()
    assert shown_last(stream).startswith("100% ")


def test_the_bar_starts_where_the_run_stands_and_not_before_the_first_turn():
    stream = Terminal()
    hook = console.ConsoleHook(1000, 500, 0, stream)
    hook.close()
    assert stream.getvalue() == ""
    hook.on_turn(Turn(500, 0, {}))
    assert shown_last(stream).startswith(" 50% ")


# --- The end --------------------------------------------------------------------------------------


def test_the_end_says_how_to_watch_the_agent_play(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said, command = console.end(RunDirectory("runs/my run"), 1_056, None).splitlines()
    assert said == "Done: 1,056 environment steps. Watch it play:"
    assert shlex.split(command) == [
        sys.executable,
        str(PROJECT / "eval.py"),
        "--checkpoint_dir=runs/my run",
        "--video=game.mp4",
    ]


@pytest.mark.parametrize("elsewhere", [False, True])
def test_commands_that_are_printed_run_where_they_are_pasted(tmp_path, monkeypatch, elsewhere):
    monkeypatch.chdir(tmp_path if elsewhere else PROJECT)
    run = RunDirectory(tmp_path / "no run")
    play = console.end(run, 1_056, None).splitlines()[1]
    watch = next(line for line in plan(run=run).splitlines() if line.startswith("  watch"))
    for command, code, said in (
        (play, 2, "There is no directory"),
        (f"{watch.removeprefix('  watch')} --inspect", 0, "no run"),
    ):
        # A shell with nothing on its path.
        done = subprocess.run(
            command, shell=True, env={"PATH": "/none"}, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stderr
        assert said in done.stdout + done.stderr


def test_the_end_of_a_stopped_run_says_how_to_go_on():
    assert console.end(RunDirectory("run"), 1_056, "SIGTERM") == (
        "Stopped by SIGTERM at 1,056 environment steps; everything is saved. "
        "The same command goes on from here."
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (89.4, "89 s"),
        (90, "2 min"),
        (149, "2 min"),
        (5_369, "89 min"),
        (5_371, "1 h 30 min"),
        (7_200, "2 h 00 min"),
        (35_999, "10 h 00 min"),
        (864_000, "240 h 00 min"),
    ],
)
def test_seconds_are_written_as_people_read_them(seconds, text):
    assert console.format_seconds(seconds) == text
