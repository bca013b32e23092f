"""What becomes of training where a file cannot be written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dqn_breakout import errors
from dqn_breakout.runs.record import Lock
from dqn_breakout.training.console import tell


class OutputErrors:
    """Whether training goes on where a file cannot be written, and says so."""

    def __init__(self, lock: Lock, goes_on: bool):
        """Passes errors on unless training `goes_on`; the lock holds the run directory."""
        self._lock = lock
        self._goes_on = goes_on
        self._failing: set[str] = set()

    def attempt(
        self,
        what: str,
        write: Callable[[], Any],
        *,
        in_run: bool = True,
        must_succeed: bool = False,
    ) -> bool:
        """Goes on without `what` if writing it fails; says so once, until it succeeds again.

        Args:
            what: What is written, as the message names it.
            write: Writes it.
            in_run: Whether into the run directory; then it is not even tried while that is gone.
            must_succeed: Whether training cannot go on without.

        Returns:
            Whether it was written.

        Raises:
            OSError: It could not be written, and training is not to go on without.
        """
        try:
            if in_run:
                self._lock.check()
            write()
        except OSError as error:
            if must_succeed or not self._goes_on:
                raise
            if what not in self._failing:
                tell(
                    f"Could not write {what} ({errors.cause(error)}); going on without, as "
                    "train.go_on_without_checkpoints says."
                )
            self._failing.add(what)
            return False
        self._failing.discard(what)
        return True
