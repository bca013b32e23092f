from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gin
import pytest

from dqn_breakout import doctor, machine
from dqn_breakout.errors import UserError

ROOT = Path(__file__).resolve().parents[1]


def run_doctor(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dqn_breakout.doctor", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def empty_gin() -> Iterator[None]:
    """Leaves gin without a configuration, as it was."""
    yield
    gin.clear_config()


def test_a_sound_machine_passes(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    result = run_doctor("--gin_file=breakout.gin", "--gin_file=smoke.gin", f"--run_dir={run_dir}")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    *lines, last = result.stdout.splitlines()
    assert last == "All is well."
    assert all(line.startswith("ok    ") for line in lines)
    for start in (
        "Python 3.",
        "tensorflow 2.21",
        "tf-agents 0.19.0 ",
        "CPU: ",
        "ffmpeg, ",
        "GPUs: ",
    ):
        assert sum(line.startswith(f"ok    {start}") for line in lines) == 1, start
    assert any(line.startswith("ok    ROM of Breakout: ") for line in lines)
    assert any("4,000 transitions" in line for line in lines)
    assert not run_dir.exists()


def test_a_wrong_config_fails_with_its_sentence() -> None:
    result = run_doctor("--gin_bindings=create_environment.game = 'Breakotu'")
    assert result.returncode == 1
    assert "did you mean Breakout" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    assert result.stdout.count("FAIL") == 1
    assert "\nskip  GPUs, ROM, memory and disk: they need the line above.\n" in result.stdout
    assert result.stdout.endswith("1 of these lines must be mended.\n")


def test_an_incomplete_config_is_named(empty_gin: None) -> None:
    with pytest.raises(UserError, match=r"sets no value for create_\w+\.\w+; give"):
        doctor.probe(["smoke.gin"], [])


def test_macros_are_resolved(empty_gin: None) -> None:
    bindings = ["create_environment.game = %GAME", "GAME = 'Pong'"]
    facts = doctor.probe(["breakout.gin", "smoke.gin"], bindings)
    assert facts["game"] == "Pong"
    assert Path(facts["rom"]).name == "pong.bin"
    assert facts["transitions"] == 4000


def test_a_finding_shows_how_to_mend() -> None:
    assert str(doctor.Finding("all there")) == "ok    all there"
    assert str(doctor.Finding("gone", "Put it back.")) == "FAIL  gone\n      Put it back."


def test_versions_are_compared_with_what_is_declared() -> None:
    sound, old, missing = doctor.check_versions(
        ">=3.11", ["pytest<1", "a-package-that-nobody-installed>=2"]
    )
    assert not sound.mend
    assert old.mend
    assert old.text.endswith("(<1 declared)")
    assert missing.text == "a-package-that-nobody-installed is not installed (>=2 declared)"
    assert "make setup" in missing.mend


def test_another_python_fails() -> None:
    (finding,) = doctor.check_versions(">=2,<3", [])
    assert "make setup PYTHON=" in finding.mend


def test_without_packages_nothing_else_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = doctor.Finding("numpy is not installed", "Install it.")
    monkeypatch.setattr(doctor, "check_versions", lambda python, dependencies: [missing])
    first, last = doctor.examine(["breakout.gin"], [], Path("runs"))
    assert first is missing
    assert str(last).startswith("skip  Nothing else was looked at")


def test_a_home_directory_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(
        doctor, "examine", lambda files, bindings, run_dir: [doctor.Finding(f"in {run_dir}")]
    )
    assert doctor.main(["--run_dir=~/runs/1"]) == 0
    assert f"ok    in {tmp_path}/runs/1\n" in capsys.readouterr().out


def test_a_bare_python_gets_lines_and_no_trace() -> None:
    """As where `python -m dqn_breakout.doctor` is run without the environment."""
    result = subprocess.run(
        [sys.executable, "-S", "-m", "dqn_breakout.doctor"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "FAIL  packaging is not installed" in result.stdout
    assert "make setup" in result.stdout
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"sse2", "avx512_bf16"}, "yes (avx512_bf16)"),
        ({"amx_bf16", "avx512_bf16"}, "yes (amx_bf16, avx512_bf16)"),
        ({"asimd", "bf16"}, "yes (bf16)"),
        ({"sse2", "avx2"}, "no"),
        (set(), "not known"),
    ],
)
def test_bfloat16_is_told(flags: set[str], told: str) -> None:
    assert doctor.check_cpu(flags, 2).text == f"CPU: 2 cores, bfloat16: {told}"


