"""Tests of what a person sees of a run: plan, progress, end."""

from __future__ import annotations

import datetime
import io
import re
import sys
from typing import Any

import psutil
import pytest
import tensorflow as tf

from dqn_breakout.runs.directory import RunDirectory
from dqn_breakout.training import console
from dqn_breakout.training.loop import Iteration
from dqn_breakout.training.progress import Row

ROW = Row(
    env_steps=250_000,
    train_steps=57_500,
    episodes=1_234,
    average_return=12.3456,
    average_length=300.0,
    loss=0.01239,
    mean_q=1.5,
    gradient_norm=0.5,
    epsilon=0.0796,
    env_steps_per_second=250.0,
    replay_transitions=250_000,
    wall_seconds=1250.0,
)


def row(**changes: Any) -> Row:
    return Row(**{**ROW.as_dict(), **changes})


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def plan(**changes: Any) -> str:
    arguments: dict[str, Any] = {
        "game": "Breakout",
        "seed": 7,
        "run": RunDirectory("runs/my run"),
        "num_environments": 16,
        "replay_transitions": 1_000_000,
        "replay_bytes": 7_075_000_000,
        "env_steps": 0,
        "total_env_steps": 10_000_000,
        "frame_skip": 4,
        "guessed_env_steps_per_second": 200.0,
    }
    return console.plan(**{**arguments, **changes})


# --- The plan -------------------------------------------------------------------------------------


def test_the_plan_says_what_where_how_large_and_how_long():
    text = plan()
    memory = psutil.virtual_memory().total / 1e9
    assert "DQN on Breakout, seed 7, 16 game(s)" in text
    assert "  run directory   runs/my run\n" in text
    assert (
        f"1,000,000 transitions, about 7.08 GB when full; this machine has {memory:.1f} GB" in text
    )
    assert "10,000,000 environment steps (40,000,000 ALE frames)\n" in text
    # 10 million steps at 200 a second: 13 hours, 53 minutes and 20 seconds.
    assert "in 13 h 53 min (a guess from the processor's speed: 200 steps/s)" in text
    assert "Ctrl-C saves and stops; the same command goes on" in text


def test_the_plan_names_the_time_of_the_finish():
    before = datetime.datetime.now().astimezone()
    text = plan()
    after = datetime.datetime.now().astimezone()
    duration = datetime.timedelta(seconds=50_000)
    possible = {f"around {moment + duration:%a %H:%M}," for moment in (before, after)}
    assert any(each in text for each in possible)


def test_the_plans_command_can_be_pasted_into_a_shell():
    assert "tensorboard --logdir 'runs/my run'\n" in plan()


def test_the_plan_counts_frames_by_the_frame_skip():
    assert "10,000,000 environment steps (20,000,000 ALE frames)" in plan(frame_skip=2)


def test_the_plan_of_a_resumed_run_says_what_is_done_and_counts_the_rest():
    text = plan(env_steps=2_500_000, guessed_env_steps_per_second=2500.0)
    assert (
        "10,000,000 environment steps (40,000,000 ALE frames), of which 2,500,000 are done" in text
    )
    assert "in 50 min (" in text


def test_the_plan_of_a_finished_run_has_nothing_left():
    assert "in 0 s (" in plan(env_steps=10_000_064)


@pytest.mark.parametrize(("gpus", "shown"), [(0, "CPU, "), (2, "2 GPU(s)\n")])
def test_the_plan_names_the_device(monkeypatch, gpus, shown):
    def list_devices(kind: str) -> list[str]:
        assert kind == "GPU"
        return ["a GPU"] * gpus

    monkeypatch.setattr(tf.config, "list_physical_devices", list_devices)
    assert f"  device          {shown}" in plan()


# --- Progress where there is no terminal ----------------------------------------------------------


