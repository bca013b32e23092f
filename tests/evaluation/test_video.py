from __future__ import annotations

import dataclasses
import resource
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
from PIL import Image

# `experiment` defines what the configurations below bind.
from dqn_breakout import experiment  # noqa: F401
from dqn_breakout.errors import UserError
from dqn_breakout.evaluation import evaluate, protocols, video
from dqn_breakout.evaluation.panel import Panel
from dqn_breakout.evaluation.protocols import EvaluationProtocol
from dqn_breakout.evaluation.saved_network import load_network
from dqn_breakout.evaluation.shown_game import Choice, ShownGame
from dqn_breakout.evaluation.window import watch_game
from tests.evaluation.conftest import CONFIG, WriteRun

NATURE = protocols.PROTOCOLS["nature"]


def limited(env_steps: int, epsilon: float = 0.5) -> EvaluationProtocol:
    return dataclasses.replace(NATURE, max_ale_frames=4 * env_steps, epsilon=epsilon)


@pytest.fixture
def network(write_run: WriteRun) -> Any:
    return load_network(write_run()).q_network


def test_the_game_shown_is_the_game_scored(network: Any):
    # Long enough for lost lives, and FIRE pressed after them.
    protocol = limited(400)
    scored = evaluate.evaluate_network(network, protocol, 1, seed=3, num_environments=1)
    game = ShownGame(network, protocol, 3, "rgb_array")
    steps = list(game)
    game.close()
    assert [game.score] == scored["returns"]
    assert [game.env_steps] == scored["lengths_env_steps"]
    assert len(steps) == game.env_steps + 1
    assert [step.env_steps for step in steps] == list(range(len(steps)))
    assert steps[-1].score == game.score
    assert steps[-1].action is None

    fire = game.action_names.index("FIRE")
    lives = [step.lives for step in steps]
    lost = [place for place in range(1, len(steps) - 1) if lives[place] < lives[place - 1]]
    assert lost
    for place in (0, *lost):
        assert steps[place].action == fire
    for step in steps[:-1]:
        is_best = step.action == int(step.action_values.argmax())
        if step.choice is Choice.SERVE:
            assert step.action == fire
        else:
            assert (step.choice is Choice.BEST) == is_best
    assert {step.choice for step in steps[:-1]} == set(Choice)


def test_mp4_at_the_games_own_pace(network: Any, tmp_path: Path):
    path = tmp_path / "game.mp4"
    made = video.record_game(network, path, limited(20), seed=0, caption="after 1,200 steps")
    assert made["env_steps"] == 20
    assert made["game_over"] is True
    meta = imageio.immeta(path, plugin="FFMPEG")
    frames = imageio.imread(path, plugin="FFMPEG")
    assert meta["fps"] == 15
    assert meta["codec"] == "h264"
    assert meta["pix_fmt"].startswith("yuv420p")
    # The start, a picture after each step, and the last one for two seconds more.
    assert len(frames) == 1 + 20 + 30
    assert made["seconds"] == len(frames) / 15
    assert frames[0].std() > 10
    assert not np.array_equal(frames[0], frames[20])
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["game.mp4"]


def test_gif_for_a_page(network: Any, tmp_path: Path):
    path = tmp_path / "game.gif"
    video.record_game(network, path, limited(30), seed=0)
    with Image.open(path) as picture:
        assert picture.format == "GIF"
        assert picture.info["loop"] == 0
        milliseconds = 0
        for place in range(picture.n_frames):  # type: ignore[attr-defined]
            picture.seek(place)
            milliseconds += picture.info["duration"]
    # 31 pictures and 30 more of the last, 15 a second.
    assert milliseconds == pytest.approx(61 / 15 * 1000, abs=10)


def test_a_recording_stops_at_its_limit(network: Any, tmp_path: Path):
    made = video.record_game(network, tmp_path / "g.mp4", limited(400), seed=0, max_seconds=1)
    assert made["game_over"] is False
    assert made["env_steps"] == 15
    assert made["seconds"] == (16 + 30) / 15


def test_the_same_seed_records_the_same_game(network: Any, tmp_path: Path):
    first, second = tmp_path / "1.gif", tmp_path / "2.gif"
    for path in (first, second):
        video.record_game(network, path, limited(20), seed=4)
    assert first.read_bytes() == second.read_bytes()


def test_an_interrupted_recording_leaves_what_was_there(
    network: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "game.mp4"
    path.write_bytes(b"an older game")
    drawn = Panel.draw
    count = 0

    def draw_and_fail(*arguments: Any) -> Image.Image:
        nonlocal count
        count += 1
        if count > 5:
            raise OSError(28, "No space left on device")
        return drawn(*arguments)

    monkeypatch.setattr(Panel, "draw", draw_and_fail)
    with pytest.raises(UserError, match=r"cannot be written.*No space left"):
        video.record_game(network, path, limited(20), seed=0)
    assert path.read_bytes() == b"an older game"
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["game.mp4"]


@pytest.mark.parametrize("ending", [".mp4", ".gif"])
def test_a_video_that_does_not_fit_is_not_there(network: Any, tmp_path: Path, ending: str):
    before = sorted(tmp_path.iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, limits[1]))
    try:
        with pytest.raises(UserError, match=r"cannot be written: .") as raised:
            video.record_game(network, tmp_path / f"game{ending}", limited(20), 3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(raised.value.message.splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before


def test_a_recording_that_is_stopped_leaves_no_video(network: Any, tmp_path: Path):
    steps = 0

    class Stopped(Exception):
        """Ends the game from outside."""

    def stop_at_five() -> None:
        nonlocal steps
        steps += 1
        if steps == 5:
            raise Stopped

    with pytest.raises(Stopped):
        video.record_game(
            network, tmp_path / "game.mp4", limited(20), seed=0, each_step=stop_at_five
        )
    assert steps == 5
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == []


def test_other_endings_are_refused(network: Any, tmp_path: Path):
    with pytest.raises(ValueError, match="ends in none of"):
        video.record_game(network, tmp_path / "game.avi", limited(5), seed=0)


def test_games_without_fire_and_lives_can_be_recorded(write_run: WriteRun, tmp_path: Path):
    arrays = {"000": np.zeros((84 * 84 * 4, 3), np.float32), "001": np.zeros(3, np.float32)}
    config = (
        CONFIG.replace("Breakout", "Freeway")
        .replace("conv_layers = ((4, 8, 8), (4, 4, 2))", "conv_layers = ()")
        .replace("dense_units = (8,)", "dense_units = ()")
    )
    network = load_network(write_run(config=config, arrays=arrays)).q_network
    made = video.record_game(network, tmp_path / "freeway.gif", limited(5), seed=0)
    assert made["env_steps"] == 5


def test_a_game_in_a_window(network: Any, monkeypatch: pytest.MonkeyPatch):
    # A window that nobody sees: SDL draws to nowhere.
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("SDL_AUDIODRIVER", "dummy")
    seen = watch_game(network, limited(10), seed=3)
    scored = evaluate.evaluate_network(network, limited(10), 1, seed=3, num_environments=1)
    assert [seen["score"]] == scored["returns"]
    assert [seen["env_steps"]] == scored["lengths_env_steps"] == [10]