def test_a_missing_gpu_is_no_failure() -> None:
    assert doctor.check_gpus(["/physical_device:GPU:0"], True).text.endswith("GPU:0")
    for has_driver in (False, True):
        assert not doctor.check_gpus([], has_driver).mend
    assert "requirements-cuda.lock" in doctor.check_gpus([], True).text


def test_an_ffmpeg_that_does_not_run_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/no/such/ffmpeg")
    finding = doctor.check_ffmpeg()
    assert "does not run" in finding.text
    assert "IMAGEIO_FFMPEG_EXE" in finding.mend


def test_a_run_directory_that_cannot_be_written_fails(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    finding = doctor.check_run_directory(file / "run")
    assert f"{file} cannot be written" in finding.text
    assert "--run_dir" in finding.mend
    assert not doctor.check_run_directory(tmp_path / "new" / "run").mend
    assert list(tmp_path.iterdir()) == [file]


def test_a_missing_rom_fails(tmp_path: Path) -> None:
    rom = tmp_path / "pong.bin"
    rom.touch()
    assert not doctor.check_rom("Pong", str(rom)).mend
    assert doctor.check_rom("Pong", None).mend
    assert doctor.check_rom("Pong", str(tmp_path / "none.bin")).mend


def test_memory_that_suffices() -> None:
    finding = doctor.check_memory(1_000_000, 7_075, 1_500_000_000, 16 * 10**9, 9 * 10**9)
    assert not finding.mend
    assert "8.6 GB needed with 1,000,000 transitions" in finding.text


def test_memory_that_others_hold() -> None:
    finding = doctor.check_memory(1_000_000, 7_000, 10**9, 16 * 10**9, 3 * 10**9)
    assert finding.mend == (
        "Close other programs. Or: lower the replay buffer: "
        "create_replay_buffer.capacity_transitions = 280000"
    )


def test_memory_that_is_not_there() -> None:
    finding = doctor.check_memory(1_000_000, 7_000, 10**9, 4 * 10**9, 3 * 10**9)
    assert finding.mend.startswith("Lower the replay buffer")
    finding = doctor.check_memory(1_000_000, 7_000, 10**9, 2 * 10**9, 10**9)
    assert finding.mend == "Use a machine with more memory."


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(machine, "_MEMORY_LIMITS", (limit,))
    limit.write_text("2000000000\n")
    assert "of 2.0 GB free" in doctor.check_memory(10**6, 7_000, 10**9).text


def test_disk(tmp_path: Path) -> None:
    assert not doctor.check_disk(tmp_path / "run", 1_000_000, 3 * 10**9).mend
    finding = doctor.check_disk(tmp_path / "run", 1_000_000, 2 * 10**9)
    assert f"2.0 GB free at {tmp_path}" in finding.text
    assert finding.mend


def test_a_tensorflow_that_does_not_load_is_a_line() -> None:
    trace = "Traceback (most recent call last):\n  ...\nImportError: libfoo.so is missing\n\n"
    finding = doctor._describe_crash(1, trace)
    assert finding.text.endswith("do not load: ImportError: libfoo.so is missing")
    finding = doctor._describe_crash(-signal.SIGILL, "")
    assert "SIGILL" in finding.text
    assert "AVX" in finding.mend
