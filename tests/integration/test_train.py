"""Tests of `python train.py` from end to end: real games, real processes, real signals."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gin
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dqn_breakout import config, machine
from dqn_breakout.errors import UserError
from dqn_breakout.evaluation import evaluate
from dqn_breakout.runs import checkpoint_files
from dqn_breakout.runs.directory import RunDirectory

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("clean_gin")]

# A budget that is never reached: such a run ends by a signal.
ENDLESS = "train.total_env_steps = 1000000"


def rows(run: RunDirectory) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.metrics_jsonl.read_text().splitlines()]


def last_logged_env_steps(run: RunDirectory) -> int:
    if not run.metrics_jsonl.exists():
        return 0
    # The last line may be half-written at this moment.
    lines = run.metrics_jsonl.read_text().split("\n")[:-1]
    return int(json.loads(lines[-1])["env_steps"]) if lines else 0


def last_saved_env_steps(run: RunDirectory) -> int:
    found = checkpoint_files.checkpoints(run.checkpoints)
    return int(found[0].name) if found else 0


def scalars(folder: Path) -> dict[str, list[int]]:
    """The steps at which each tag was written."""
    accumulator = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    accumulator.Reload()
    tags = accumulator.Tags()["tensors"]
    return {tag: [event.step for event in accumulator.Tensors(tag)] for tag in tags}


def checkpoint_sha256(run: RunDirectory) -> str:
    """SHA-256 over the network's arrays of the newest checkpoint, in order."""
    arrays = checkpoint_files.open_checkpoint(checkpoint_files.existing(run.checkpoints)[0]).arrays(
        "network"
    )
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(arrays[name].astype("<f4").tobytes())
    return digest.hexdigest()


# --- The smoke run, as the README gives it --------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Smoke:
    run: RunDirectory
    arguments: list[str]
    git_revision: str | None
    ended: Any


@pytest.fixture(scope="module")
def smoke(tmp_path_factory, start) -> Smoke:
    run = RunDirectory(tmp_path_factory.mktemp("smoke") / "run")
    arguments = [
        "--gin_file=breakout.gin",
        "--gin_file=smoke.gin",
        f"--run_dir={run.path}",
        "--seed=7",
    ]
    # Asked for now: whoever works on the project may commit while the tests run.
    git_revision = machine.git_revision()
    ended = start(*arguments).wait()
    assert ended.code == 0, ended.err
    return Smoke(run, arguments, git_revision, ended)


def test_smoke_leaves_a_summary(smoke, read_json):
    summary = read_json(smoke.run.summary_json)
    assert {
        "env_steps",
        "train_steps",
        "episodes",
        "env_steps_per_second",
        "average_return",
        "weights_sha256",
    } <= set(summary)
    assert 1000 <= summary["env_steps"] < 1000 + 2 * 64
    assert summary["train_steps"] >= 50
    assert summary["env_steps_per_second"] > 0
    assert summary["weights_sha256"] == checkpoint_sha256(smoke.run)


def test_smoke_trains_at_the_configured_ratio(smoke, read_json):
    summary = read_json(smoke.run.summary_json)
    # One step for every four after the fill of 600, in whole groups of four; those of the last turn
    # of 64 would come with the next.
    due = (summary["env_steps"] - 64 - 600) // 4
    assert summary["train_steps"] == due - due % 4


def test_smoke_records_where_it_came_from(smoke, read_json):
    record = read_json(smoke.run.run_json)
    assert (record["seed"], record["game"]) == (7, "Breakout")
    (only,) = record["starts"]
    assert only["env_steps"] == 0
    assert only["command"] == " ".join(["python", "train.py", *smoke.arguments])
    assert only["versions"] == machine.versions()
    assert only["git_revision"] == smoke.git_revision
    assert only["machine"] == machine.description()


def test_smoke_keeps_its_operative_config(smoke):
    kept = config.bindings(smoke.run.config_gin.read_text())
    from dqn_breakout import experiment  # noqa: F401  (registers what gin configures)

    config.parse(["breakout.gin", "smoke.gin"])
    given = config.bindings(gin.config_str())
    assert len(given) > 30
    assert {name: kept.get(name) for name in given} == given


