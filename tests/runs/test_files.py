"""Tests of writing a file: whole or absent, and on disk before it has its name."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dqn_breakout.errors import UserError
from dqn_breakout.runs import files
from dqn_breakout.runs.files import write_atomically, write_json
from tests import file_size

ROOT = Path(__file__).resolve().parents[2]


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
    said = os.strerror(errno.EFBIG)
    with file_size.at_most(1000), pytest.raises(OSError, match=said) as caught:
        write_atomically(tmp_path / "file", bytes(5000))
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


# --- What is no plain file ------------------------------------------------------------------------


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_followed_and_stays(tmp_path, there):
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "file", tmp_path / "link"
    if there:
        target.write_bytes(b"one")
    link.symlink_to(target)
    assert files.can_be_written(link)
    write_atomically(link, b"two")
    assert link.is_symlink()
    assert target.read_bytes() == b"two"
    assert list((tmp_path / "elsewhere").iterdir()) == [target]


def test_a_pipe_and_a_device_are_written_to_and_stay(tmp_path):
    if sys.platform == "win32":
        pytest.skip("Windows has no such pipes.")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert files.can_be_written(pipe)
        write_atomically(pipe, b"content")
        assert os.read(reading, 100) == b"content"
    finally:
        os.close(reading)
    assert pipe.is_fifo()
    link = tmp_path / "nowhere"
    link.symlink_to(os.devnull)
    for path in (link, Path(os.devnull)):
        write_atomically(path, b"content")
        assert path.is_char_device()
    assert sorted(tmp_path.iterdir()) == [link, pipe]


@pytest.mark.parametrize("plain", [True, False], ids=["a file", "a pipe"])
def test_what_a_process_prints_and_then_writes_to_its_own_output_is_all_there(tmp_path, plain):
    code = """if True:
        from pathlib import Path
        from dqn_breakout.runs.files import write_atomically
        print("printed", flush=True)
        write_atomically(Path("/dev/stdout"), b"written")
    """
    command = [sys.executable, "-c", code]
    path = tmp_path / "output"
    with open(path, "wb") as file:
        output = file if plain else subprocess.PIPE
        done = subprocess.run(command, stdout=output, cwd=ROOT, check=True)
    assert (path.read_bytes() if plain else done.stdout) == b"printed\nwritten"


@pytest.mark.parametrize("path", ["folder", "missing/file", "folder/missing/file"])
def test_where_no_file_can_be_is_known_before(tmp_path, path):
    (tmp_path / "folder").mkdir()
    assert not files.can_be_written(tmp_path / path)
    assert files.can_be_written(tmp_path / "folder" / "file")


@pytest.mark.parametrize(
    ("number", "told"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True)]
)
def test_a_file_system_that_cannot_flush_folders_is_no_fault(tmp_path, monkeypatch, number, told):
    fsync = os.fsync

    def refuse_folders(descriptor: int) -> None:
        if os.path.isdir(descriptor):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    with pytest.raises(OSError, match=os.strerror(number)) if told else contextlib.nullcontext():
        files.make_folder(tmp_path / "folder")
        write_atomically(tmp_path / "folder" / "file", b"content")


# --- Paths as people write them -------------------------------------------------------------------


def test_a_path_is_absolute_and_links_and_colons_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    (tmp_path / "link").symlink_to("elsewhere")
    for path, expected in {
        "~": "/home/me",
        "~/x.json": "/home/me/x.json",
        "runs/a~": f"{tmp_path}/runs/a~",
        "./~/x": f"{tmp_path}/~/x",
        "a:b.mp4": f"{tmp_path}/a:b.mp4",
        "link": f"{tmp_path}/link",
        "/dev/stdout": "/dev/stdout",
        "C:/runs": f"{tmp_path}/C:/runs",
    }.items():
        assert files.expanded(path) == Path(expected)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", "A path is empty: give one"),
        ("gs://bucket/run", "'gs://bucket/run' is an address"),
        (Path("s3://bucket/run"), "'s3:/bucket/run' is an address"),
        ("file:///runs/x", "'file:///runs/x' is an address"),
        ("~nobody-of-this-name/run", "The home directory that '~nobody-of-this-name/run'"),
        ("~\0", "The home directory that '~"),
    ],
)
def test_a_path_that_means_nothing_here_is_a_user_error(path, said):
    with pytest.raises(UserError) as caught:
        files.expanded(path)
    assert caught.value.message.startswith(said)
