from __future__ import annotations

from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dqn_breakout import config
from dqn_breakout.errors import UserError
from dqn_breakout.evaluation.evaluate import evaluate_agent
from dqn_breakout.evaluation.game_picture import GamePicture
from dqn_breakout.evaluation.shown_game import Choice, shown_environment, shown_game, watch_game
from dqn_breakout.evaluation.video import record_game
from tests import file_size
from tests.evaluation.conftest import ENVIRONMENT, FakeAgent, rules

FIRE = 1


@pytest.fixture(autouse=True)
def parse_config() -> None:
    config.parse([], ENVIRONMENT.split("\n")[1:-1])


@pytest.fixture
def agent() -> FakeAgent:
    return FakeAgent([0.25, 0.5, 1.0, 0.75])


def test_the_game_shown_is_the_game_scored(agent: FakeAgent):
    # Long enough for lost lives, and FIRE pressed after them.
    protocol = rules(400)
    scored = evaluate_agent(agent, protocol, 1, seed=3, num_environments=1)
    with shown_environment(protocol, 3, "rgb_array") as environment:
        steps = list(shown_game(environment, agent, protocol, 3))
    last = steps[-1]
    assert [last.score] == scored["returns"]
    assert [last.env_steps] == scored["lengths_env_steps"]
    assert (last.action, last.choice, last.truncated) == (None, None, last.env_steps == 400)
    assert [step.env_steps for step in steps] == list(range(len(steps)))
    assert steps[0].screen.shape == (210, 160, 3)

    lives = [step.lives for step in steps[:-1]]
    lost = [place for place in range(1, len(lives)) if lives[place] < lives[place - 1]]
    assert lost
    for place in (0, *lost):
        assert steps[place].action == FIRE
    for step in steps[:-1]:
        if step.choice is Choice.SERVE:
            assert step.action == FIRE
        else:
            assert (step.choice is Choice.BEST) == (step.action == 2)
    assert {step.choice for step in steps[:-1]} == set(Choice)


class SeeingAgent(FakeAgent):
    """Values actions the higher, the brighter the frames are that it sees."""

    def action_values(self, observation: tf.Tensor) -> tf.Tensor:
        brightness = tf.reduce_mean(tf.cast(observation, tf.float32), axis=(1, 2, 3))
        return super().action_values(observation) + brightness[:, tf.newaxis]


def test_screen_and_action_values_are_those_before_the_action():
    agent, protocol = SeeingAgent([0.25, 0.5, 1.0, 0.75]), rules(40)
    with shown_environment(protocol, 3, "rgb_array") as environment:
        steps = list(shown_game(environment, agent, protocol, 3))
    with shown_environment(protocol, 3, "rgb_array") as environment:
        games = environment.pyenv
        time_step = games.reset()
        for step in steps:
            np.testing.assert_array_equal(step.screen, games.render())
            values = agent.action_values(time_step.observation)[0]
            np.testing.assert_allclose(step.action_values, values, rtol=1e-5)
            if step.action is not None:
                time_step = games.step(np.array([step.action], np.int32))
    assert len({step.screen.tobytes() for step in steps}) > 30
    assert len({float(step.action_values[0]) for step in steps}) > 20


def test_mp4_at_the_games_own_pace(agent: FakeAgent, tmp_path: Path):
    path = tmp_path / "game.mp4"
    last = record_game(agent, path, rules(20), seed=0, caption="after 1,200 steps")
    assert (last.env_steps, last.action) == (20, None)
    meta = imageio.immeta(path, plugin="FFMPEG")
    frames = imageio.imread(path, plugin="FFMPEG")
    assert (meta["fps"], meta["codec"]) == (15, "h264")
    assert meta["pix_fmt"].startswith("yuv420p")
    # The start, a picture after each step, and the last one for two seconds more.
    assert len(frames) == 1 + 20 + 30
    assert frames[0].std() > 10
    assert not np.array_equal(frames[0], frames[20])
    assert [file.name for file in tmp_path.iterdir()] == ["game.mp4"]


def test_a_path_is_taken_as_it_is_written(
    agent: FakeAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link.gif").symlink_to("elsewhere/game.gif")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", f"{tmp_path}/elsewhere")
    for path, written in {
        "a:b.gif": "a:b.gif",  # To ffmpeg, what is before a colon is a protocol.
        "-y %d.gif": "-y %d.gif",
        "~/home.gif": "elsewhere/home.gif",
        "link.gif": "elsewhere/game.gif",
    }.items():
        record_game(agent, path, rules(2), seed=0)
        assert (tmp_path / written).is_file()
    assert (tmp_path / "link.gif").is_symlink()


