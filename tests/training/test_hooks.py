"""Tests of what happens beside training: TensorBoard, metrics.jsonl, evaluations."""

from __future__ import annotations

import json
import resource
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

from dqn_breakout.errors import UserError
from dqn_breakout.runs.directory import RunDirectory
from dqn_breakout.training.hooks import EvaluationHook, MetricsFileHook, TensorBoardHook
from dqn_breakout.training.loop import Iteration
from dqn_breakout.training.progress import Row
from dqn_breakout.training.signals import Stopped


def row(env_steps: int, **changes: Any) -> Row:
    numbers: dict[str, Any] = {
        "env_steps": env_steps,
        "train_steps": env_steps // 4,
        "episodes": 3,
        "average_return": 1.5,
        "average_length": 60.0,
        "loss": 0.25,
        "mean_q": 0.75,
        "gradient_norm": 2.0,
        "epsilon": 0.5,
        "env_steps_per_second": 100.0,
        "replay_transitions": env_steps,
        "wall_seconds": 4.0,
    }
    return Row(**{**numbers, **changes})


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


def test_tensorboard_shows_every_number_of_a_row_under_its_env_steps(run):
    hook = TensorBoardHook(run)
    hook.on_iteration(Iteration(100, 0, None))
    hook.on_row(row(100))
    hook.on_row(row(200, loss=0.125))
    hook.close()
    assert events(run.train_events) == {
        "games/return_mean_of_last_100": [(100, 1.5), (200, 1.5)],
        "games/length_mean_of_last_100_env_steps": [(100, 60.0), (200, 60.0)],
        "games/count": [(100, 3.0), (200, 3.0)],
        "train/loss": [(100, 0.25), (200, 0.125)],
        "train/mean_q": [(100, 0.75), (200, 0.75)],
        "train/gradient_norm": [(100, 2.0), (200, 2.0)],
        "train/epsilon": [(100, 0.5), (200, 0.5)],
        "train/train_steps": [(100, 25.0), (200, 50.0)],
        "speed/env_steps_per_second": [(100, 100.0), (200, 100.0)],
        "replay/transitions": [(100, 100.0), (200, 200.0)],
    }
    assert not run.eval_events.exists()


def test_tensorboard_leaves_out_what_there_is_none_of(run):
    hook = TensorBoardHook(run)
    hook.on_row(row(100, average_return=None, average_length=None, loss=None, mean_q=None))
    tags = events(run.train_events)
    assert "games/count" in tags
    assert not {"games/return_mean_of_last_100", "train/loss", "train/mean_q"} & set(tags)
    hook.close()


def test_tensorboard_shows_a_row_at_once(run):
    hook = TensorBoardHook(run)
    hook.on_row(row(100))
    assert events(run.train_events)["train/loss"] == [(100, 0.25)]
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


def test_every_row_is_a_line(run):
    hook = MetricsFileHook(run, 0)
    hook.on_iteration(Iteration(50, 0, None))
    assert not run.metrics_jsonl.exists()
    hook.on_row(row(100))
    hook.on_row(row(200, loss=None, average_return=None))
    hook.close()
    assert lines(run) == [row(100).as_dict(), row(200, loss=None, average_return=None).as_dict()]


def test_a_resumed_run_goes_on_below_its_lines(run):
    MetricsFileHook(run, 0).on_row(row(100))
    MetricsFileHook(run, 100).on_row(row(200))
    assert [line["env_steps"] for line in lines(run)] == [100, 200]


def test_lines_of_work_that_was_lost_are_dropped(run):
    first = MetricsFileHook(run, 0)
    for env_steps in (100, 200, 300):
        first.on_row(row(env_steps, loss=1.0))
    second = MetricsFileHook(run, 200)
    second.on_row(row(300, loss=2.0))
    assert [(line["env_steps"], line["loss"]) for line in lines(run)] == [
        (100, 1.0),
        (200, 1.0),
        (300, 2.0),
    ]
    assert [path.name for path in run.path.iterdir()] == ["metrics.jsonl"]


@pytest.mark.parametrize(
    "damage",
    [
        '{"env_steps": 2',
        "",
        "null",
        "[1]",
        '{"steps": 1}',
        '{"env_steps": null}',
        '{"env_steps": 1e999}',
        '{"env_steps": true}',
        "[" * 100_000,
        "\x00",
    ],
)
def test_lines_that_a_crash_cut_short_are_dropped(run, damage):
    MetricsFileHook(run, 0).on_row(row(100))
    with run.metrics_jsonl.open("a") as file:
        file.write(damage)
    MetricsFileHook(run, 1000).on_row(row(1100))
    assert [line["env_steps"] for line in lines(run)] == [100, 1100]


def test_a_line_for_which_there_is_no_room_leaves_nothing_of_itself(run):
    hook = MetricsFileHook(run, 0)
    hook.on_row(row(100))
    size = run.metrics_jsonl.stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, before[1]))
        with pytest.raises(OSError, match=r"No space left|too large") as caught:
            hook.on_row(row(200))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.filename == str(run.metrics_jsonl)
    assert run.metrics_jsonl.stat().st_size == size
    hook.on_row(row(300))
    assert [line["env_steps"] for line in lines(run)] == [100, 300]


