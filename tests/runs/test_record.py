"""Tests of whose run a directory holds: lock, seed, config, starts."""

from __future__ import annotations

import functools
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import filelock
import gin
import numpy as np
import pytest

from dqn_breakout import config, errors, machine
from dqn_breakout.errors import UserError
from dqn_breakout.runs import checkpoint_files, record
from dqn_breakout.runs.directory import RunDirectory
from tests.runs.small_run import files_in, refused

REPOSITORY = Path(__file__).resolve().parents[2]

CONFIG = ["run_record_test_agent.gamma = 0.99", "run_record_test_agent.layers = (1, 2)"]


@gin.configurable("run_record_test_agent")
def build_agent(gamma=gin.REQUIRED, layers=gin.REQUIRED, name="agent"):
    return gamma, layers, name


pytestmark = pytest.mark.usefixtures("clean_gin", "same_circumstances")


@pytest.fixture
def same_circumstances(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asks git, TensorFlow and the machine once for all tests."""
    monkeypatch.setattr(machine, "circumstances", circumstances)


circumstances = functools.cache(machine.circumstances)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "run")
    run.create()
    return run


def start(run: RunDirectory, seed: int = 7, env_steps: int = 0, config_text: str = "") -> None:
    """Records a start, and has a checkpoint there: a run without one may change."""
    record.record_start(run, seed, "Breakout", env_steps, config_text)
    (run.checkpoints / "000000000001").mkdir(parents=True, exist_ok=True)


# --- One process at a time ------------------------------------------------------------------------


HOLD = (
    "import os, sys; from dqn_breakout.errors import UserError\n"
    "from dqn_breakout.runs import directory, record\n"
    "try:\n"
    "    with record.locked(directory.RunDirectory(sys.argv[1])):\n"
    "        os.write(1, b'held')\n"
    "        os.kill(os.getpid(), 9)\n"
    "except UserError as error:\n"
    "    print(error.message)\n"
)


def other_process(run: RunDirectory) -> str:
    """What another process says that holds the run and is killed while it does, or is refused."""
    command = [sys.executable, "-c", HOLD, str(run.path)]
    answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return answer.stdout.strip()


def test_a_second_process_is_refused_and_told_who_holds_the_run(run):
    assert other_process(run) == "held"
    # Who holds it now is told, not who held it first and was killed.
    with record.locked(run):
        assert other_process(run) == (
            f"The run directory {run.path} is in use by process {os.getpid()} on "
            f"{platform.node()}. Wait for it, stop it, or choose another --run_dir."
        )
    assert other_process(run) == "held"


@pytest.mark.parametrize("error", [UserError, TypeError])  # gin's own are other errors.
@pytest.mark.parametrize("system", ["win32", "linux"])  # Each has its way of letting go.
def test_directories_made_for_a_wrong_command_go_again(tmp_path, monkeypatch, system, error):
    monkeypatch.setattr(sys, "platform", system)
    run = RunDirectory(tmp_path / "runs" / "run")
    for _ in range(2):  # An error lets go.
        with pytest.raises(error, match="wrong"), record.locked(run):
            raise error("wrong")
        assert list(tmp_path.iterdir()) == []


def test_a_directory_that_was_there_or_in_which_something_came_to_be_stays(run, tmp_path):
    new = RunDirectory(tmp_path / "new")

    def fail(in_it: RunDirectory, content: str | None) -> None:
        with record.locked(in_it):
            if content is not None:
                in_it.run_json.write_text(content)
            raise UserError("wrong")

    for each, content in ((run, None), (new, "{}")):
        with pytest.raises(UserError, match="wrong"):
            fail(each, content)
    assert run.path.exists()
    assert new.run_json.exists()


@pytest.mark.parametrize("way", ["removed", "moved", "another in its place"])
def test_a_directory_that_is_gone_is_noticed(run, way):
    with record.locked(run) as lock:
        lock.check()
        if way == "removed":
            shutil.rmtree(run.path)
        else:
            run.path.rename(run.path.with_name("elsewhere"))
        if way == "another in its place":
            with record.locked(run) as other:
                other.check()
        with pytest.raises(FileNotFoundError, match="moved or removed"):
            lock.check()


def test_a_lock_that_is_removed_while_it_is_taken_holds_nothing(run, monkeypatch):
    lock = filelock.lock_descriptor

    def remove_then_lock(descriptor, **how):
        (run.path / ".lock").unlink()
        return lock(descriptor, **how)

    monkeypatch.setattr(filelock, "lock_descriptor", remove_then_lock)
    with pytest.raises(UserError, match="cannot be locked"), record.locked(run):
        pytest.fail("held")


# --- Seed -----------------------------------------------------------------------------------------


def test_the_seed_is_the_given_one_or_that_of_the_run_or_1(run):
    for given, settled in ((7, 7), (0, 0), (None, 1)):
        assert record.settle_seed(run, given) == settled
    for there in (0, 7):
        start(run, there)
        assert record.settle_seed(run, None) == record.settle_seed(run, there) == there


def test_a_run_that_failed_before_its_first_checkpoint_pins_nothing(run):
    settle(run, *CONFIG)
    shutil.rmtree(run.checkpoints)
    assert record.settle_seed(run, None) == 7
    assert record.settle_seed(run, 8) == 8
    settle(run, CONFIG[0], "run_record_test_agent.layers = (3,)")
    assert "(3,)" in run.config_gin.read_text()
    # From the first checkpoint on, it does.
    assert "has another config" in refused(run.path, settle, run, *CONFIG)


@pytest.mark.parametrize(("there", "given"), [(7, 8), (7, 0), (0, 1)])
def test_another_seed_is_refused(run, there, given):
    start(run, there)
    assert refused(run.path, record.settle_seed, run, given) == (
        f"The run in {run.path} has seed {there}, not {given}. Leave --seed out to continue it, "
        "or choose another --run_dir."
    )


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"null", b"[]", b"{}", b'{"seed": 1}', b"\xff\xfe\x00"),
        *(f'{{"seed": {seed}, "starts": []}}'.encode() for seed in ('"7"', "1.5", "Infinity")),
    ],
)
def test_a_damaged_record_is_refused_and_kept(run, content):
    run.run_json.write_bytes(content)
    said = f"{run.run_json} is damaged. Restore it, or choose another --run_dir."
    assert refused(run.path, record.settle_seed, run, None) == said
    with pytest.raises(UserError):
        start(run)
    assert run.run_json.read_bytes() == content


def test_a_run_of_another_version_is_told_before_its_seed_and_its_config(run):
    start(run, 7)
    checkpoint = run.checkpoints / "000000001000"
    checkpoint.mkdir(parents=True)
    (checkpoint / "manifest.json").write_text('{"format": 1}')
    said = refused(run.path, record.settle_seed, run, 8)
    assert "is of another version of this project" in said


@pytest.mark.parametrize("missing", ["run.json", "config.gin"])
def test_checkpoints_without_a_record_or_a_config_are_refused(run, missing):
    start(run)
    (run.path / missing).unlink()
    network = {"000": np.zeros((2, 3), np.float32)}
    checkpoint_files.write_checkpoint(run.checkpoints, {"env_steps": 1}, {"network": network}, {})
    asked = (record.settle_seed, run, 7) if missing == "run.json" else (check, run, *CONFIG)
    assert refused(run.path, *asked) == (
        f"{run.path} has checkpoints but no {missing}, so it is not known what they are of. "
        "Restore the file, or choose another --run_dir."
    )


# --- Config ---------------------------------------------------------------------------------------


def check(run: RunDirectory, *bindings: str) -> str:
    config.parse([], bindings)
    build_agent()
    return record.check_config(run)


def settle(run: RunDirectory, *bindings: str) -> None:
    """What a start does: check the config, then record it."""
    start(run, config_text=check(run, *bindings))


def test_a_check_writes_nothing(run):
    text = check(run, *CONFIG)
    assert config.bindings(text)["run_record_test_agent.gamma"] == "0.99"
    assert files_in(run.path) == {}
    settle(run, *CONFIG)
    kept = config.bindings(run.config_gin.read_text())
    assert kept["run_record_test_agent.layers"] == "(1, 2)"
    assert kept["run_record_test_agent.name"] == "'agent'"  # Defaults are kept as well.
    kept_as(run, "train.total_env_steps = 5")
    before = files_in(run.path)
    assert check(run, *CONFIG) == text
    assert files_in(run.path) == before


def test_the_same_config_goes_on(run):
    settle(run, *CONFIG)
    before = files_in(run.path)
    settle(run, "AGENT_GAMMA = 9.9e-1", "run_record_test_agent.gamma = %AGENT_GAMMA", CONFIG[1])
    assert config.differences(before["config.gin"].decode(), run.config_gin.read_text()) == []


def test_another_config_is_refused_and_names_each_binding_that_differs(run):
    settle(run, *CONFIG)
    other = ("gamma = 0.9", "layers = (1, 2)", "name = 'another'")
    bindings = [f"run_record_test_agent.{each}" for each in other]
    assert refused(run.path, settle, run, *bindings) == (
        f"The run in {run.path} has another config: "
        "run_record_test_agent.gamma: 0.99 there, 0.9 here; "
        "run_record_test_agent.name: 'agent' there, 'another' here. "
        "Give the same config to continue it, or choose another --run_dir."
    )


def kept_as(run: RunDirectory, line: str) -> None:
    """Adds a binding to the kept config."""
    run.config_gin.write_text(f"{run.config_gin.read_text()}\n{line}\n")


MAY_CHANGE = ("create_replay_buffer.frame_table", "create_agent.q_value_limit")


def test_how_long_and_how_closely_watched_a_run_is_may_change(run):
    for binding in ("train.total_env_steps", "train.anything", *MAY_CHANGE):
        settle(run, *CONFIG)
        kept_as(run, f"{binding} = 5")
        settle(run, *CONFIG)
        # The config of the last start is kept, not that of the first.
        assert binding not in run.config_gin.read_text()


@pytest.mark.parametrize(
    "binding",
    ["create_replay_buffer.frame", "trainer.total_env_steps", "scope/train.total_env_steps"],
)
def test_nothing_else_may_change(run, binding):
    settle(run, *CONFIG)
    kept_as(run, f"{binding} = 5")
    assert f"{binding}: 5 there, not set here" in refused(run.path, check, run, *CONFIG)


@pytest.mark.parametrize("name", ["train.total_env_steps", "train.total_env_steps: 1 there"])
def test_a_value_that_reads_like_what_may_change_may_not_change(run, name):
    settle(run, *CONFIG, f"run_record_test_agent.name = '{name}'")
    said = refused(run.path, check, run, *CONFIG)
    assert f"name: '{name}' there, 'agent' here" in said


@pytest.mark.parametrize(
    ("bindings", "named"),
    [
        (["unused/run_record_test_agent.gamma = 1"], "binding unused/run_record_test_agent.gamma."),
        (
            ["a/run_record_test_agent.gamma = 1", "b/run_record_test_agent.gamma = 1"],
            "bindings a/run_record_test_agent.gamma, b/run_record_test_agent.gamma.",
        ),
    ],
)
def test_bindings_that_nothing_uses_are_refused(run, bindings, named):
    said = f"Nothing uses the {named} Leave it out, or correct its scope."
    assert refused(run.path, check, run, *CONFIG, *bindings) == said


@pytest.mark.parametrize("content", [b"gamma = = 1\n", b"\xff\xfe\x00", None])
def test_a_kept_config_that_is_no_gin_or_a_folder_is_named_and_kept(run, content):
    start(run)
    run.config_gin.unlink()
    run.config_gin.mkdir() if content is None else run.config_gin.write_bytes(content)
    said = refused(run.path, check, run, *CONFIG)
    assert said.startswith(f"{run.config_gin} cannot be read (")
    assert said.endswith("). Restore it, or choose another --run_dir.")


# --- Starts ---------------------------------------------------------------------------------------


def test_every_start_is_noted(run, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--run_dir=my run"])
    before = int(time.time())
    start(run, 7, 0, "first.value = 1\n")
    start(run, 7, 5000, "second.value = 1\n")
    after = time.time()
    content: dict[str, Any] = json.loads(run.run_json.read_text())
    assert (content["seed"], content["game"]) == (7, "Breakout")
    assert run.config_gin.read_text() == "second.value = 1\n"
    assert [each["env_steps"] for each in content["starts"]] == [0, 5000]
    for each in content["starts"]:
        assert each["command"] == "python train.py '--run_dir=my run'"
        assert each["versions"] == machine.versions()
        assert each["git_revision"] == machine.git_revision()
        assert each["machine"] == machine.description()
        moment = time.mktime(time.strptime(each["time"][:19], "%Y-%m-%dT%H:%M:%S"))
        assert before <= moment <= after
        assert each["time"][19:] == time.strftime("%z")


def elsewhere(
    monkeypatch: pytest.MonkeyPatch, versions: dict[str, str], **machine_there: Any
) -> None:
    """Has this process be one with other versions, on another machine."""
    now = machine.circumstances()
    gpus = machine_there.pop("gpus", now["gpus"])
    there = {
        **now,
        "versions": {**now["versions"], **versions},
        "machine": {**now["machine"], **machine_there},
        "gpus": gpus,
    }
    monkeypatch.setattr(machine, "circumstances", lambda: there)


def test_changes_since_the_last_start_are_named(run, monkeypatch):
    assert record.changes_since_last_start(run) == []
    start(run)
    assert record.changes_since_last_start(run) == []
    before, now = machine.versions()["tensorflow"], machine.description()
    gpus = ["H100", "H100"]
    elsewhere(monkeypatch, {"tensorflow": "1.15"}, processor="Abacus", usable_cores=1024, gpus=gpus)
    assert record.changes_since_last_start(run) == [
        f"tensorflow '{before}' there, '1.15' here",
        f"processor {errors.shown(now['processor'])} there, 'Abacus' here",
        f"usable_cores {now['usable_cores']} there, 1024 here",
        "gpus [] there, ['H100', 'H100'] here",
    ]
    start(run)
    assert record.changes_since_last_start(run) == []


def test_what_changes_no_bit_and_what_was_not_recorded_is_no_change(run, monkeypatch):
    start(run)
    content = json.loads(run.run_json.read_text())
    del content["starts"][0]["machine"]["usable_cores"], content["starts"][0]["gpus"]
    run.run_json.write_text(json.dumps(content))
    elsewhere(monkeypatch, {}, memory_bytes=2**60, cores=1024, usable_cores=2, gpus=["H100"])
    assert record.changes_since_last_start(run) == []
