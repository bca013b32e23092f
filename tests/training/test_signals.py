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
        assert stop.received is None
        assert stop.exit_code == 0
        signal.raise_signal(number)
        assert stop.received is number
        assert stop.exit_code == code
    assert stop.exit_code == code


def test_the_handlers_of_before_are_back_afterwards():
    before = [signal.getsignal(number) for number in CAUGHT]
    with StopSignals():
        for number, handler in zip(CAUGHT, before, strict=True):
            assert signal.getsignal(number) != handler
    assert [signal.getsignal(number) for number in CAUGHT] == before


def test_the_handlers_of_before_are_back_after_an_error():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), StopSignals():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) == before


def test_nothing_is_caught_before_it_is_entered():
    before = signal.getsignal(signal.SIGTERM)
    StopSignals()
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_check_leaves_what_may_be_left_undone_once_a_stop_was_asked_for():
    with StopSignals() as stop:
        stop.check()
        signal.raise_signal(signal.SIGTERM)
        for _ in range(2):
            with pytest.raises(Stopped):
                stop.check()


def test_the_first_signal_tells_on_stderr_what_happens_now(capfd):
    with StopSignals():
        assert capfd.readouterr().err == ""
        signal.raise_signal(signal.SIGINT)
        assert capfd.readouterr() == ("", f"\n{NOTICE}\n")
        signal.raise_signal(signal.SIGTERM)
        assert capfd.readouterr() == ("", "")


def died_by(signals: str) -> int:
    """The exit code of a process that raises signals while stop signals are caught."""
    code = f"""
        import signal
        from signal import SIGHUP, SIGINT, SIGTERM
        from dqn_breakout.training.signals import StopSignals
        with StopSignals() as stop:
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