# --- Evaluations ----------------------------------------------------------------------------------


def there() -> None:
    """The run directory is where it was."""


SCORES = {"mean": 2.5, "median": 2.0, "games": 4, "protocol": {"name": "nature"}}


class Evaluations:
    """What an `EvaluationHook` is built with; counts the calls, and fails as it is told to."""

    def __init__(
        self,
        seconds: float = 0.0,
        evaluation_error: Exception | None = None,
        video_error: Exception | None = None,
    ):
        self.count = 0
        self.paused: list[float] = []
        self.recorded: list[Path] = []
        self.evaluation_error = evaluation_error
        self.video_error = video_error
        self._seconds = seconds

    def evaluate(self) -> dict[str, Any]:
        self.count += 1
        time.sleep(self._seconds)
        if self.evaluation_error is not None:
            raise self.evaluation_error
        return dict(SCORES)

    def record(self, path: Path) -> None:
        if self.video_error is not None:
            raise self.video_error
        path.write_bytes(b"video")
        self.recorded.append(path)

    def hook(self, run: RunDirectory, video: bool = True) -> EvaluationHook:
        record = self.record if video else None
        return EvaluationHook(run, self.evaluate, record, self.paused.append)


def test_an_evaluation_leaves_scores_curves_and_a_video(run, capsys):
    evaluations = Evaluations()
    hook = evaluations.hook(run)
    for env_steps in (256, 512):
        hook.evaluate(env_steps, there)
    hook.close()
    assert evaluations.count == 2
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
    hook.evaluate(256, there)
    hook.close()
    assert len(list(run.evaluations.iterdir())) == 1
    assert not run.videos.exists()


def test_the_time_of_an_evaluation_is_told_so_that_it_counts_as_no_training(run):
    evaluations = Evaluations(seconds=0.05)
    hook = evaluations.hook(run)
    started = time.monotonic()
    hook.evaluate(1000, there)
    passed = time.monotonic() - started
    hook.close()
    (path,) = run.evaluations.iterdir()
    assert json.loads(path.read_text()) == {"env_steps": 1000, **SCORES}
    (paused,) = evaluations.paused
    assert 0.05 <= paused <= passed


def test_an_evaluation_in_which_a_stop_is_asked_for_is_left_out(run, capsys):
    evaluations = Evaluations(seconds=0.05, evaluation_error=Stopped())
    hook = evaluations.hook(run)
    hook.evaluate(256, there)
    hook.close()
    assert evaluations.recorded == []
    assert [path for path in run.path.rglob("*.*") if "tfevents" not in path.name] == []
    assert not run.eval_events.exists()
    assert capsys.readouterr() == (
        "",
        ("The evaluation at 256 steps was cut short; it comes when the run goes on.\n"),
    )
    # Its time was no training either.
    (paused,) = evaluations.paused
    assert paused >= 0.05


def test_an_evaluation_is_done_only_with_its_video(run, capsys):
    evaluations = Evaluations(video_error=Stopped())
    hook = evaluations.hook(run)
    hook.evaluate(256, there)
    assert "comes when the run goes on" in capsys.readouterr().err
    assert not run.evaluation_json(256).exists()
    # The next process plays it again; curves have its points twice, the same ones.
    evaluations.video_error = None
    hook.evaluate(256, there)
    hook.close()
    assert run.evaluation_json(256).exists()
    assert [path.name for path in evaluations.recorded] == ["000000000256.mp4"]
    assert events(run.eval_events)["games/return_mean"] == [(256, 2.5), (256, 2.5)]
    assert len(evaluations.paused) == 2


def test_a_video_that_cannot_be_written_ends_no_training(run, capsys):
    evaluations = Evaluations(video_error=UserError("The video cannot be written: no room."))
    hook = evaluations.hook(run)
    hook.evaluate(256, there)
    assert capsys.readouterr().err.splitlines() == [
        "Evaluation at 256 steps: mean return 2.50 of 4 full games (nature protocol)",
        "There is no video of it: The video cannot be written: no room.",
    ]
    evaluations.video_error = None
    hook.evaluate(512, there)
    hook.close()
    assert len(list(run.evaluations.iterdir())) == 2
    assert [path.name for path in evaluations.recorded] == ["000000000512.mp4"]


def test_an_evaluation_that_cannot_be_played_is_not_hidden(run):
    # Scores are asked for: without them the run would look watched and not be.
    hook = Evaluations(evaluation_error=UserError("No such game.")).hook(run)
    with pytest.raises(UserError, match="No such game"):
        hook.evaluate(256, there)
    hook.close()


@pytest.mark.parametrize("asked", [1, 2])
def test_an_evaluation_writes_nothing_where_the_directory_went_meanwhile(run, asked):
    evaluations = Evaluations()
    hook = evaluations.hook(run)
    times = []

    def gone() -> None:
        times.append(evaluations.count)
        if len(times) == asked:
            raise FileNotFoundError("gone")

    with pytest.raises(FileNotFoundError, match="gone"):
        hook.evaluate(256, gone)
    hook.close()
    # Before games are played it is no use to ask.
    assert times == [1] * asked
    assert len(evaluations.recorded) == asked - 1
    assert not run.evaluations.exists()
    assert run.eval_events.exists() == (asked == 2)
