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


def test_outside_a_checkout_there_is_no_revision(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(machine, "__file__", str(tmp_path / "module.py"))
    assert machine.git_revision() is None


def test_the_machine_is_told_in_plain_values():
    told = machine.description()
    assert set(told) == {"processor", "cores", "usable_cores", "memory_bytes"}
    assert told["processor"]
    assert told["cores"] == os.cpu_count() >= told["usable_cores"] >= 1
    assert told["memory_bytes"] > 100_000_000
    assert json.loads(json.dumps(told)) == told


def test_usable_cores_are_those_that_the_process_may_run_on(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {1, 5, 7}, raising=False)
    assert machine.description()["usable_cores"] == machine.usable_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert machine.usable_cores() == os.cpu_count()


def test_memory_is_the_machines_or_the_containers_if_less(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(machine, "_MEMORY_LIMITS", (tmp_path / "none", limit))
    total = psutil.virtual_memory().total
    assert machine.memory_bytes() == total
    for text, expected in (
        ("max\n", total),
        ("9223372036854771712\n", total),  # What version 1 says where there is no limit.
        ("200000000\n", 200_000_000),
    ):
        limit.write_text(text)
        assert machine.memory_bytes() == expected
    assert machine.description()["memory_bytes"] == 200_000_000


def test_a_processor_that_linux_does_not_name_is_named_by_python(monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda self: "BogoMIPS : 108.00\n")
    monkeypatch.setattr(platform, "processor", lambda: "")
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