def test_smoke_logs_every_number(smoke):
    found = rows(smoke.run)
    steps = [row["env_steps"] for row in found]
    assert steps == sorted(set(steps))
    assert len(found) >= 4
    assert set(found[0]) == {
        "env_steps",
        "train_steps",
        "episodes",
        "average_return",
        "average_length",
        "loss",
        "mean_q",
        "gradient_norm",
        "epsilon",
        "env_steps_per_second",
        "replay_transitions",
        "wall_seconds",
        "checkpoint_seconds",
    }
    last = found[-1]
    assert last["loss"] is not None
    assert last["gradient_norm"] > 0
    assert last["epsilon"] == pytest.approx(0.01)
    assert last["replay_transitions"] >= last["env_steps"]


def test_smoke_shows_training_and_evaluation_apart_in_tensorboard(smoke):
    train = scalars(smoke.run.train_events)
    assert set(train) >= {
        "games/count",
        "train/loss",
        "train/mean_q",
        "train/gradient_norm",
        "train/epsilon",
        "train/train_steps",
        "speed/env_steps_per_second",
        "replay/transitions",
    }
    logged = [row["env_steps"] for row in rows(smoke.run)]
    assert train["train/epsilon"] == logged
    assert train["train/loss"] == [
        row["env_steps"] for row in rows(smoke.run) if row["loss"] is not None
    ]
    evaluated = scalars(smoke.run.eval_events)
    assert {"games/return_mean", "games/return_median"} <= set(evaluated)
    assert evaluated["games/return_mean"] == [last_saved_env_steps(smoke.run)]
    assert not set(train) & set(evaluated)


def test_smoke_leaves_checkpoints(smoke):
    found = checkpoint_files.checkpoints(smoke.run.checkpoints)
    assert len(found) == 2
    newest = checkpoint_files.open_checkpoint(found[0])
    summary = json.loads(smoke.run.summary_json.read_text())
    assert newest.counters["env_steps"] == summary["env_steps"]
    assert newest.counters["train_steps"] == summary["train_steps"]
    network = newest.arrays("network")
    shapes = [tuple(network[name].shape) for name in sorted(network)]
    # Kernel and bias of each layer of the network of 2015; Breakout has four actions.
    assert shapes == [
        (8, 8, 4, 32),
        (32,),
        (4, 4, 32, 64),
        (64,),
        (3, 3, 64, 64),
        (64,),
        (3136, 512),
        (512,),
        (512, 4),
        (4,),
    ]
    rewards = [newest.segment(smoke.run.replay, name)["reward"].shape for name in newest.segments]
    assert sum(count * environments for count, environments in rewards) >= summary["env_steps"]


def test_smoke_evaluates(smoke, read_json):
    (path,) = smoke.run.evaluations.iterdir()
    scores = read_json(path)
    assert path.name == f"{scores['env_steps']:012d}.json"
    assert scores["games"] == len(scores["returns"]) == 2
    assert scores["mean"] == np.mean(scores["returns"])
    assert scores["protocol"]["name"] == "training"
    assert scores["protocol"]["full_games"] is True
    assert scores["protocol"]["clipped_rewards"] is False
    # The evaluation came with the last turn: it played with the weights that were saved.
    assert scores["weights_sha256"] == read_json(smoke.run.summary_json)["weights_sha256"]


def test_smoke_records_a_video(smoke):
    imageio = pytest.importorskip("imageio.v3")
    (path,) = smoke.run.videos.iterdir()
    assert path.suffix == ".mp4"
    (evaluation,) = smoke.run.evaluations.iterdir()
    assert path.stem == evaluation.stem
    frames = imageio.imread(path)
    assert frames.shape[0] > 10
    assert frames.shape[-1] == 3
    # The picture moves.
    assert (frames[0] != frames[-1]).any()


