"""All the evidence of docs/reliability.md, one test after another: `make chaos`.

python -m tests.chaos                                  all; the results under runs/chaos
python -m tests.chaos --only kill stop                 only these
python -m tests.chaos --only kill --case "seed 17"     that one again, by the name that was told
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.chaos import damage, directory_gone, disk_full, kill, soak, stop, two_at_once
from tests.chaos.campaign import Case, LeftOut, run_test
from tests.chaos.train_process import REPOSITORY

_MALFORMED = "malformed"
_TESTS: dict[str, Callable[..., list[Case]]] = {
    "kill": kill.chains,
    "kill_operations": kill.before_operations,
    "stop": stop.cases,
    "damage": damage.cases,
    "disk_full": disk_full.cases,
    "disk_full_go_on": disk_full.cases_that_go_on,
    "disk_full_tmpfs": disk_full.tmpfs_cases,
    "two_at_once": two_at_once.cases,
    "directory_gone": directory_gone.cases,
    "soak": soak.cases,
}


def main() -> int:
    """Runs the tests asked for and says which held.

    Returns:
        The exit code: 0 where all held that this machine lets run.
    """
    names = [*_TESTS, _MALFORMED]
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--case", nargs="+", help="only the cases of these names")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="cases at a time")
    parser.add_argument("--minutes", type=float, default=60.0, help="of the soak")
    parser.add_argument("--examples", type=int, default=1000, help="of malformed commands")
    parser.add_argument("--work_dir", type=Path, help="keep the run directories here")
    parser.add_argument("--output", type=Path, default=Path("runs/chaos"), help="folder of results")
    options = parser.parse_args()
    # Where this was started in the background, the shell has Ctrl-C ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    options.output.mkdir(parents=True, exist_ok=True)
    work_dir = (options.work_dir or Path(tempfile.mkdtemp(prefix="chaos-"))).resolve()
    work_dir.mkdir(parents=True, exist_ok=True)
    ended = {name: _run(name, options, work_dir) for name in options.only}
    print()
    for name, came in ended.items():
        print(f"{came:8} {name}")
    return int(not set(ended.values()) <= {"held", "left out"})


def _run(name: str, options: argparse.Namespace, work_dir: Path) -> str:
    """Runs one test; what came of it in a word or two."""
    print(f"\n== {name}", flush=True)
    if name == _MALFORMED:
        code = subprocess.run(
            [sys.executable, "-m", "pytest", "tests/chaos/test_malformed_commands.py"],
            cwd=REPOSITORY,
            env={**os.environ, "CHAOS_EXAMPLES": str(options.examples)},
            check=False,
        ).returncode
        return "FAILED" if code else "held"
    more = {"minutes": options.minutes} if name == "soak" else {}
    try:
        found = _TESTS[name](work_dir, **more)
    except LeftOut as why:
        print(f"left out: {why}")
        return "left out"
    cases = [case for case in found if options.case is None or case.name in options.case]
    if not cases:
        return "FAILED: no case is called so"
    held = run_test(name, cases, work_dir, options.jobs, options.output / f"{name}.json")
    return "held" if held else "FAILED"


if __name__ == "__main__":
    sys.exit(main())
