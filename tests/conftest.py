from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import gin
import pytest

# Before any test imports TensorFlow: selects legacy Keras and mends TF-Agents.
import dqn_breakout  # noqa: F401


@pytest.fixture(scope="session", autouse=True)
def signals_arrive() -> Iterator[None]:
    """Under `nohup`, or behind `&` in a script, a signal that tests raise would be ignored."""
    before = {signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler)}
    if sys.platform != "win32":
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def work_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tiny runs lie that several tests share; see `tests.chaos.tiny_run.reference`."""
    return tmp_path_factory.mktemp("tiny-runs")


@pytest.fixture
def clean_gin() -> Iterator[None]:
    """No bindings of another test, and none left to the next."""
    gin.clear_config()
    yield
    gin.clear_config()