def test_smoke_tells_its_plan_and_its_progress_in_plain_lines(smoke):
    assert smoke.ended.out == ""
    err = smoke.ended.err
    assert err.startswith("DQN on Breakout, seed 7, 16 game(s) side by side\n")
    for said in (
        f"  run directory   {smoke.run.path}\n",
        "  replay buffer   4,000 transitions, about 0.03 GB when full; this machine has ",
        "  budget          1,000 environment steps (4,000 ALE frames)\n",
        "  finish          around ",
        "Evaluation at ",
        f"  python eval.py --checkpoint_dir={smoke.run.path} --video=game.mp4\n",
    ):
        assert said in err
    assert err.count(" steps/s, ") == len(rows(smoke.run))
    assert "\r" not in err
    assert "\x1b" not in err
    assert "Traceback" not in err
    assert "Warning" not in err


# --- Stopped in every way, and the same in the end ------------------------------------------------


@dataclasses.dataclass
class Interrupted:
    """A run that was stopped by its budget and by signals, and two that were left alone."""

    run: RunDirectory
    started_at: list[int]
    stopped_at: dict[str, int]
    ended: dict[str, Any]
    uninterrupted: list[RunDirectory]


def wait_until(started: Any, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert started.process.poll() is None, started.wait().err
        assert time.monotonic() < deadline
        time.sleep(0.02)


def stop(started: Any, run: RunDirectory, number: signal.Signals) -> Any:
    """Sends a signal in the middle of the work: there are numbers that no checkpoint holds yet."""
    wait_until(started, lambda: last_logged_env_steps(run) > last_saved_env_steps(run))
    started.process.send_signal(number)
    return started.wait()


def kill(started: Any, run: RunDirectory) -> Any:
    """Kills the process at a moment when work since the last checkpoint is lost with it."""
    first = last_saved_env_steps(run)
    while True:
        wait_until(
            started,
            lambda: last_logged_env_steps(run) > last_saved_env_steps(run) > first,
        )
        started.process.send_signal(signal.SIGSTOP)
        time.sleep(0.1)
        if last_logged_env_steps(run) > last_saved_env_steps(run):
            started.process.kill()
            return started.wait()
        started.process.send_signal(signal.SIGCONT)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory, start, tiny_arguments) -> Interrupted:
    folder = tmp_path_factory.mktemp("interrupted")
    run = RunDirectory(folder / "run")
    ended = {}
    stopped_at = {}
    started_at = []

    def begin(*bindings: str) -> Any:
        started_at.append(last_saved_env_steps(run))
        return start(*tiny_arguments(run.path, *bindings))

    def end(name: str, how: Any) -> None:
        ended[name] = how
        stopped_at[name] = last_saved_env_steps(run)

    end("small budget", begin("train.total_env_steps = 200").wait())
    end("SIGTERM", stop(begin(ENDLESS), run, signal.SIGTERM))
    end("SIGINT", stop(begin(ENDLESS), run, signal.SIGINT))
    end("SIGKILL", kill(begin(ENDLESS), run))
    lost_at = last_logged_env_steps(run)
    assert lost_at > stopped_at["SIGKILL"], "nothing was lost: the test proves nothing"
    budget = f"train.total_env_steps = {lost_at + 200}"
    end("full budget", begin(budget).wait())

    uninterrupted = [RunDirectory(folder / name) for name in ("first", "second")]
    both = [start(*tiny_arguments(each.path, budget)) for each in uninterrupted]
    for each in both:
        how = each.wait()
        assert how.code == 0, how.err
    return Interrupted(run, started_at, stopped_at, ended, uninterrupted)


SAME = (
    "env_steps",
    "train_steps",
    "episodes",
    "average_return",
    "average_length_env_steps",
    "epsilon",
    "weights_sha256",
)


