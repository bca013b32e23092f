"""What every command says where something is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from dqn_breakout import command_line
from dqn_breakout.errors import UserError


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (UserError("The run is gone. Give another."), 2, "The run is gone. Give another.\n"),
        (
            OSError(28, "No space left on device", "/runs/a.json"),
            2,
            "A file cannot be read or written: No space left on device: /runs/a.json.\n",
        ),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_a_failure_is_a_sentence_and_an_exit_code(
    error: BaseException, code: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    @command_line.told
    def fails() -> int:
        raise error

    assert fails() == code
    assert capsys.readouterr() == ("", sentence)


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (1, 1)])
def test_a_command_gives_its_exit_code(returned: int | None, code: int) -> None:
    assert command_line.told(lambda words: returned)([]) == code


def test_what_nobody_foresaw_is_a_sentence_and_its_trace_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @command_line.told
    def is_wrong() -> None:
        raise ValueError("a fault of the program\nand more of it")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert is_wrong() == 1
    (trace,) = tmp_path.iterdir()
    assert capsys.readouterr() == (
        "",
        "Nobody foresaw this: ValueError: a fault of the program. Its full trace is in "
        f"{trace}: please report it.\n",
    )
    assert trace.read_text().startswith("Traceback (most recent call last)")
    assert "and more of it" in trace.read_text()
    # Where there is no room for it, it is shown.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    assert is_wrong() == 1
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback")
    assert shown.endswith("Its full trace is above: please report it.\n")


PRINTS = """if True:
    from dqn_breakout import command_line
    @command_line.told
    def main():
        print("runs/\\N{SNOWMAN}\\udcff")
    raise SystemExit(main())
"""


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "latin-1:strict"])
def test_letters_that_a_terminal_lacks_are_shown_in_others(encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PRINTS],
        cwd=command_line.PROJECT,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    snowman = "\N{SNOWMAN}" if encoding == "utf-8" else r"\u2603"
    assert done.stdout.decode() == f"runs/{snowman}\\udcff\n"


@pytest.mark.parametrize(
    ("stdout", "code", "said"),
    [
        ("a pipe that nobody reads", 141, ""),
        ("/dev/full", 2, "A file cannot be read or written: No space left on device.\n"),
    ],
)
def test_output_that_nobody_takes_is_no_trace(stdout: str, code: int, said: str) -> None:
    if stdout == "/dev/full":
        descriptor = os.open(stdout, os.O_WRONLY)
    else:
        reading, descriptor = os.pipe()
        os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-c", PRINTS],
            cwd=command_line.PROJECT,
            stdout=descriptor,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(descriptor)
    assert (done.returncode, done.stderr) == (code, said)


# --- Commands to be pasted ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("here", "executable", "command"),
    [
        ("/project", "/project/.venv/bin/python", ".venv/bin/python eval.py"),
        ("/elsewhere", "/project/.venv/bin/python", "/project/.venv/bin/python /project/eval.py"),
        ("/project/runs", "/usr/bin/python3", "/usr/bin/python3 /project/eval.py"),
        ("/", "/my project/python", "'my project/python' project/eval.py"),
        ("/project", "/project/python", "/project/python eval.py"),
    ],
)
def test_a_command_is_right_where_the_user_stands(
    monkeypatch: pytest.MonkeyPatch, here: str, executable: str, command: str
) -> None:
    monkeypatch.setattr(Path, "cwd", lambda: Path(here))
    monkeypatch.setattr(sys, "executable", executable)
    assert command_line.python(command_line.near(Path("/project/eval.py"))) == command


def test_windows_shells_know_no_single_quotes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(sys, "executable", "/my python")
    assert command_line.python("eval.py", "--video=my game.mp4") == (
        '"/my python" eval.py "--video=my game.mp4"'
    )


@pytest.mark.parametrize("script", ["train.py", "eval.py"])
def test_a_script_is_run_from_anywhere_and_with_a_safe_path(script: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, command_line.PROJECT / script, "--sead=7"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "Did you mean: seed" in done.stderr
