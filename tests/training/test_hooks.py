"""Tests of what happens beside training: TensorBoard, metrics.jsonl, evaluations."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

from dqn_breakout.errors import UserError
from dqn_breakout.runs.directory import RunDirectory
from dqn_breakout.training.hooks import EvaluationHook, MetricsFileHook, TensorBoardHook
from dqn_breakout.training.signals import Stopped
from tests import file_size
from tests.training.rows import row


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "run")
    run.create()
    return run


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of every scalar in a folder of event files, by tag."""
    accumulator = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    accumulator.Reload()
    return {
        tag: [
            (event.step, float(tensor_util.make_ndarray(event.tensor_proto)))
            for event in accumulator.Tensors(tag)
        ]
        for tag in accumulator.Tags()["tensors"]
    }


# --- TensorBoard ----------------------------------------------------------------------------------


def test_tensorboard_shows_every_number_of_a_row_at_once_under_its_env_steps(run):
    hook = TensorBoardHook(run)
    hook.on_row(row(100, dead_units=0.5))
    hook.on_row(row(200, loss=None, average_return=None))
    assert events(run.train_events) == {
        "games/return_mean_of_last_100": [(100, pytest.approx(12.3456))],
        "games/length_mean_of_last_100_env_steps": [(100, 60.0), (200, 60.0)],
        "games/count": [(100, 1234.0), (200, 1234.0)],
        "train/loss": [(100, 0.25)],
        "train/mean_q": [(100, 0.75), (200, 0.75)],
        "train/gradient_norm": [(100, 2.0), (200, 2.0)],
        "train/epsilon": [(100, 0.5), (200, 0.5)],
        "train/train_steps": [(100, 25.0), (200, 50.0)],
        "train/dead_units": [(100, 0.5)],  # Known to no list of metrics.
        "speed/env_steps_per_second": [(100, 250.0), (200, 250.0)],
        "replay/transitions": [(100, 100.0), (200, 200.0)],
    }
    assert not run.eval_events.exists()
    hook.close()


def test_curves_that_cannot_be_written_are_an_os_error_that_names_them(run):
    run.train_events.parent.mkdir()
    run.train_events.write_text("a file where a folder should be")
    with pytest.raises(OSError, match=r"tensorboard") as caught:
        TensorBoardHook(run).on_row(row(100))
    assert caught.value.filename == str(run.train_events)
    assert caught.value.strerror


# --- metrics.jsonl --------------------------------------------------------------------------------


def lines(run: RunDirectory) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.metrics_jsonl.read_text().splitlines()]


def test_every_row_is_a_line_and_lines_of_work_that_was_lost_are_dropped(run):
    hook = MetricsFileHook(run, {})
    assert not run.metrics_jsonl.exists()
    rows = [row(100), row(200, loss=None, average_return=None)]
    for each in (*rows, row(300)):
        hook.on_row(each)
    hook.close()
    assert lines(run) == [*rows, row(300)]
    # The row of the checkpoint is there, as it was shown.
    resumed = MetricsFileHook(run, {"env_steps": 200, "row": row(200)})
    assert lines(run) == rows
    resumed.on_row(row(300, loss=2.0))
    assert lines(run) == [*rows, row(300, loss=2.0)]
    assert [path.name for path in run.path.iterdir()] == ["metrics.jsonl"]


@pytest.mark.parametrize("there", [[], [row(100)]])
def test_the_row_of_a_checkpoint_is_added_where_a_process_died_before_it(run, there):
    hook = MetricsFileHook(run, {})
    for each in (*there, row(300)):
        hook.on_row(each)
    for _ in range(2):
        MetricsFileHook(run, {"env_steps": 200, "row": row(200)})
        assert lines(run) == [*there, row(200)]


@pytest.mark.parametrize(
    "damage", ['{"env_steps": 2', "", "[1]", '{"steps": 1}', '{"env_steps": null}', "\x00"]
)
def test_lines_that_a_crash_cut_short_are_dropped(run, damage):
    MetricsFileHook(run, {}).on_row(row(100))
    with run.metrics_jsonl.open("a") as file:
        file.write(damage)
    MetricsFileHook(run, {"env_steps": 1000}).on_row(row(1100))
    assert [line["env_steps"] for line in lines(run)] == [100, 1100]


def test_a_line_for_which_there_is_no_room_leaves_nothing_of_itself(run):
    hook = MetricsFileHook(run, {})
    hook.on_row(row(100))
    size = run.metrics_jsonl.stat().st_size
    said = r"No space left|too large"
    with file_size.at_most(size + 10), pytest.raises(OSError, match=said) as caught:
        hook.on_row(row(200))
    assert caught.value.filename == str(run.metrics_jsonl)
    assert run.metrics_jsonl.stat().st_size == size
    hook.on_row(row(300))
    assert [line["env_steps"] for line in lines(run)] == [100, 300]


# --- Evaluations ----------------------------------------------------------------------------------


class Held:
    """A lock on a run directory, which is gone by check number `gone_at`."""

    def __init__(self, run: RunDirectory, gone_at: int | None = None):
        self.run = run
        self.checks, self.gone_at = 0, gone_at

    def check(self) -> None:
        self.checks += 1
        if self.checks == self.gone_at:
            raise FileNotFoundError("gone")


SCORES = {"mean": 2.5, "median": 2.0, "games": 4, "protocol": {"name": "nature"}}