def test_the_same_seed_twice_gives_the_same_weights_and_counts(interrupted, read_json):
    first, second = (read_json(run.summary_json) for run in interrupted.uninterrupted)
    assert {name: second[name] for name in SAME} == {name: first[name] for name in SAME}
    first_rows, second_rows = (rows(run) for run in interrupted.uninterrupted)
    clocks = {"env_steps_per_second", "wall_seconds", "checkpoint_seconds"}
    assert [
        {name: value for name, value in row.items() if name not in clocks} for row in second_rows
    ] == [{name: value for name, value in row.items() if name not in clocks} for row in first_rows]


def test_a_stopped_run_ends_as_one_that_was_left_alone(interrupted, read_json):
    found = read_json(interrupted.run.summary_json)
    expected = read_json(interrupted.uninterrupted[0].summary_json)
    assert {name: found[name] for name in SAME} == {name: expected[name] for name in SAME}
    assert found["episodes"] > 10
    assert found["train_steps"] > 50
    assert found["weights_sha256"] == checkpoint_sha256(interrupted.run)


def test_a_stopped_run_ends_with_the_same_checkpoint(interrupted):
    runs = (interrupted.run, interrupted.uninterrupted[0])
    found, expected = (
        checkpoint_files.open_checkpoint(checkpoint_files.existing(run.checkpoints)[0])
        for run in runs
    )
    for group in ("network", "learner", "metrics", "collection", "environment"):
        arrays = found.arrays(group)
        assert arrays.keys() == expected.arrays(group).keys()
        for name, values in expected.arrays(group).items():
            np.testing.assert_array_equal(arrays[name], values, err_msg=f"{group}/{name}")


def replayed(run: RunDirectory, field: str, count: int) -> np.ndarray:
    newest = checkpoint_files.open_checkpoint(checkpoint_files.existing(run.checkpoints)[0])
    segments = [newest.segment(run.replay, name)[field] for name in newest.segments]
    return np.concatenate(segments)[-count:]


@pytest.mark.parametrize("field", ["frame", "action", "reward", "discount", "step_type"])
def test_a_stopped_run_ends_with_the_same_replay_buffer(interrupted, field):
    # 240 transitions of two environments.
    found = replayed(interrupted.run, field, 120)
    expected = replayed(interrupted.uninterrupted[0], field, 120)
    assert len(found) == 120
    np.testing.assert_array_equal(found, expected)


def test_a_stopped_run_evaluates_as_one_that_was_left_alone(interrupted, read_json):
    def scores(run: RunDirectory) -> dict[str, Any]:
        return {path.name: read_json(path)["returns"] for path in run.evaluations.iterdir()}

    assert scores(interrupted.run) == scores(interrupted.uninterrupted[0])


@pytest.mark.parametrize(
    ("how", "code"),
    [("small budget", 0), ("SIGTERM", 143), ("SIGINT", 130), ("SIGKILL", -9), ("full budget", 0)],
)
def test_the_exit_code_tells_how_a_run_stopped(interrupted, how, code):
    assert interrupted.ended[how].code == code
    assert "Traceback" not in interrupted.ended[how].err


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_a_signal_is_answered_at_once(interrupted, number):
    notice = "\nStopping after this turn; all will be saved. Ctrl-C once more leaves at once.\n"
    assert interrupted.ended[number].err.count(notice) == 1


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_a_signal_saves_and_says_so(interrupted, number):
    stopped_at = interrupted.stopped_at[number]
    before = {"SIGTERM": "small budget", "SIGINT": "SIGTERM"}[number]
    assert stopped_at > interrupted.stopped_at[before]
    assert interrupted.ended[number].err.endswith(
        f"Stopped by {number} at {stopped_at:,} environment steps; everything is saved. "
        "The same command goes on from here.\n"
    )


def test_every_start_went_on_from_the_last_checkpoint(interrupted, read_json):
    starts = read_json(interrupted.run.run_json)["starts"]
    assert [each["env_steps"] for each in starts] == interrupted.started_at
    assert interrupted.started_at[0] == 0
    assert interrupted.started_at[1:] == list(interrupted.stopped_at.values())[:-1]
    done = [f", of which {steps:,} are done\n" for steps in interrupted.started_at]
    texts = [how.err for how in interrupted.ended.values()]
    assert [said in text for said, text in zip(done, texts, strict=True)] == [False] + [True] * 4


