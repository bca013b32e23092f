"""Tests of what a run directory is called inside, and of writing into it."""

from __future__ import annotations

import errno
import json
import os
import resource
from pathlib import Path

import pytest

from dqn_breakout.errors import UserError
from dqn_breakout.runs.directory import RunDirectory, sync_folder, write_atomically, write_json


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run directory with a configuration and one checkpoint in it."""
    run = RunDirectory(tmp_path / "run")
    (run.checkpoints / "000000001000").mkdir(parents=True)
    run.config_gin.write_text("train.total_env_steps = 1\n")
    return run


# --- Names ----------------------------------------------------------------------------------------


def test_naming_a_directory_makes_nothing(tmp_path):
    run = RunDirectory(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []
    inside = {
        run.run_json: "run.json",
        run.config_gin: "config.gin",
        run.summary_json: "summary.json",
        run.metrics_jsonl: "metrics.jsonl",
        run.train_events: "tensorboard/train",
        run.eval_events: "tensorboard/eval",
        run.checkpoints: "checkpoints",
        run.replay: "replay",
        run.videos: "videos",
        run.evaluations: "evaluations",
    }
    for path, name in inside.items():
        assert path == tmp_path / "run" / name


def test_create_makes_parents_and_leaves_nothing_inside(tmp_path):
    run = RunDirectory(tmp_path / "a" / "b" / "run")
    assert run.create() == [tmp_path / "a", tmp_path / "a" / "b", run.path]
    assert run.create() == []
    assert run.path.is_dir()
    assert list(run.path.iterdir()) == []


def test_create_leaves_what_is_there(run):
    run.create()
    assert sorted(path.name for path in run.path.iterdir()) == ["checkpoints", "config.gin"]


@pytest.mark.parametrize("inside", ["", "/below"])
def test_a_file_in_the_way_is_a_user_error(tmp_path, inside):
    (tmp_path / "file").write_text("mine")
    path = Path(f"{tmp_path}/file{inside}")
    with pytest.raises(UserError) as caught:
        RunDirectory(path).create()
    reason = os.strerror(errno.ENOTDIR if inside else errno.EEXIST)
    assert caught.value.message == (
        f"The run directory {path} cannot be written ({reason}). "
        "Choose another with --run_dir, or mend its permissions."
    )
    assert (tmp_path / "file").read_text() == "mine"


# --- What a user means by a path ------------------------------------------------------------------


@pytest.mark.parametrize("inside", ["", "checkpoints", "checkpoints/000000001000"])
def test_a_run_is_found_from_itself_its_checkpoints_and_one_checkpoint(run, inside):
    assert RunDirectory.of_checkpoints(run.path / inside).path == run.path
    assert RunDirectory.of_checkpoints(str(run.path / inside)).path == run.path


def test_a_run_is_not_found_from_its_other_folders(run):
    run.videos.mkdir()
    with pytest.raises(UserError, match=r"videos holds no run: it has no config\.gin"):
        RunDirectory.of_checkpoints(run.videos)


def test_a_missing_directory_is_a_user_error(tmp_path):
    with pytest.raises(UserError) as caught:
        RunDirectory.of_checkpoints(tmp_path / "missing")
    assert caught.value.message == (
        f"There is no directory {tmp_path / 'missing'}. Give a run directory."
    )


def test_a_directory_without_a_run_is_a_user_error(tmp_path):
    with pytest.raises(UserError) as caught:
        RunDirectory.of_checkpoints(tmp_path)
    assert caught.value.message == (
        f"{tmp_path} holds no run: it has no config.gin. Give a run directory or its "
        "checkpoints folder."
    )


# --- Writing --------------------------------------------------------------------------------------


def test_a_file_is_written_and_replaced(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"one")
    assert path.read_bytes() == b"one"
    write_atomically(path, b"two\0")
    assert path.read_bytes() == b"two\0"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("kind", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch, failing, kind):
    path = tmp_path / "file"
    path.write_bytes(b"one")

    def fail(*arguments: object) -> None:
        raise kind

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, fail)
        with pytest.raises(type(kind)):
            write_atomically(path, b"two")
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("flush", [1, 2])
def test_a_flush_that_fails_names_the_file(tmp_path, monkeypatch, flush):
    """The first is of the content, the second of the folder."""
    calls = []

    def fail(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == flush:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left") as caught:
        write_json(tmp_path / "value.json", 1)
    assert caught.value.filename == str(tmp_path / "value.json")


def test_a_rename_that_fails_names_the_file_and_not_what_is_gone(tmp_path):
    path = tmp_path / "file"
    path.mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write_atomically(path, b"")
    assert (caught.value.filename, caught.value.filename2) == (str(path), None)
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_really_fails_names_the_file(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)) as caught:
            write_atomically(tmp_path / "file", bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.filename == str(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_content_is_on_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace

    def spied_fsync(descriptor: int) -> None:
        events.append("flush the folder" if os.path.isdir(descriptor) else "flush the content")
        fsync(descriptor)

    def spied_replace(source: Path, target: Path) -> None:
        assert source.read_bytes() == b"content"
        assert source.parent == target.parent
        events.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", spied_fsync)
    monkeypatch.setattr(os, "replace", spied_replace)
    write_atomically(tmp_path / "file", b"content")
    assert events == ["flush the content", "rename", "flush the folder"]


def test_writing_into_a_missing_folder_fails(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "missing" / "file", b"")
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "missing")


def test_json_is_indented_and_ends_its_last_line(tmp_path):
    write_json(tmp_path / "value.json", {"mean": 1.5, "none": None})
    assert (tmp_path / "value.json").read_text() == '{\n  "mean": 1.5,\n  "none": null\n}\n'
    assert json.loads((tmp_path / "value.json").read_text()) == {"mean": 1.5, "none": None}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_takes_no_nan_and_leaves_the_file_as_it_was(tmp_path, value):
    path = tmp_path / "value.json"
    write_json(path, 1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"mean": value})
    assert path.read_text() == "1\n"
