"""All the evidence of docs/reliability.md, one test after another: `make chaos`.

python -m tests.chaos                      all; the results under runs/chaos
python -m tests.chaos --only kill stop     only these
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.chaos.campaign import LEFT_OUT
from tests.chaos.train_process import REPOSITORY

_PROPERTIES = ("test_malformed_commands.py", "test_malformed_checkpoints.py")
# Name: module and its flags; what is no module here is run by pytest.
_TESTS: dict[str, tuple[str, ...]] = {
    "kill": ("kill",),
    "kill_operations": ("kill", "--operations"),
    "stop": ("stop",),
    "damage": ("damage",),
    "disk_full": ("disk_full",),
    "disk_full_go_on": ("disk_full", "--go_on"),
    "disk_full_tmpfs": ("disk_full", "--tmpfs"),
    "two_at_once": ("two_at_once",),
    "directory_gone": ("directory_gone",),
    "malformed": ("pytest",),
    "soak": ("soak",),
}


def main() -> int:
    """Runs the tests asked for and says which held.

    Returns:
        The exit code: 0 where all held that this machine lets run.
    """
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=_TESTS, default=list(_TESTS))
    parser.add_argument("--examples", type=int, default=1000, help="of each malformed thing")
    parser.add_argument("--output", type=Path, default=Path("runs/chaos"), help="folder of results")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    ended = {}
    for name in options.only:
        module, *flags = _TESTS[name]
        if module == "pytest":
            files = [str(REPOSITORY / "tests" / "chaos" / file) for file in _PROPERTIES]
            command = ["pytest", *files]
        else:
            results = options.output.resolve() / f"{name}.json"
            command = [f"tests.chaos.{module}", *flags, "--output", str(results)]
        print(f"\n== {name}", flush=True)
        began = time.monotonic()
        code = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=REPOSITORY,
            env={**os.environ, "CHAOS_EXAMPLES": str(options.examples)},
            check=False,
        ).returncode
        ended[name] = (code, time.monotonic() - began)
    print()
    for name, (code, seconds) in ended.items():
        came = {0: "held    ", LEFT_OUT: "left out"}.get(code, "FAILED  ")
        print(f"{came} {name}, in {seconds / 60:.1f} minutes")
    return int(any(code not in (0, LEFT_OUT) for code, _ in ended.values()))


if __name__ == "__main__":
    sys.exit(main())
