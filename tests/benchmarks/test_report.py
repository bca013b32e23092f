from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report
from dqn_breakout.errors import UserError


def run(monkeypatch: pytest.MonkeyPatch, measure: Any, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # pytest keeps its own
    made = report.parser("some", "Some benchmark.", rounds=3, seed=1)
    with pytest.raises(SystemExit) as ended:
        report.run(made, measure, lambda result: report.table([result["speeds"]]))
    return int(ended.value.code or 0)


def test_a_result_says_where_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(options: argparse.Namespace) -> dict[str, Any]:
        return {"speeds": {"of": "sb3", "env steps/s": 182.4, "share": 0.3444, "none": None}}

    path = tmp_path / "result.json"
    assert run(monkeypatch, measure, f"--output={path}", "--rounds=2", "--gin_file=laptop.gin") == 0
    result = json.loads(path.read_text())
    expected = {"rounds": 2, "seed": 1, "gin_file": ["laptop.gin"], "gin_bindings": []}
    assert result["settings"] == expected
    assert result["benchmark"] == "some"
    assert result["machine"]["processor"]
    assert result["versions"]["tensorflow"]
    assert result["date"].endswith("+00:00")
    assert "git_revision" in result
    shown = capsys.readouterr().out.splitlines()
    assert shown[1].split() == ["of", "env", "steps/s", "share", "none"]
    assert shown[3].split() == ["sb3", "182", "0.344"]


@pytest.mark.parametrize(
    "argument",
    ["--rounds=0", "--rounds=2.5", "--round=3", "more", "--output=/", "--output=/nowhere/a.json"],
)
def test_wrong_arguments_are_refused_before_anything_runs(
    argument: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(options: argparse.Namespace) -> dict[str, Any]:
        raise AssertionError

    assert run(monkeypatch, measure, argument) == 2
    assert argument.split("=")[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("Mend this."), 2, "Mend this.\n"),
        (KeyboardInterrupt(), 130, "Stopped; nothing was written.\n"),
    ],
)
def test_what_ends_a_benchmark_is_a_sentence(
    error: Any, code: int, said: str, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(options: argparse.Namespace) -> dict[str, Any]:
        raise error

    assert run(monkeypatch, measure) == code
    assert capsys.readouterr().err == said
