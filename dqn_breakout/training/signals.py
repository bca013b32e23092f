"""Stopping a run from outside: finish the turn, save, leave."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType


class StopSignals:
    """While open, SIGINT and SIGTERM ask for a stop instead of killing; a second SIGINT kills.

    Attributes:
        received: The signal that asked, None while there was none.
    """

    def __init__(self) -> None:
        """Nothing is caught before `with`."""
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> StopSignals:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @property
    def exit_code(self) -> int:
        """The usual exit code after the received signal; 0 where there was none."""
        return 128 + self.received if self.received is not None else 0

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.raise_signal(signal.SIGINT)
        self.received = signal.Signals(number)
