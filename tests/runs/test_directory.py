"""Tests of what a run directory is called inside, and of finding one."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from dqn_breakout.errors import UserError
from dqn_breakout.runs.directory import RunDirectory


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


def test_create_makes_parents_and_leaves_what_is_there(tmp_path, run):
    new = RunDirectory(tmp_path / "a" / "b" / "run")
    assert new.create() == [tmp_path / "a", tmp_path / "a" / "b", new.path]
    assert new.create() == run.create() == []
    assert list(new.path.iterdir()) == []
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


@pytest.mark.parametrize("inside", ["", "checkpoints", "checkpoints/000000001000"])
@pytest.mark.parametrize("linked", ["checkpoints", "checkpoints/000000001000", ""])
def test_a_run_is_found_though_its_folders_are_links(tmp_path, run, inside, linked):
    elsewhere = (run.path / linked).rename(tmp_path / "elsewhere")
    (run.path / linked).symlink_to(elsewhere)
    assert RunDirectory.of_checkpoints(run.path / inside).path == run.path


def test_a_run_is_found_from_within_and_through_a_link_from_elsewhere(tmp_path, run, monkeypatch):
    newest = run.checkpoints / "000000001000"
    (tmp_path / "newest").symlink_to(newest)
    assert RunDirectory.of_checkpoints(tmp_path / "newest").path == run.path
    monkeypatch.chdir(newest)
    for inside in (".", ".."):
        assert RunDirectory.of_checkpoints(inside).path == run.path


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("missing", "There is no directory {}. Give a run directory."),
        *(
            (
                folder,
                "{} holds no run: it has no config.gin. Give a run directory or its checkpoints "
                "folder.",
            )
            for folder in ("", "run/videos")
        ),
    ],
)
def test_where_there_is_no_run_is_a_user_error(tmp_path, run, folder, said):
    run.videos.mkdir()
    with pytest.raises(UserError) as caught:
        RunDirectory.of_checkpoints(tmp_path / folder)
    assert caught.value.message == said.format(tmp_path / folder)
