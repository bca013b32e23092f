from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from dqn_breakout.reporting import curves, figures
from tests.reporting.conftest import evaluation, log_line


@pytest.fixture(autouse=True)
def _work_in_an_empty_folder(tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def test_everything_at_once(write_run, published_csv, capsys):
    scores = {4000: evaluation(8.0)}
    runs = [str(write_run(name, evaluations=scores)) for name in ("one", "two", "three")]
    words = [*runs, "--label=DQN", "--label=other", "--label=DQN", "--random_score=1.7"]
    words += ["--published", str(published_csv), "--published_curve", "DQN/nature_cnn"]
    words += ["--published_label=Them (sticky)", "--output=figure.png", "--data=figure.csv"]
    assert curves.main(words) == 0
    assert capsys.readouterr().out == "".join(
        f"Wrote {Path(name).absolute()}\n" for name in ("figure.png", "figure.csv")
    )
    rows = pd.read_csv("figure.csv").drop_duplicates(["kind", "label"])
    assert (rows["kind"] + " " + rows["label"]).tolist() == [
        "training DQN",
        "training_mean DQN",
        "training other",
        "evaluation DQN",
        "evaluation other",
        "published Them (sticky)",
        "random_player Random player",
    ]


def test_panels(write_run):
    assert curves.main([str(write_run()), "--panels", "--data", "panels.csv"]) == 0
    assert list(pd.read_csv("panels.csv")["metric"].unique()) == list(figures.PANELS)
    assert Path("panels.png").stat().st_size
    assert curves.main([str(write_run("young", [log_line(1000)])), "--panels"]) == 0


def test_one_label_for_all_means_seeds_even_of_one_name(write_run):
    runs = [str(write_run("one/run")), str(write_run("two/run"))]
    assert curves.main([*runs, "--label", "DQN", "--data", "curve.csv"]) == 0
    assert "training_mean,DQN" in Path("curve.csv").read_text()


def test_a_run_without_a_game_is_told_of_on_stderr(write_run, capsys):
    assert curves.main([str(write_run()), str(write_run("young", [log_line(1000)]))]) == 0
    assert capsys.readouterr().err == "Note: no full game has ended yet in young.\n"


def refused(arguments, capsys):
    """What `curves` says of arguments that it refuses: one line, and nothing is written."""
    assert curves.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not list(Path().iterdir())
    return captured.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("RUN nowhere", "nowhere. Give the directory of a training run"),
        ("EMPTY", "metrics.jsonl holds no log line"),
        ("RUN PONG", "Returns of different games do not compare: Breakout, Pong."),
        ("YOUNG", "There is nothing to draw"),
        ("RUN PONG --label=a --label=b --label=c", "There are 3 labels for 2 run directories"),
        ("RUN --output=a.gif", "a.gif must end in .png or .svg or .pdf"),
        ("RUN --data=a.txt", "a.txt must end in .csv or .json"),
        ("RUN --output=no/a.png", "no/a.png cannot be written: No such file or directory"),
        ("RUN --published_curve=DQN", "There is no published curve of Breakout"),
        ("RUN --published=CSV" + 3 * " --published_label=a", "Give a --published_label for each"),
        ("RUN --published=no.csv", "no.csv cannot be read as CSV"),
        ("RUN --published=CSV", "Give a --published_label for each of breakout/nature_cnn/DQN, b"),
        ("RUN --published=CSV --published_curve=DQN", "'DQN' means several curves; give one of"),
        (
            "RUN --published=CSV --published_curve=DQN/natur",
            "; give one of breakout/nature_cnn/DQN",
        ),
        ("RUN --published=CSV --published_curve=C51", "'C51' means no published curve here; give"),
        ("RUN --panels --random_score=1", "have no place in --panels"),
    ],
)
def test_bad_input_is_one_sentence(write_run, published_csv, tmp_path, capsys, words, message):
    paths = {"RUN": write_run(), "PONG": write_run("pong", game="Pong"), "EMPTY": tmp_path}
    paths["YOUNG"] = write_run("young", [log_line(1000)])
    words = [
        str(paths.get(word, word)).replace("CSV", str(published_csv)) for word in words.split()
    ]
    assert message in refused(words, capsys)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("run/metrics.jsonl", '{"env_steps": 5}\n{"env_st{"env_steps": 7}\n', "Line 2 of"),
        ("run/run.json", "{", "run.json is damaged"),
        ("run/evaluations/000000002000.json", "{", "000000002000.json is damaged"),
        ("run/config.gin", "train.total_env_steps = (1,\n", "onfiguration"),
        ("published.csv", "game,encoder,agent\n", "published.csv cannot be read as CSV with the"),
        ("published.csv", "HEADERbreakout,n,DQN,5,high,0.1,5\n", "high"),
        ("published.csv", "HEADERbreakout,n,DQN,5.5,1,0.1,5\n", "int"),
        ("published.csv", "\xff", "published.csv cannot be read as CSV"),
    ],
)
def test_damaged_files_are_named(
    write_run, published_csv, tmp_path, capsys, file, content, message
):
    run = write_run()
    header = published_csv.read_text().split("\n")[0] + "\n"
    (tmp_path / file).write_text(content.replace("HEADER", header), encoding="latin-1")
    words = [str(run), "--published", str(published_csv), "--published_label=a"]
    assert message in refused(words, capsys)
