"""A disk that is full, for what one process writes."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator

import pytest


@contextlib.contextmanager
def at_most(size_bytes: int) -> Iterator[None]:
    """No file of this process grows beyond so many bytes."""
    if sys.platform == "win32":
        pytest.skip("Windows has no such limit.")
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
