"""The short form of `make chaos`: a kill, full disks, a stop, damage, a run directory that goes.

    python -m tests.chaos.short --output results.json

`tests/chaos/test_chaos.py` runs it, in a process of its own: the tests' own process has
TensorFlow's threads, and is not to be forked.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path

from dqn_breakout.runs import checkpoint_files
from tests.chaos import campaign, damage, directory_gone, disk_full, kill, stop
from tests.chaos.campaign import Result
from tests.chaos.tiny_run import operations, written_beside_training
from tests.chaos.train_process import warm_up

PATH = "fast"
# At this step there are a checkpoint, a row and an evaluation.
_STEP = "000000000160"


def cases(work_dir: Path) -> list[tuple[str, int]]:
    """What is done, and before which operation or with which seed; 0 where none is meant."""
    known = operations(PATH, work_dir)

    def number(kind: str, *parts: str) -> int:
        """That of the first such operation with all of the parts in its file's name."""
        return next(
            place
            for place, each in enumerate(known, start=1)
            if each.kind == kind and all(part in each.name for part in parts)
        )

    return [
        # With the checkpoint in place, and neither its row nor its evaluation.
        ("kill", number("rename", f"checkpoints/{_STEP}") + 1),
        ("full", number("write", _STEP, "learner")),
        ("full", number("open", ".lock")),
        ("removed", 0),
        # SIGTERM, a while after a row.
        ("stop", 4),
        ("damage", 0),
    ]


def try_case(case: tuple[str, int], work_dir: Path) -> Result:
    """One of them."""
    what, number = case
    if what == "kill":
        result = kill.before_operation((PATH, number), work_dir)
    elif what == "removed":
        result = directory_gone.try_case((what, PATH), work_dir)
    elif what == "stop":
        result = stop.stop((None, number), work_dir, fork=True)
    elif what == "damage":
        newest = checkpoint_files.checkpoints(damage.stopped_run(work_dir).checkpoints)[0]
        name = f"checkpoints/{newest.name}/learner.npz"
        result = damage.try_damage((name, "a byte flipped"), work_dir)
    else:
        result = disk_full.at_operation(number, PATH, work_dir)
    result.told["segments written beside training"] = len(written_beside_training(PATH, work_dir))
    return result


def main() -> int:
    """Tries them all."""
    options = campaign.arguments(str(__doc__).splitlines()[0]).parse_args()
    work_dir = campaign.working_directory(options)
    warm_up()
    each = functools.partial(try_case, work_dir=work_dir)
    return campaign.run_all("short", cases(work_dir), each, options, work_dir)


if __name__ == "__main__":
    sys.exit(main())
