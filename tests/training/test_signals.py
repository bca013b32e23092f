"""Tests of stopping a run from outside."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dqn_breakout.training.signals import Stopped, StopSignals

REPOSITORY = Path(__file__).resolve().parents[2]

CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NOTICE = "Stopping after this turn; all will be saved. Ctrl-C once more leaves at once."


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_is_noted_and_kills_nobody(number, code):
    with StopSignals() as stop:
        stop.catch()
        assert stop.received is None
        assert stop.exit_code == 0
        signal.raise_signal(number)
        assert stop.received is number
        assert stop.exit_code == code
    assert stop.exit_code == code


def test_the_handlers_of_before_are_back_afterwards():
    before = [signal.getsignal(number) for number in CAUGHT]
    with StopSignals() as stop:
        stop.catch()
        for number, handler in zip(CAUGHT, before, strict=True):
            assert signal.getsignal(number) != handler
    assert [signal.getsignal(number) for number in CAUGHT] == before


def test_the_handlers_of_before_are_back_after_an_error():
    before = signal.getsignal(signal.SIGINT)

    def fail():
        with StopSignals() as stop:
            stop.catch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert signal.getsignal(signal.SIGINT) == before


def test_nothing_is_caught_before_it_is_asked_for():
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals():
        assert signal.getsignal(signal.SIGTERM) == before
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_check_leaves_what_may_be_left_undone_once_a_stop_was_asked_for():
    with StopSignals() as stop:
        stop.catch()
        stop.check()
        signal.raise_signal(signal.SIGTERM)
        for _ in range(2):
            with pytest.raises(Stopped):
                stop.check()


def test_the_first_signal_tells_on_stderr_what_happens_now(capfd):
    with StopSignals() as stop:
        stop.catch()
        assert capfd.readouterr().err == ""
        signal.raise_signal(signal.SIGINT)
        assert capfd.readouterr() == ("", f"\n{NOTICE}\n")
        signal.raise_signal(signal.SIGTERM)
        assert capfd.readouterr() == ("", "")


def test_a_lost_terminal_ends_nobody_under_nohup():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals() as stop:
            stop.catch()
            signal.raise_signal(signal.SIGHUP)
            assert stop.received is None
            signal.raise_signal(signal.SIGTERM)
            assert stop.received is signal.SIGTERM
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_stop_is_noted_though_nobody_reads_the_notice():
    code = """
        import os, signal
        from dqn_breakout.training.signals import StopSignals
        reading, writing = os.pipe()
        os.dup2(writing, 2)
        os.close(reading)
        with StopSignals() as stop:
            stop.catch()
            signal.raise_signal(signal.SIGINT)
        raise SystemExit(stop.exit_code)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    assert subprocess.run(command, cwd=REPOSITORY, check=False, timeout=60).returncode == 130


def died_by(signals: str) -> int:
    """The exit code of a process that raises signals while stop signals are caught."""
    code = f"""
        import signal
        from signal import SIGHUP, SIGINT, SIGTERM
        from dqn_breakout.training.signals import StopSignals
        with StopSignals() as stop:
            stop.catch()
            for number in ({signals}):
                signal.raise_signal(number)
        raise SystemExit(stop.exit_code)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, cwd=REPOSITORY, check=False, timeout=60).returncode


@pytest.mark.parametrize(
    ("signals", "code"),
    [
        pytest.param("SIGINT, SIGINT", -signal.SIGINT, id="Ctrl-C twice kills"),
        pytest.param("SIGTERM, SIGINT", -signal.SIGINT, id="Ctrl-C after SIGTERM kills"),
        pytest.param("SIGHUP, SIGINT", -signal.SIGINT, id="Ctrl-C after SIGHUP kills"),
        pytest.param("SIGTERM, SIGTERM", 143, id="SIGTERM twice asks twice"),
        pytest.param("SIGTERM, SIGHUP", 143, id="SIGHUP after SIGTERM asks again"),
        # The exit code is that of the signal that stopped the run: the first.
        pytest.param("SIGINT, SIGTERM", 130, id="SIGTERM after Ctrl-C asks again"),
    ],
)
def test_a_second_ctrl_c_kills(signals, code):
    assert died_by(signals) == code
