"""Nothing imports what Windows lacks; what else it lacks, `mypy --platform win32` sees."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Blocked for this project's own imports alone: what it depends on asks which system it is on.
CODE = """
import builtins, importlib, pkgutil

LACKING = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
PROJECT = ("dqn_breakout", "benchmarks", "train", "eval")
ordinary = builtins.__import__

def as_on_windows(name, globals=None, locals=None, fromlist=(), level=0):
    importer = str((globals or {}).get("__name__")).partition(".")[0]
    if importer in PROJECT and name.partition(".")[0] in LACKING and level == 0:
        raise ModuleNotFoundError(f"No module named {name!r} for {globals['__name__']}")
    return ordinary(name, globals, locals, fromlist, level)

builtins.__import__ = as_on_windows
imported = [importlib.import_module("dqn_breakout")]
for each in pkgutil.walk_packages(imported[0].__path__, "dqn_breakout."):
    imported.append(importlib.import_module(each.name))
for name in ("train", "benchmarks.this_project"):
    imported.append(importlib.import_module(name))
print(len(imported))
"""


def test_every_module_imports_without_what_windows_lacks() -> None:
    command = [sys.executable, "-c", CODE]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    modules = list((ROOT / "dqn_breakout").rglob("*.py"))
    assert int(result.stdout) == len(modules) + 2
