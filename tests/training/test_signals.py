"""Tests of stopping a run from outside."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dqn_breakout.training.signals import StopSignals

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_noted_and_kills_nobody(number, code):
    with StopSignals() as stop:
        assert stop.received is None
        assert stop.exit_code == 0
        signal.raise_signal(number)
        assert stop.received is number
        assert stop.exit_code == code
    assert stop.exit_code == code


def test_the_handlers_of_before_are_back_afterwards():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopSignals():
        assert signal.getsignal(signal.SIGTERM) != before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_the_handlers_of_before_are_back_after_an_error():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), StopSignals():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) == before


def test_nothing_is_caught_before_it_is_entered():
    before = signal.getsignal(signal.SIGTERM)
    StopSignals()
    assert signal.getsignal(signal.SIGTERM) == before


def died_by(signals: str) -> int:
    """The exit code of a process that raises signals while stop signals are caught."""
    code = f"""
        import signal
        from signal import SIGINT, SIGTERM
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
        pytest.param("SIGTERM, SIGTERM", 143, id="SIGTERM twice asks twice"),
        pytest.param("SIGINT, SIGTERM", 143, id="SIGTERM after Ctrl-C asks again"),
    ],
)
def test_a_second_ctrl_c_kills(signals, code):
    assert died_by(signals) == code
