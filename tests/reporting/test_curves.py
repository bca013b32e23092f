from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import pytest

from dqn_breakout.reporting import curves


@pytest.fixture(autouse=True)
def _work_in_an_empty_folder(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def test_module_draws_one_run(write_run, tmp_path):
    answer = subprocess.run(
        [sys.executable, "-m", "dqn_breakout.reporting.curves", str(write_run())],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path), "HOME": str(tmp_path)},
        check=True,
    )
    assert answer.stdout == "Wrote curve.png\n"
    assert answer.stderr == ""
    assert matplotlib.image.imread("curve.png").shape[1] == 1600


def test_everything_at_once(write_run, make_evaluation, published_csv, tmp_path, capsys):
    scores = {4000: make_evaluation(8.0)}
    runs = [str(write_run(name, evaluations=scores)) for name in ("one", "two", "three")]
    words = [
        *runs,
        *("--label", "DQN", "--label", "DQN", "--label", "other"),
        *("--published", str(published_csv)),
        *("--published_curve", "DQN/nature_cnn", "--published_label", "Them (sticky, 5 seeds)"),
        *("--random_score", "1.7"),
        *("--output", "figure.png", "--data", "figure.csv"),
    ]
    assert curves.main(words) == 0
    assert capsys.readouterr().out == "Wrote figure.png\nWrote figure.csv\n"
    with open("figure.csv") as file:
        rows = list(csv.DictReader(file))
    found = list(dict.fromkeys((row["kind"], row["label"], row["run"]) for row in rows))
    assert found == [
        ("training", "DQN", "one"),
        ("training", "DQN", "two"),
        ("training_mean", "DQN", ""),
        ("training", "other", "three"),
        ("evaluation", "DQN", "one"),
        ("evaluation", "DQN", "two"),
        ("evaluation", "other", "three"),
        ("published", "Them (sticky, 5 seeds)", ""),
        ("random_player", "Random player", ""),
    ]
    assert str(tmp_path) not in Path("figure.csv").read_text()


def test_panels(write_run, capsys):
    assert curves.main([str(write_run()), "--panels", "--data", "panels.csv"]) == 0
    assert capsys.readouterr().out == "Wrote panels.png\nWrote panels.csv\n"
    with open("panels.csv") as file:
        metrics = {row["metric"] for row in csv.DictReader(file)}
    assert metrics == {"loss", "mean_q", "epsilon", "env_steps_per_second"}


def test_one_label_for_all_means_seeds(write_run):
    runs = [str(write_run("one")), str(write_run("two"))]
    assert curves.main([*runs, "--label", "DQN", "--data", "curve.csv"]) == 0
    assert "training_mean,DQN" in Path("curve.csv").read_text()


def test_notes_are_told_on_stderr(write_run, make_log_line, capsys):
    torn = write_run("torn")
    with open(torn / "metrics.jsonl", "a") as file:
        file.write('{"env')
    young = write_run("young", [make_log_line(1000)])
    assert curves.main([str(torn), str(young)]) == 0
    notes = capsys.readouterr().err.splitlines()
    assert len(notes) == 2
    assert "is not whole" in notes[0]
    assert "young: no full game has ended yet" in notes[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["RUN", "RUN"], "is given twice"),
        (["RUN", "nowhere"], "There is no directory nowhere"),
        (["RUN", "OTHER", "--label=a", "--label=b", "--label=c"], "3 labels for 2 run directories"),
        (["RUN", "--label="], "A --label is empty"),
        (["RUN", "SAME"], "have the same name"),
        (["RUN", "--output=a.gif"], "--output must end in .png or .svg or .pdf, but is a.gif"),
        (["RUN", "--data=a.txt"], "--data must end in .csv or .json, but is a.txt"),
        (["RUN", "--output=no/a.png"], "--output: there is no directory no; make it first"),
        (["RUN", "--published_curve=DQN"], "need --published FILE.csv"),
        (["RUN", "--published=CSV", "--published_label=a"], "1 labels for 3 published curves (br"),
        (["RUN", "--published=CSV", "--published_curve=QR-DQN"], "A label says the protocol"),
        (["RUN", "--published=no.csv"], "no.csv cannot be read"),
        (["RUN", "--panels", "--random_score=1"], "belong to the learning curve"),
    ],
)
def test_bad_input_is_one_sentence(write_run, published_csv, tmp_path, capsys, words, message):
    (tmp_path / "else").mkdir()
    paths = {
        "RUN": str(write_run()),
        "OTHER": str(write_run("other")),
        "SAME": str(write_run("else/run")),
    }
    words = [paths.get(word, word).replace("CSV", str(published_csv)) for word in words]
    assert curves.main(words) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not list((tmp_path / "work").iterdir())


@pytest.mark.parametrize(
    "words", [["--max_env_steps=0"], ["--max_env_steps=1e6"], ["--random_score=nan"], ["--labl=a"]]
)
def test_bad_options_are_refused(write_run, capsys, words):
    with pytest.raises(SystemExit) as stop:
        curves.main([str(write_run()), *words])
    assert stop.value.code == 2
    assert words[0].split("=")[0] in capsys.readouterr().err
