"""A contestant's side of the conversation: it prepares itself, then sleeps until told to run.

Lines of JSON go both ways, commands in on standard input, answers out on what was standard output.
What libraries print goes to standard error. Standard library only: contestants run in environments
of their own.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

# Before each timed stretch: caches and clocks are then this contestant's and not the one's before.
_WARM_UP_SECONDS = 1.0
# So many, once, after the replay memory was filled: compilers and allocators settle. Several, for
# the first may be over when one turn of the loop has been compiled, and the next is another.
_FIRST_WARM_UPS = 5


class Contestant(Protocol):
    """A training loop that can be run for a time, from where it stopped.

    Attributes:
        env_steps_per_iteration: Environment steps between two moments of training.
    """

    env_steps_per_iteration: int

    def fill(self) -> dict[str, Any]:
        """Fills the replay memory by random play; returns facts for the result."""

    def train_until(self, deadline: float) -> None:
        """Trains up to the first end of an iteration after `deadline`, on `time.perf_counter`."""

    def counts(self) -> tuple[int, int]:
        """Environment steps and gradient updates so far, as the library itself counts them."""


def use_threads(threads: int | None) -> None:
    """Leaves this process `threads` of the machine's cores, where the system can; None for all.

    Libraries then start so many threads by themselves. To be called before they are imported.
    """
    if threads is None:
        return
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def use_tensorflow_threads(threads: int | None) -> None:
    """Tells TensorFlow how many threads to use, before it starts them; None for its own choice."""
    if threads is not None:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)


def serve_contestant(
    build: Callable[[dict[str, Any]], Contestant],
    versions: Callable[[], dict[str, str]],
    tell: tuple[type[Exception], ...] = (),
) -> None:
    """Serves a contestant: builds, fills, warms up, then runs a round at each command.

    A round is answered with `env_steps`, `updates` and `seconds` of its timed part.

    Args:
        build: Makes the contestant from the settings.
        versions: Tells the versions of the libraries, once they are imported.
        tell: Errors whose text the user should see as it is.
    """

    def start(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Callable[..., Any]]]:
        contestant = build(settings)
        facts = contestant.fill()
        for _ in range(_FIRST_WARM_UPS):
            contestant.train_until(time.perf_counter() + _WARM_UP_SECONDS)

        def timed_round(seconds: float) -> dict[str, Any]:
            contestant.train_until(time.perf_counter() + _WARM_UP_SECONDS)
            env_steps, updates = contestant.counts()
            started = time.perf_counter()
            contestant.train_until(started + seconds)
            env_steps_now, updates_now = contestant.counts()
            passed = time.perf_counter() - started
            return {
                "env_steps": env_steps_now - env_steps,
                "updates": updates_now - updates,
                "seconds": passed,
            }

        ready = {
            "env_steps_per_iteration": contestant.env_steps_per_iteration,
            "versions": versions(),
            **facts,
        }
        return ready, {"round": timed_round}

    serve(start, tell)


def serve(
    start: Callable[[dict[str, Any]], tuple[dict[str, Any], dict[str, Callable[..., Any]]]],
    tell: tuple[type[Exception], ...] = (),
) -> None:
    """Answers commands until standard input ends. The settings are the one argument, as JSON.

    Args:
        start: Given the settings, returns the first answer and the commands by name. It is called
            when the cores in use were chosen (`settings["threads"]`).
        tell: Errors whose text the user should see as it is; the process ends with them.
    """
    # Libraries print to standard output; from here on that is standard error.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def answer(value: dict[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")

    settings = json.loads(sys.argv[1])
    use_threads(settings["threads"])
    try:
        ready, commands = start(settings)
        answer(ready)
        for line in sys.stdin:
            order = json.loads(line)
            answer(commands[order.pop("command")](**order))
    except BrokenPipeError:
        pass  # Whoever asked is gone.
    except tell as error:
        answer({"error": str(getattr(error, "message", error))})
