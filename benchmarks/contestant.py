"""A contestant's side of the conversation: it prepares itself, then sleeps until told to run.

Lines of JSON go both ways, commands in on standard input, answers out on what was standard output.
What libraries print goes to standard error. Standard library only: contestants run in environments
of their own.
"""

from __future__ import annotations

import abc
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

# Before each timed stretch: caches and clocks are then this contestant's and not the one's before.
_WARM_UP_SECONDS = 1.0
# So many, once, after the replay memory was filled: compilers and allocators settle. Several, for
# the first may be over when one turn of the loop has been compiled, and the next is another.
_FIRST_WARM_UPS = 5


class Contestant(abc.ABC):
    """A training loop that can be run for a time, from where it stopped.

    Attributes:
        env_steps_per_iteration: Environment steps between two moments of training.
    """

    env_steps_per_iteration: int

    @abc.abstractmethod
    def fill(self) -> dict[str, Any]:
        """Fills the replay memory by random play; returns facts for the result."""

    @abc.abstractmethod
    def train_until(self, deadline: float) -> None:
        """Trains up to the first end of an iteration after `deadline`, on `time.perf_counter`."""

    @abc.abstractmethod
    def counts(self) -> tuple[int, int]:
        """Environment steps and gradient updates so far, as the library itself counts them."""

    def ready(self) -> dict[str, Any]:
        """Fills and warms up; returns the facts."""
        facts = self.fill()
        for _ in range(_FIRST_WARM_UPS):
            self.train_until(time.perf_counter() + _WARM_UP_SECONDS)
        return {"env_steps_per_iteration": self.env_steps_per_iteration, **facts}

    def round(self, seconds: float) -> dict[str, float]:
        """Trains for a time; returns what was done."""
        self.train_until(time.perf_counter() + _WARM_UP_SECONDS)
        before, started = self.counts(), time.perf_counter()
        self.train_until(started + seconds)
        after = self.counts()
        passed = time.perf_counter() - started
        env_steps, updates = after[0] - before[0], after[1] - before[1]
        return {
            "env_steps": env_steps,
            "updates": updates,
            "seconds": passed,
            "env_steps_per_second": env_steps / passed,
            "updates_per_second": updates / passed,
        }


def serve(build: Callable[[dict[str, Any]], Any]) -> None:
    """Answers commands until standard input ends: names of methods, with their arguments.

    Args:
        build: Makes what has the methods, from the settings: the process's one argument, as JSON.
    """
    # Libraries print to standard output; from here on that is standard error.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    served = build(json.loads(sys.argv[1]))
    for line in sys.stdin:
        order = json.loads(line)
        answer = getattr(served, order.pop("command"))(**order)
        answers.write(json.dumps(answer) + "\n")