class Evaluations:
    """What an `EvaluationHook` is built with; counts the calls, and fails as it is told to."""

    def __init__(self, evaluation: Exception | None = None, video: Exception | None = None):
        self.paused: list[float] = []
        self.recorded: list[Path] = []
        self.evaluation_error, self.video_error = evaluation, video

    def evaluate(self) -> dict[str, Any]:
        time.sleep(0.01)
        if self.evaluation_error is not None:
            raise self.evaluation_error
        return dict(SCORES)

    def record(self, path: Path) -> None:
        if self.video_error is not None:
            raise self.video_error
        path.write_bytes(b"video")
        self.recorded.append(path)

    def hook(
        self, run: RunDirectory, video: bool = True, gone_at: int | None = None
    ) -> EvaluationHook:
        lock: Any = Held(run, gone_at)
        record = self.record if video else None
        return EvaluationHook(lock, self.evaluate, record, self.paused.append)


def test_an_evaluation_leaves_scores_curves_and_a_video(run, capsys):
    evaluations = Evaluations()
    hook = evaluations.hook(run)
    for env_steps in (256, 512):
        hook.evaluate(env_steps)
    hook.close()
    # Its time is told, so that it counts as no training.
    assert min(evaluations.paused) >= 0.01
    written = sorted(run.evaluations.iterdir())
    assert [path.name for path in written] == ["000000000256.json", "000000000512.json"]
    assert json.loads(written[0].read_text()) == {"env_steps": 256, **SCORES}
    assert [path.name for path in evaluations.recorded] == ["000000000256.mp4", "000000000512.mp4"]
    assert all(path.parent == run.videos for path in evaluations.recorded)
    assert events(run.eval_events) == {
        "games/return_mean": [(256, 2.5), (512, 2.5)],
        "games/return_median": [(256, 2.0), (512, 2.0)],
    }
    assert not run.train_events.exists()
    told = capsys.readouterr()
    assert told.err.splitlines() == [
        "Evaluation at 256 steps: mean return 2.50 of 4 full games (nature protocol)",
        "Evaluation at 512 steps: mean return 2.50 of 4 full games (nature protocol)",
    ]
    assert told.out == ""


def test_without_a_recorder_there_is_no_video(run):
    hook = Evaluations().hook(run, video=False)
    hook.evaluate(256)
    hook.close()
    assert len(list(run.evaluations.iterdir())) == 1
    assert not run.videos.exists()


def test_an_evaluation_in_which_a_stop_is_asked_for_is_left_out(run, capsys):
    evaluations = Evaluations(evaluation=Stopped())
    hook = evaluations.hook(run)
    hook.evaluate(256)
    hook.close()
    assert list(run.path.rglob("*")) == evaluations.recorded == []
    cut_short = "The evaluation at 256 steps was cut short; it comes when the run goes on.\n"
    assert capsys.readouterr() == ("", cut_short)
    assert len(evaluations.paused) == 1
    # One that cannot be played is not hidden: without scores the run would only look watched.
    evaluations.evaluation_error = UserError("No such game.")
    with pytest.raises(UserError, match="No such game"):
        hook.evaluate(256)


def test_an_evaluation_is_done_only_with_its_video(run, capsys):
    evaluations = Evaluations(video=Stopped())
    hook = evaluations.hook(run)
    hook.evaluate(256)
    assert "comes when the run goes on" in capsys.readouterr().err
    assert not run.evaluation_json(256).exists()
    # The next process plays it again; curves have its points twice, the same ones.
    evaluations.video_error = None
    hook.evaluate(256)
    hook.close()
    assert run.evaluation_json(256).exists()
    assert [path.name for path in evaluations.recorded] == ["000000000256.mp4"]
    assert events(run.eval_events)["games/return_mean"] == [(256, 2.5), (256, 2.5)]
    assert len(evaluations.paused) == 2


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UserError("It cannot be written: no room."), "It cannot be written: no room."),
        (ValueError("no NOOP\nin this game"), "ValueError: no NOOP."),
        (PermissionError(13, "Permission denied", "x.mp4"), "PermissionError: [Errno 13] Permis"),
        (MemoryError(), "MemoryError: MemoryError."),
    ],
)
def test_a_video_that_fails_ends_no_training(run, capsys, error, said):
    evaluations = Evaluations(video=error)
    hook = evaluations.hook(run)
    hook.evaluate(256)
    scores, no_video = capsys.readouterr().err.splitlines()
    assert scores.startswith("Evaluation at 256 steps: mean return 2.50 of 4 full games")
    assert no_video.startswith(f"There is no video of it: {said}")
    hook.close()
    assert run.evaluation_json(256).exists()


def test_a_folder_of_videos_that_cannot_be_made_ends_no_training(run, capsys):
    run.videos.write_text("a file in its place")
    hook = Evaluations().hook(run)
    hook.evaluate(256)
    hook.close()
    assert "There is no video of it: FileExistsError" in capsys.readouterr().err
    assert run.evaluation_json(256).exists()


@pytest.mark.parametrize("asked", [1, 2])
def test_an_evaluation_writes_nothing_where_the_directory_went_meanwhile(run, asked):
    evaluations = Evaluations()
    hook = evaluations.hook(run, gone_at=asked)
    with pytest.raises(FileNotFoundError, match="gone"):
        hook.evaluate(256)
    hook.close()
    # Asked after games were played, and after a video was recorded.
    assert len(evaluations.recorded) == asked - 1
    assert not run.evaluations.exists()
    assert run.eval_events.exists() == (asked == 2)
