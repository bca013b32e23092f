from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dqn_breakout import doctor

ROOT = Path(__file__).resolve().parents[1]


def run_doctor(*arguments: str, python: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *python, "-m", "dqn_breakout.doctor", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_sound_machine_passes(tmp_path: Path) -> None:
    flags = ("--gin_file=breakout.gin", "--gin_file=smoke.gin", f"--run_dir={tmp_path / 'run'}")
    result = run_doctor(*flags)
    assert result.returncode == 0, result.stdout + result.stderr
    *lines, last = result.stdout.splitlines()
    assert last == "All is well."
    starts = ["Python 3.", "Run directory", "TensorFlow 2.", "CPU: ", "GPUs: ", "ffmpeg "]
    starts += ["Breakout starts", "Memory: ", "Disk: "]
    for line, start in zip(lines, starts, strict=True):
        assert line.startswith(f"ok    {start}")
    assert "4,000 transitions" in lines[-2]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("--gin_bindings=create_environment.game = 'Breakotu'", "did you mean Breakout"),
        ("--gin_file=atari.gin", "no value for build.learning; give a whole file"),
        (
            "--gin_bindings=create_replay_buffer.capacity_transitions = 'x'",
            "create_replay_buffer.capacity_transitions must be a whole number of 1 or more",
        ),
        (
            "--gin_bindings=create_replay_buffer.frame_table = 'x'",
            "create_replay_buffer.frame_table must be @plain_frames or @compressed_frames",
        ),
    ],
)
def test_a_wrong_config_fails_with_its_sentence(flag: str, told: str) -> None:
    result = run_doctor(flag)
    assert result.returncode == 1
    assert told in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    assert result.stdout.count("FAIL") == 1
    assert result.stdout.endswith("1 of these lines must be mended.\n")


def test_a_config_without_replay_gets_no_line_of_its_memory(tmp_path: Path) -> None:
    (tmp_path / "own.gin").write_text("include 'atari.gin'\nbuild.learning = @create_agent\n")
    result = run_doctor(f"--gin_file={tmp_path / 'own.gin'}")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-2].startswith("ok    Breakout starts")


def test_a_bare_python_gets_lines_and_no_trace() -> None:
    """As where `python -m dqn_breakout.doctor` is run without the environment."""
    result = run_doctor(python=("-S",))
    assert result.returncode == 1
    assert "do not load: No module named" in result.stdout
    assert f"make -C {ROOT} doctor" in result.stdout
    assert result.stderr == ""


def test_an_ffmpeg_that_does_not_run_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/no/such/ffmpeg")
    finding = doctor.check_ffmpeg()
    assert "does not run" in finding.text
    assert "IMAGEIO_FFMPEG_EXE" in finding.mend


def test_a_run_directory_that_cannot_be_written_fails(tmp_path: Path) -> None:
    finding = doctor.check_run_directory(tmp_path / "file" / "run", tmp_path / "file")
    assert f"{tmp_path / 'file'} cannot be written" in finding.text
    assert "--run_dir" in finding.mend
    assert not doctor.check_run_directory(tmp_path / "new" / "run", tmp_path).mend
    assert list(tmp_path.iterdir()) == []


GB = 10**9
FEWER = "--gin_bindings=create_replay_buffer.capacity_transitions"


@pytest.mark.parametrize(
    ("free", "mend"),
    [
        (9 * GB, ""),
        (3 * GB, f"Close other programs, or train with {FEWER}=280000"),
        (GB, "Close other programs, or use a machine with more memory."),
    ],
)
def test_memory(free: int, mend: str) -> None:
    finding = doctor.check_memory(1_000_000, 7_000, GB, free)
    assert finding.text.startswith("Memory: 8.0 GB needed with 1,000,000 transitions in replay, ")
    assert finding.mend == mend


def test_disk(tmp_path: Path) -> None:
    assert not doctor.check_disk(tmp_path, 1_000_000, 3 * GB).mend
    finding = doctor.check_disk(tmp_path, 1_000_000, 2 * GB)
    assert str(finding).startswith("FAIL  Disk: 2.5 GB needed at most for checkpoints, 2.0 GB free")
    assert finding.mend