def test_gif_for_a_page(agent: FakeAgent, tmp_path: Path):
    path, again = tmp_path / "game.gif", tmp_path / "again.gif"
    record_game(agent, path, rules(30), seed=0)
    with Image.open(path) as picture:
        assert (picture.format, picture.size, picture.info["loop"]) == ("GIF", (582, 447), 0)
        milliseconds = 0
        for place in range(picture.n_frames):  # type: ignore[attr-defined]
            picture.seek(place)
            milliseconds += picture.info["duration"]
    # 31 pictures and 30 more of the last, 15 a second.
    assert milliseconds == pytest.approx(61 / 15 * 1000, abs=10)
    record_game(agent, again, rules(30), seed=0)
    assert again.read_bytes() == path.read_bytes()


def test_a_recording_stops_at_its_limit(agent: FakeAgent, tmp_path: Path):
    last = record_game(agent, tmp_path / "g.mp4", rules(400), seed=0, max_seconds=1)
    assert last.env_steps == 15
    assert last.action is not None
    assert len(imageio.imread(tmp_path / "g.mp4", plugin="FFMPEG")) == 16 + 30


def test_an_interrupted_recording_leaves_what_was_there(
    agent: FakeAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "game.mp4"
    path.write_bytes(b"an older game")
    drawn, count = GamePicture.draw, 0

    def draw_and_fail(*arguments: Any) -> Image.Image:
        nonlocal count
        count += 1
        if count > 5:
            raise OSError(28, "No space left on device")
        return drawn(*arguments)

    monkeypatch.setattr(GamePicture, "draw", draw_and_fail)
    with pytest.raises(UserError, match=r"cannot be written.*No space left"):
        record_game(agent, path, rules(20), seed=0)
    assert path.read_bytes() == b"an older game"
    assert [file.name for file in tmp_path.iterdir()] == ["game.mp4"]


@pytest.mark.parametrize("ending", [".mp4", ".gif"])
def test_a_video_that_does_not_fit_is_not_there(agent: FakeAgent, tmp_path: Path, ending: str):
    said = r"cannot be written: ."
    with file_size.at_most(2_000), pytest.raises(UserError, match=said) as raised:
        record_game(agent, tmp_path / f"game{ending}", rules(20), 3)
    assert len(raised.value.message.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_recording_that_is_stopped_leaves_no_video(agent: FakeAgent, tmp_path: Path):
    class Stopped(Exception):
        """Ends the game from outside."""

    steps = iter(range(4))

    def stop_at_five() -> None:
        if next(steps, None) is None:
            raise Stopped

    with pytest.raises(Stopped):
        record_game(agent, tmp_path / "game.mp4", rules(20), seed=0, each_step=stop_at_five)
    assert list(tmp_path.iterdir()) == []


def test_games_without_fire_and_lives_can_be_recorded(tmp_path: Path):
    freeway = "create_environment.game = 'Freeway'"
    config.parse([], [*ENVIRONMENT.split("\n")[1:-1], freeway])
    last = record_game(FakeAgent([0.0, 1.0, 0.5]), tmp_path / "freeway.gif", rules(5), seed=0)
    assert (last.env_steps, last.lives) == (5, 0)


@pytest.mark.parametrize("kind", ["@vector_games", "@python_games"])
def test_games_without_noop_can_be_recorded(tmp_path: Path, kind: str):
    game = ["create_environment.game = 'Backgammon'", f"create_environment.games = {kind}"]
    config.parse([], [*ENVIRONMENT.split("\n")[1:-1], *game])
    path = tmp_path / "backgammon.gif"
    assert record_game(FakeAgent([0.0, 1.0, 0.5]), path, rules(5), seed=0).env_steps == 5


def test_a_game_in_a_window(agent: FakeAgent, monkeypatch: pytest.MonkeyPatch):
    # A window that nobody sees: SDL draws to nowhere.
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("SDL_AUDIODRIVER", "dummy")
    seen = watch_game(agent, rules(10), seed=3)
    scored = evaluate_agent(agent, rules(10), 1, seed=3, num_environments=1)
    assert [seen.score] == scored["returns"]
    assert [seen.env_steps] == scored["lengths_env_steps"] == [10]
