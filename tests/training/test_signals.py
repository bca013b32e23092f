"""Tests of stopping a run from outside."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from dqn_breakout.training.signals import Stopped, StopSignals

REPOSITORY = Path(__file__).resolve().parents[2]

if sys.platform == "win32":
    pytest.skip("Windows has no SIGHUP.", allow_module_level=True)

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


def test_the_handlers_of_before_are_back_afterwards_even_after_an_error():
    before = [signal.getsignal(number) for number in CAUGHT]

    def caught() -> list[bool]:
        pairs = zip(CAUGHT, before, strict=True)
        return [signal.getsignal(number) != handler for number, handler in pairs]

    def fail() -> None:
        with StopSignals() as stop:
            assert caught() == [False] * 3  # Nothing is caught before it is asked for.
            stop.catch()
            assert caught() == [True] * 3
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert caught() == [False] * 3


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


def test_outside_the_main_thread_nothing_is_caught_and_nothing_said(capfd):
    before = [signal.getsignal(number) for number in CAUGHT]
    received = []

    def catch() -> None:
        with StopSignals() as stop:
            stop.catch()
            stop.check()
            received.append((stop.received, stop.exit_code))

    thread = threading.Thread(target=catch)
    thread.start()
    thread.join()
    assert received == [(None, 0)]
    assert [signal.getsignal(number) for number in CAUGHT] == before
    assert capfd.readouterr() == ("", "")


def died_by(signals: str, before: str = "") -> int:
    """The exit code of a process that raises signals while stop signals are caught."""
    code = f"""
        import os, signal
        from signal import SIGHUP, SIGINT, SIGTERM
        from dqn_breakout.training.signals import StopSignals
        {before}
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
        pytest.param("SIGHUP, SIGINT", -signal.SIGINT, id="Ctrl-C after SIGHUP kills"),
        pytest.param("SIGTERM, SIGTERM", 143, id="SIGTERM twice asks twice"),
        # The exit code is that of the signal that stopped the run: the first.
        pytest.param("SIGINT, SIGTERM", 130, id="SIGTERM after Ctrl-C asks again"),
    ],
)
def test_a_second_ctrl_c_kills(signals, code):
    assert died_by(signals) == code


def test_a_stop_is_noted_though_nobody_reads_the_notice():
    nobody = "reading, writing = os.pipe(); os.dup2(writing, 2); os.close(reading)"
    assert died_by("SIGINT,", nobody) == 130