def test_no_number_is_logged_twice(interrupted):
    steps = [row["env_steps"] for row in rows(interrupted.run)]
    assert steps == sorted(set(steps))
    assert steps[-1] == last_saved_env_steps(interrupted.run)


def test_the_replay_buffer_on_disk_does_not_grow_with_the_run(interrupted):
    for run in (interrupted.run, interrupted.uninterrupted[0]):
        kept = checkpoint_files.checkpoints(run.checkpoints)
        needed = {name for path in kept for name in checkpoint_files.open_checkpoint(path).segments}
        assert {path.name for path in run.replay.iterdir() if path.name[0] != "."} == needed
        assert "rows-000000000000" not in "".join(needed)


def test_a_finished_run_started_again_does_nothing(interrupted, run_here, tiny_arguments, snapshot):
    run = interrupted.uninterrupted[1]
    budget = last_saved_env_steps(run)
    before = snapshot(run.path)
    ended = run_here(*tiny_arguments(run.path, f"train.total_env_steps = {budget}"))
    assert ended.code == 0
    assert f"Done: {budget:,} environment steps." in ended.err
    after = snapshot(run.path)
    assert after.keys() == before.keys()
    assert [name for name in after if before[name] != after[name]] == []


# --- Evaluation and what must not be lost ---------------------------------------------------------

EVALUATED_AT_THE_END = ("train.total_env_steps = 150", "train.evaluation_period_env_steps = 150")


def test_a_checkpoint_is_saved_before_the_evaluation(
    tmp_path, run_here, tiny_arguments, monkeypatch
):
    run = RunDirectory(tmp_path / "run")

    def evaluate_network(*arguments: Any, **more: Any) -> None:
        raise UserError("This evaluation fails.")

    monkeypatch.setattr(evaluate, "evaluate_network", evaluate_network)
    ended = run_here(*tiny_arguments(run.path, *EVALUATED_AT_THE_END))
    assert ended.code == 2
    assert ended.err.endswith("This evaluation fails.\n")
    assert last_saved_env_steps(run) == 160
    assert json.loads(run.summary_json.read_text())["env_steps"] == 160


def test_an_evaluation_that_a_signal_cuts_short_comes_when_the_run_goes_on(
    interrupted, tmp_path, run_here, tiny_arguments, read_json, monkeypatch
):
    run = RunDirectory(tmp_path / "run")
    play: Any = evaluate.play_games
    counted = 0

    def stopped_in_the_middle(*arguments: Any) -> Any:
        *rest, each_step = arguments

        def after_step() -> None:
            nonlocal counted
            counted += 1
            if counted == 3:
                signal.raise_signal(signal.SIGHUP)
            each_step()

        return play(*rest, after_step)

    monkeypatch.setattr(evaluate, "play_games", stopped_in_the_middle)
    ended = run_here(*tiny_arguments(run.path, ENDLESS, "train.checkpoint_period_env_steps = 5000"))
    assert counted == 3
    assert ended.code == 129
    assert (
        "The evaluation at 304 steps was cut short; it comes when the run goes on.\n" in ended.err
    )
    assert ended.err.endswith(
        "Stopped by SIGHUP at 304 environment steps; everything is saved. "
        "The same command goes on from here.\n"
    )
    assert last_saved_env_steps(run) == 304
    assert not run.evaluations.exists()

    # Nothing of it is felt in what comes after.
    monkeypatch.undo()
    whole = interrupted.uninterrupted[0]
    budget = f"train.total_env_steps = {last_saved_env_steps(whole)}"
    assert run_here(*tiny_arguments(run.path, budget)).code == 0
    assert run.evaluation_json(304).exists()
    found, expected = read_json(run.summary_json), read_json(whole.summary_json)
    assert {name: found[name] for name in SAME} == {name: expected[name] for name in SAME}