def test_without_a_terminal_each_row_is_a_plain_line():
    stream = io.StringIO()
    hook = console.ConsoleHook(1_000_000, 0, stream)
    hook.on_iteration(Iteration(64, 0, None))
    assert stream.getvalue() == ""
    hook.on_row(ROW)
    # 750,000 steps at 250 a second: 50 minutes.
    assert stream.getvalue() == (
        "   250,000 steps ( 25%), 1,234 games, mean return 12.35, loss 0.0124, epsilon 0.080, "
        "250 steps/s, 50 min left\n"
    )
    hook.on_row(ROW)
    hook.close()
    assert stream.getvalue().count("\n") == 2
    assert "\r" not in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_numbers_that_there_are_none_of_are_dashes():
    stream = io.StringIO()
    first = row(env_steps=1000, episodes=0, average_return=None, loss=None, epsilon=1.0)
    console.ConsoleHook(1_000_000, 0, stream).on_row(first)
    assert "(  0%), 0 games, mean return -, loss -, epsilon 1.000," in stream.getvalue()


def test_a_run_past_its_budget_is_done():
    stream = io.StringIO()
    console.ConsoleHook(1000, 0, stream).on_row(row(env_steps=1056))
    assert "1,056 steps (100%)" in stream.getvalue()
    assert stream.getvalue().endswith(" 0 s left\n")


def test_a_speed_of_zero_divides_nothing():
    stream = io.StringIO()
    console.ConsoleHook(1_000_000, 0, stream).on_row(row(env_steps_per_second=0.0))
    assert re.search(r", 0 steps/s, \d.* left\n$", stream.getvalue())


def test_each_line_is_out_at_once():
    class Watched(io.StringIO):
        flushed = 0

        def flush(self) -> None:
            self.flushed += 1

    stream = Watched()
    console.ConsoleHook(1000, 0, stream).on_row(ROW)
    assert stream.flushed >= 1


def test_without_a_stream_lines_go_to_the_stderr_of_the_moment(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    hook = console.ConsoleHook(1_000_000, 0)
    hook.on_row(ROW)
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().startswith("   250,000 steps ( 25%), ")


# --- Progress on a terminal -----------------------------------------------------------------------


def shown_last(stream: io.StringIO) -> str:
    return stream.getvalue().rstrip("\n").split("\r")[-1]


def test_on_a_terminal_a_bar_shows_where_the_run_stands():
    stream = Terminal()
    hook = console.ConsoleHook(1_000_000, 0, stream)
    hook.on_iteration(Iteration(250_000, 0, None))
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


def test_the_bar_of_a_resumed_run_starts_where_the_run_stands():
    stream = Terminal()
    console.ConsoleHook(1_000_000, 500_000, stream).close()
    assert shown_last(stream).startswith(" 50% ")


def test_the_bar_never_passes_its_end():
    stream = Terminal()
    hook = console.ConsoleHook(1000, 900, stream)
    hook.on_iteration(Iteration(964, 0, None))
    hook.on_iteration(Iteration(1028, 0, None))
    hook.close()
    assert shown_last(stream).startswith("100% ")
    assert "1.00k/1.00k" in shown_last(stream)


def test_without_a_stream_the_bar_is_on_the_stderr_of_the_moment(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    console.ConsoleHook(1_000_000, 500_000).close()
    assert shown_last(stream).startswith(" 50% ")


# --- The end --------------------------------------------------------------------------------------


def test_the_end_says_how_to_watch_the_agent_play():
    assert console.end(RunDirectory("runs/my run"), 1_056, None) == (
        "Done: 1,056 environment steps. Watch it play:\n"
        "  python eval.py --checkpoint_dir='runs/my run' --video=game.mp4"
    )


def test_the_end_of_a_stopped_run_says_how_to_go_on():
    assert console.end(RunDirectory("run"), 1_056, "SIGTERM") == (
        "Stopped by SIGTERM at 1,056 environment steps; everything is saved. "
        "The same command goes on from here."
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.6, "60 s"),
        (89.4, "89 s"),
        (89.6, "90 s"),
        (90, "2 min"),
        (149, "2 min"),
        (151, "3 min"),
        (3_600, "60 min"),
        (5_369, "89 min"),
        (5_371, "1 h 30 min"),
        (7_200, "2 h 00 min"),
        (50_000, "13 h 53 min"),
        (35_999, "10 h 00 min"),
        (864_000, "240 h 00 min"),
    ],
)
def test_seconds_are_written_as_people_read_them(seconds, text):
    assert console.format_seconds(seconds) == text
