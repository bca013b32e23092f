"""Tests of writing a file: whole or absent, and on disk before it has its name."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pytest

from dqn_breakout.errors import UserError
from dqn_breakout.runs import files
from dqn_breakout.runs.files import write_atomically, write_json


def test_a_file_is_written_and_replaced(tmp_path):
    path = tmp_path / "file"
    for content in (b"one", b"two\0"):
        write_atomically(path, content)
        assert path.read_bytes() == content
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
        events.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", spied_fsync)
    monkeypatch.setattr(os, "replace", spied_replace)
    write_atomically(tmp_path / "file", b"content")
    assert events == ["flush the content", "rename", "flush the folder"]


def test_no_folder_is_made_inside_a_missing_one(tmp_path):
    for write in (
        lambda: write_atomically(tmp_path / "missing" / "file", b""),
        lambda: files.make_folder(tmp_path / "missing" / "folder"),
    ):
        with pytest.raises(FileNotFoundError):
            write()
    assert list(tmp_path.iterdir()) == []


def test_json_is_indented_and_takes_no_nan(tmp_path):
    path = tmp_path / "value.json"
    write_json(path, {"mean": 1.5, "none": None})
    assert path.read_text() == '{\n  "mean": 1.5,\n  "none": null\n}\n'
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write_json(path, {"mean": value})
    assert path.read_text() == '{\n  "mean": 1.5,\n  "none": null\n}\n'


@pytest.mark.parametrize("path", ["~nobody-of-this-name/run", "~\0"])
def test_a_home_directory_that_is_not_known_is_a_user_error(path):
    assert files.expanded("~") == Path.home()
    with pytest.raises(UserError, match="The home directory that '~"):
        files.expanded(path)
