"""Tests of what a run records about the code and the machine that it came from."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import tensorflow as tf

from dqn_breakout import machine
from dqn_breakout.networks import nature_cnn  # noqa: F401  (registers create_q_network)


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    command = ["git", *identity, *arguments]
    answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return answer.stdout.strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout with one commit, in which the module believes to stand."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = tmp_path / "checkout"
    (folder / "package").mkdir(parents=True)
    (folder / "package" / "module.py").write_text("1\n")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message=One")
    monkeypatch.setattr(machine, "__file__", str(folder / "package" / "module.py"))
    return folder


def test_versions_are_those_that_are_installed():
    versions = machine.versions()
    assert versions["python"] == platform.python_version()
    assert {"ale-py", "gymnasium", "numpy", "tensorflow", "tf-agents"} < set(versions)
    for package in set(versions) - {"python"}:
        assert versions[package] == importlib.metadata.version(package)


def test_the_revision_is_the_codes_wherever_one_stands(checkout, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    revision = machine.git_revision()
    assert revision == git(checkout, "rev-parse", "HEAD")
    assert len(revision) == 40
    (checkout / "package" / "module.py").write_text("2\n")
    assert machine.git_revision() == f"{revision}-dirty"
    monkeypatch.setenv("PATH", str(tmp_path / "no programs here"))
    assert machine.git_revision() is None


@pytest.mark.parametrize("named", ["", "GIT_DIR"])
def test_another_repository_has_no_say(checkout, tmp_path, monkeypatch, named):
    """One that a copy of the project lies in, or that a hook of git's names."""
    if named:
        monkeypatch.setenv(named, str(checkout / ".git"))
        monkeypatch.setattr(machine, "__file__", str(tmp_path / "copy" / "package" / "module.py"))
        (tmp_path / "copy").mkdir()
    else:
        shutil.copytree(checkout / "package", checkout / "copy" / "package")
        monkeypatch.setattr(machine, "__file__", str(checkout / "copy" / "package" / "module.py"))
    assert machine.git_revision() is None


@pytest.mark.parametrize(
    ("installed", "told"),
    [
        ({"tensorflow": "2.21.0"}, "2.21.0"),
        ({"tensorflow-cpu": "2.21.0"}, "2.21.0 (tensorflow-cpu)"),
        ({}, "unknown"),
    ],
)
def test_a_package_is_told_whatever_brings_it(monkeypatch, installed, told):
    def version(package: str) -> str:
        if package.startswith("tensorflow"):
            if package not in installed:
                raise importlib.metadata.PackageNotFoundError(package)
            return str(installed[package])
        return "1.0"

    monkeypatch.setattr(importlib.metadata, "version", version)
    brought = {"tensorflow": list(installed)} if installed else {}
    monkeypatch.setattr(importlib.metadata, "packages_distributions", lambda: brought)
    assert machine.versions()["tensorflow"] == told


def test_the_machine_is_told_in_plain_values():
    told = machine.description()
    assert set(told) == {"processor", "cores", "usable_cores", "memory_bytes"}
    assert told["processor"]
    assert told["cores"] == os.cpu_count() >= told["usable_cores"] >= 1
    assert told["memory_bytes"] > 100_000_000
    assert json.loads(json.dumps(told)) == told


@pytest.fixture
def limited(tmp_path, monkeypatch):
    """Puts this process into a control group, and gives groups their limits."""

    def limit(own: str, files: dict[str, str]) -> None:
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            path = tmp_path / "groups" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    monkeypatch.setattr(machine, "_OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(machine, "_GROUPS", tmp_path / "groups")
    return limit


NO_LIMIT = "9223372036854771712\n"  # What version 1 says.
TWO = "0::/\n"
NESTED = "0::/user.slice/job/step\n"
ONE = "5:cpu,cpuacct:/docker/4711\n4:memory:/docker/4711\n0::/\n"


@pytest.mark.parametrize(
    ("own", "files", "limit_bytes"),
    [
        ("", {"memory.max": "1000\n"}, None),  # No control groups, as on macOS.
        (TWO, {}, None),
        (TWO, {"memory.max": "max\n"}, None),
        (TWO, {"memory.max": "200000000\n"}, 200_000_000),
        (NESTED, {"user.slice/job/memory.max": "3000\n", "user.slice/memory.max": "max"}, 3_000),
        (NESTED, {"user.slice/job/step/memory.max": "3000", "memory.max": "2000"}, 2_000),
        # A container that is shown its own group as the root.
        (NESTED, {"memory.max": "2000"}, 2_000),
        (ONE, {"memory/memory.limit_in_bytes": NO_LIMIT}, None),
        (ONE, {"memory/docker/4711/memory.limit_in_bytes": "4000\n"}, 4_000),
        (ONE, {"memory/memory.limit_in_bytes": "4000\n"}, 4_000),
        (ONE, {"cpu/docker/4711/memory.limit_in_bytes": "4000\n"}, None),
    ],
)
def test_memory_is_the_machines_or_the_containers_if_less(limited, own, files, limit_bytes):
    limited(own, files)
    expected = limit_bytes or psutil.virtual_memory().total
    assert machine.description()["memory_bytes"] == machine.memory_bytes() == expected


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("", {"cpu.max": "100000 100000\n"}, 8),
        (TWO, {"cpu.max": "max 100000\n"}, 8),
        (TWO, {"cpu.max": "100000 100000\n"}, 1),
        (TWO, {"cpu.max": "150000 100000\n"}, 2),
        (TWO, {"cpu.max": "1000 100000\n"}, 1),
        (TWO, {"cpu.max": "6400000 100000\n"}, 8),
        (NESTED, {"user.slice/job/cpu.max": "300000 100000", "cpu.max": "max 100000"}, 3),
        (NESTED, {"user.slice/job/cpu.max": "max 100000", "cpu.max": "200000 100000"}, 2),
        (ONE, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        (ONE, {"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        (ONE, {"cpu/cpu.cfs_quota_us": "250000\n"}, 8),
    ],
)
def test_usable_cores_are_those_to_run_on_or_the_containers_share(
    limited, monkeypatch, own, files, cores
):
    limited(own, files)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    assert machine.description()["usable_cores"] == machine.usable_cores() == cores
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert machine.usable_cores() == cores


def test_a_processor_that_linux_does_not_name_is_named_by_python(monkeypatch):
    monkeypatch.setattr(platform, "processor", lambda: "")
    for text in ("BogoMIPS : 108.00\n", ""):
        monkeypatch.setattr(
            machine, "_text", lambda path, text=text: text if "cpu" in path.name else ""
        )
        assert machine.description()["processor"] == platform.machine()


def test_it_does_not_import_tensorflow():
    code = "import sys, dqn_breakout.machine; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=True)


def test_all_processors_help_in_an_operation_and_three_threads_go_side_by_side(monkeypatch):
    told: list[int] = []
    for kind in ("intra", "inter"):
        setter = f"set_{kind}_op_parallelism_threads"
        monkeypatch.setattr(tf.config.threading, setter, told.append)
    monkeypatch.setattr(machine, "usable_cores", lambda: 16)
    machine.share_threads()
    assert told == [16, 3]
