"""Stopping a run from outside: finish the turn, save, leave."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType

_NOTICE = b"\nStopping after this turn; all will be saved. Ctrl-C once more leaves at once.\n"
# Windows has no SIGHUP.
_SIGNALS = [each for each in signal.Signals if each.name in ("SIGINT", "SIGTERM", "SIGHUP")]


class Stopped(Exception):
    """A stop was asked for in the middle of something that may be left undone."""


class StopSignals:
    """Once `catch` was called, signals ask for a stop instead of killing; a second SIGINT kills.

    They are SIGINT (Ctrl-C), SIGTERM (a machine that is taken away) and SIGHUP (a lost terminal;
    not under `nohup`). At the end of `with`, signals are treated as before.

    Attributes:
        received: The signal that asked, None while there was none.
    """

    def __init__(self) -> None:
        """Nothing is caught before `catch`."""
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> StopSignals:
        return self

    def catch(self) -> None:
        """Lets signals ask for a stop from now on; outside the main thread, which has them, not."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            if number.name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN:
                continue
            self._before[number] = signal.signal(number, self._receive)

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @property
    def exit_code(self) -> int:
        """The usual exit code after the received signal; 0 where there was none."""
        return 128 + self.received if self.received is not None else 0

    def check(self) -> None:
        """Raises `Stopped` where a stop was asked for, in what may be left undone."""
        if self.received is not None:
            raise Stopped

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.raise_signal(signal.SIGINT)
        if self.received is None:
            self.received = signal.Signals(number)
            # Not print: a signal may arrive in the middle of one. What reads it may be gone: Ctrl-C
            # ends the other end of a pipe too, and SIGHUP says that there is no terminal.
            with contextlib.suppress(OSError):
                os.write(2, _NOTICE)
