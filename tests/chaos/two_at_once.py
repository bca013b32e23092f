"""Two processes on one run directory, and the lock of one that was killed."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.campaign import Case, Trial
from tests.chaos.tiny_run import PATHS
from tests.chaos.train_process import KILL, Ended


def cases(work_dir: Path) -> list[Case]:
    """Each on both paths."""
    every = {
        "the second is refused": second_is_refused,
        "both at the same moment": both_at_the_same_moment,
        "a stale lock": stale_lock,
    }
    return [Case(name, path, do) for path in PATHS for name, do in every.items()]


def second_is_refused(trial: Trial) -> None:
    """The second comes while the first trains; the first is not disturbed."""
    first = trial.start()
    first.wait_until(trial.run.metrics_jsonl.exists)
    _must_be_refused(trial, trial.start().wait(), f"process {first.pid} on ")
    if trial.must_end(first.wait()):
        trial.must_be_as_left_alone()


def both_at_the_same_moment(trial: Trial) -> None:
    """Both are started at once: one trains, the other is refused."""
    both = [trial.start(), trial.start()]
    trained, refused = sorted((each.wait() for each in both), key=lambda ended: ended.code)
    _must_be_refused(trial, refused, "")
    if trial.must_end(trained):
        trial.must_be_as_left_alone()


def stale_lock(trial: Trial) -> None:
    """The first was killed; its lock is there with its number in it, and the second goes on."""
    first = trial.start()
    first.wait_until(trial.run.metrics_jsonl.exists)
    first.signal(KILL)
    first.wait()
    note = trial.run.lock.read_text()
    trial.must(f"process {first.pid} " in note, f"the lock says {note!r}")
    trial.must_go_on()


def _must_be_refused(trial: Trial, ended: Ended, holder: str) -> None:
    trial.must_end(ended, 2, f"is in use by {holder}")
    trial.must(len(ended.err.splitlines()) == 1, f"more than a sentence: {ended.err}")
