"""The smoke run, as the README gives it: `python train.py`, and everything that it leaves."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import gin
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dqn_breakout import config, machine
from dqn_breakout.runs import checkpoint_files
from dqn_breakout.runs.directory import RunDirectory
from tests.chaos.run_outcome import replay_rows, saved_steps
from tests.chaos.train_process import Ended, TrainProcess

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("clean_gin")]


def read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def logged(run: RunDirectory) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.metrics_jsonl.read_text().splitlines()]


def scalars(folder: Path) -> dict[str, list[int]]:
    """The steps at which each tag was written."""
    accumulator = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    accumulator.Reload()
    tags = accumulator.Tags()["tensors"]
    return {tag: [event.step for event in accumulator.Tensors(tag)] for tag in tags}


def saved_network(run: RunDirectory) -> dict[str, np.ndarray]:
    """The network's arrays in the newest checkpoint, in order."""
    newest = checkpoint_files.checkpoints(run.checkpoints)[0]
    arrays = dict(np.load(newest / "network.npz"))
    return {name: arrays[name] for name in sorted(arrays)}


@dataclasses.dataclass(frozen=True)
class Smoke:
    run: RunDirectory
    arguments: list[str]
    git_revision: str | None
    ended: Ended


@pytest.fixture(scope="module")
def smoke(tmp_path_factory) -> Smoke:
    run = RunDirectory(tmp_path_factory.mktemp("smoke") / "run")
    arguments = [
        "--gin_file=breakout.gin",
        "--gin_file=smoke.gin",
        f"--run_dir={run.path}",
        "--seed=7",
    ]
    # Asked for now: whoever works on the project may commit while the tests run.
    git_revision = machine.git_revision()
    ended = TrainProcess(arguments, run.path, from_scratch=True).wait()
    assert ended.code == 0, ended.err
    return Smoke(run, arguments, git_revision, ended)


def test_smoke_leaves_a_summary(smoke):
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
    assert summary["episodes"] > 0
    assert summary["average_return"] is not None
    digest = hashlib.sha256()
    for values in saved_network(smoke.run).values():
        digest.update(values.astype("<f4").tobytes())
    assert summary["weights_sha256"] == digest.hexdigest()


def test_smoke_trains_at_the_configured_ratio(smoke):
    summary = read_json(smoke.run.summary_json)
    # One step for every four after the fill of 600, in whole groups of four; those of the last turn
    # of 64 would come with the next.
    due = (summary["env_steps"] - 64 - 600) // 4
    assert summary["train_steps"] == due - due % 4


def test_smoke_records_where_it_came_from(smoke):
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
    config.parse(["breakout.gin", "smoke.gin"])
    given = config.bindings(gin.config_str())
    assert len(given) > 30
    assert {name: kept.get(name) for name in given} == given


def test_smoke_logs_every_number(smoke):
    found = logged(smoke.run)
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
    rows = logged(smoke.run)
    assert train["train/epsilon"] == [row["env_steps"] for row in rows]
    assert train["train/loss"] == [row["env_steps"] for row in rows if row["loss"] is not None]
    evaluated = scalars(smoke.run.eval_events)
    assert {"games/return_mean", "games/return_median"} <= set(evaluated)
    assert evaluated["games/return_mean"] == saved_steps(smoke.run)[:1]
    assert not set(train) & set(evaluated)


def test_smoke_leaves_checkpoints(smoke):
    found = checkpoint_files.checkpoints(smoke.run.checkpoints)
    assert len(found) == 2
    newest = checkpoint_files.open_checkpoint(found[0])
    summary = read_json(smoke.run.summary_json)
    assert newest.counters["env_steps"] == summary["env_steps"]
    assert newest.counters["train_steps"] == summary["train_steps"]
    shapes = [values.shape for values in saved_network(smoke.run).values()]
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
    rows, environments = replay_rows(smoke.run, found[0])["reward"].shape
    assert rows * environments >= summary["env_steps"]


def test_smoke_evaluates(smoke):
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
    assert err.startswith("Breakout, seed 7, 4 game(s) side by side\n")
    for said in (
        f"  run directory   {smoke.run.path}\n",
        "  replay buffer   4,000 transitions, about 0.03 GB when full; this machine has ",
        "  budget          1,000 environment steps (4,000 ALE frames)\n",
        "  finish          around ",
        "Evaluation at ",
        f"python eval.py --checkpoint_dir={smoke.run.path} --video=game.mp4\n",
    ):
        assert said in err
    assert err.count(" steps/s, ") == len(logged(smoke.run))
    assert "\r" not in err
    assert "\x1b" not in err
    assert "Traceback" not in err
    assert "Warning" not in err
