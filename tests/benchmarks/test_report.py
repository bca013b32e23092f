from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import report
from dqn_breakout.errors import UserError


def test_median_of_ratios_needs_pairs() -> None:
    with pytest.raises(ValueError, match="shorter"):
        report.median_of_ratios([1.0, 2.0], [1.0])


def test_a_table_lines_up() -> None:
    assert report.table(("name", "speed"), [("a", "1,000"), ("long name", None)]).splitlines() == [
        "name       speed",
        "---------  -----",
        "a          1,000",
        "long name",
    ]


def test_a_result_says_where_it_comes_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "result.json"
    report.write(path, {**report.header("throughput", {"rounds": 3}), "ratios": {"sb3": 3.5}})
    result = json.loads(path.read_text())
    assert result["settings"] == {"rounds": 3}
    assert result["ratios"] == {"sb3": 3.5}
    assert result["machine"]["processor"]
    assert result["versions"]["tensorflow"]
    assert result["date"].endswith("+00:00")
    assert str(path) in capsys.readouterr().out


def test_an_output_that_cannot_be_written_is_refused_early(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a directory"):
        report.check_output(tmp_path)
    with pytest.raises(UserError, match="No such file or directory"):
        report.check_output(tmp_path / "nowhere" / "result.json")
    report.check_output(tmp_path / "result.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("Mend this."), 2, "Mend this.\n"),
        (report.MeasurementError("It did not train."), 1, "It did not train.\n"),
        (KeyboardInterrupt(), 130, "Stopped; nothing was written.\n"),
    ],
)
def test_what_ends_a_benchmark_is_a_sentence(
    error: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def main(arguments: Sequence[str]) -> int:
        raise error

    monkeypatch.setattr(sys, "argv", ["benchmark"])
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # pytest keeps its own
    with pytest.raises(SystemExit) as ended:
        report.run(main)
    assert ended.value.code == code
    assert capsys.readouterr().err == said
