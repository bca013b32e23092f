"""Both kinds of games against each other, and against the emulator itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import ale_py
import cv2
import numpy as np
import psutil
import pytest

from dqn_breakout import machine
from dqn_breakout.environments.atari_games import rom_id
from dqn_breakout.environments.games import Games, GamesStep
from dqn_breakout.environments.python_games import PythonGames
from dqn_breakout.environments.vector_games import VectorGames, vector_games
from tests.recorded_play import same

both = pytest.mark.parametrize("kind", [PythonGames, VectorGames])
MakeGames = Callable[..., Games]


@pytest.fixture
def make() -> Iterator[MakeGames]:
    """Builds games that are closed after the test."""
    plain = {"noop_max": 0, "sticky_action_probability": 0.0, "max_episode_steps": 27_000}
    with ExitStack() as stack:

        def build(kind: Any, game: str, batch_size: int = 1, **changes: Any) -> Games:
            arguments = {"frame_skip": 4, **plain, **changes}
            games: Games = kind(game=game, batch_size=batch_size, **arguments)
            stack.callback(games.close)
            return games

        yield build


def start(games: Games, *seeds: int) -> GamesStep:
    return games.reset(np.arange(games.batch_size), np.array(seeds or [1] * games.batch_size))


def ended(step: GamesStep) -> np.ndarray:
    return step.terminated | step.truncated


@pytest.mark.parametrize("game", ["Backgammon", "VideoCheckers"])
def test_games_without_noop_open_without_noops(make: MakeGames, game: str) -> None:
    shown = []
    for kind, noop_max in ((PythonGames, 30), (VectorGames, 30), (PythonGames, 0)):
        games = make(kind, game, 2, noop_max=noop_max)
        assert "NOOP" not in games.spec.action_names
        assert games.spec.rules["noop_max"] == 0
        shown.append([start(games, 1, 2).observations, games.step(np.ones(2, int)).observations])
    np.testing.assert_array_equal(shown[0], shown[2])
    np.testing.assert_array_equal(shown[1], shown[2])


@pytest.mark.parametrize(
    ("game", "count", "max_episode_steps", "steps", "ends"),
    [
        pytest.param("Breakout", 3, 27_000, 400, "terminated", id="Breakout played to its end"),
        pytest.param("Breakout", 2, 100, 210, "truncated", id="Breakout cut off"),
        pytest.param("Pong", 1, 27_000, 1_000, "terminated", id="Pong played to its end"),
        pytest.param("Pong", 2, 80, 170, "truncated", id="Pong cut off"),
    ],
)
def test_vector_games_equal_python_games_step_by_step(
    make: MakeGames, game: str, count: int, max_episode_steps: int, steps: int, ends: str
) -> None:
    """Everything but the frame at a truncation, which the next test holds."""
    python = make(PythonGames, game, count, max_episode_steps=max_episode_steps)
    vector = make(VectorGames, game, count, max_episode_steps=max_episode_steps)
    assert vector.spec == python.spec
    assert vector.observation_spec == python.observation_spec
    seeds = range(1, count + 1)
    ours, theirs = start(python, *seeds), start(vector, *seeds)
    actions_there_are = len(python.spec.action_names)
    rng = np.random.default_rng(3)
    seen, rewards = {"terminated": 0, "truncated": 0}, 0
    for number in range(steps):
        for name in ("rewards", "terminated", "truncated", "lives"):
            one, other = getattr(ours, name), getattr(theirs, name)
            np.testing.assert_array_equal(one, other, f"{name} at step {number}")
        shown = ~ours.truncated
        np.testing.assert_array_equal(
            ours.observations[shown], theirs.observations[shown], f"frames at step {number}"
        )
        assert not (theirs.terminated & theirs.truncated).any()
        seen["terminated"] += int(ours.terminated.sum())
        seen["truncated"] += int(ours.truncated.sum())
        rewards += int(np.count_nonzero(ours.rewards))
        # Pong is soon over for a player who does nothing.
        idle = game == "Pong" and number > 200
        actions = np.zeros(count, int) if idle else rng.integers(0, actions_there_are, count)
        ours, theirs = python.step(actions), vector.step(actions)
    assert seen[ends] >= count
    assert rewards > 0


@both
def test_the_frame_at_a_truncation_is_that_of_a_game_that_goes_on(
    make: MakeGames, kind: type[Games]
) -> None:
    cut, uncut = make(kind, "Pong", max_episode_steps=50), make(kind, "Pong")
    here, there = start(cut), start(uncut)
    while not here.truncated[0]:
        before = there
        here, there = cut.step(np.array([2])), uncut.step(np.array([2]))
    assert not there.truncated[0]
    assert not np.array_equal(there.observations, before.observations)  # The ball moves.
    np.testing.assert_array_equal(here.observations, there.observations)


@both
def test_a_game_that_ends_at_the_step_limit_is_terminated_not_truncated(
    make: MakeGames, kind: type[Games]
) -> None:
    def play(max_episode_steps: int) -> tuple[int, GamesStep]:
        games = make(kind, "Breakout", max_episode_steps=max_episode_steps)
        step, steps = start(games), 0
        actions = np.random.default_rng(0).integers(0, 4, (27_000, 1))
        while not ended(step).any():
            step = games.step(actions[steps])
            steps += 1
        return steps, step

    length, end = play(27_000)
    assert end.terminated[0]
    steps, at_limit = play(length)
    assert (steps, at_limit.terminated[0], at_limit.truncated[0]) == (length, True, False)
    steps, below_limit = play(length - 1)
    assert (steps, below_limit.terminated[0], below_limit.truncated[0]) == (length - 1, False, True)


@both
def test_opening_no_ops_do_not_count_towards_the_step_limit(
    make: MakeGames, kind: type[Games]
) -> None:
    games = make(kind, "Pong", 2, noop_max=30, max_episode_steps=5)
    step = start(games, 1, 2)
    truncated = []
    for _ in range(12):
        step = games.step(np.zeros(2, np.int32))
        truncated.append(step.truncated.tolist())
    assert [place for place, cut in enumerate(truncated, 1) if all(cut)] == [5, 11]
    assert sum(map(any, truncated)) == 2


@both
@pytest.mark.parametrize(("game", "frame_skip"), [("Breakout", 4), ("Pong", 2), ("Freeway", 1)])
def test_a_step_is_frame_skip_ale_frames_and_shows_the_maximum_of_the_last_two(
    make: MakeGames, kind: type[Games], game: str, frame_skip: int
) -> None:
    """An emulator driven by hand is the oracle."""
    ale = ale_py.ALEInterface()
    ale.setFloat("repeat_action_probability", 0.0)
    rom = ale_py.roms.get_rom_path(rom_id(game))
    assert rom is not None
    ale.loadROM(rom)
    legal = ale.getMinimalActionSet()

    def resized(screen: np.ndarray) -> np.ndarray:
        return cv2.resize(screen, (84, 84), interpolation=cv2.INTER_AREA)

    games = make(kind, game, frame_skip=frame_skip)
    assert games.spec.action_names == tuple(action.name for action in legal)
    step = start(games)
    np.testing.assert_array_equal(step.observations[0], resized(ale.getScreenGrayscale()))
    for action in np.random.default_rng(1).integers(0, len(legal), 60):
        screens, reward = [], 0.0
        for _ in range(frame_skip):
            reward += ale.act(legal[action])
            screens.append(ale.getScreenGrayscale())
        step = games.step(np.array([action]))
        expected = resized(np.maximum.reduce(screens[-2:]))
        np.testing.assert_array_equal(step.observations[0], expected)
        assert step.rewards[0] == reward
        assert step.lives[0] == ale.lives()


@both
def test_rewards_are_the_score_unclipped(make: MakeGames, kind: type[Games]) -> None:
    """Breakout's and Pong's points are ones here; Skiing takes off hundredths of seconds."""
    games = make(kind, "Skiing")
    start(games)
    assert [games.step(np.array([0])).rewards.tolist() for _ in range(3)] == [[-7], [-6], [-7]]


@both
def test_at_most_noop_max_ale_frames_of_no_op_open_a_game(
    make: MakeGames, kind: type[Games]
) -> None:
    # On Freeway's screen traffic moves at every ALE frame: each opening frame tells its number.
    still = make(PythonGames, "Freeway", frame_skip=1)
    opening = [start(still).observations.tobytes()]
    opening += [still.step(np.array([0])).observations.tobytes() for _ in range(40)]
    assert len(set(opening)) == 41

    def no_ops(noop_max: int, openings: int) -> set[int]:
        games = make(kind, "Freeway", noop_max=noop_max, max_episode_steps=1)
        step, found = start(games), set()
        for _ in range(openings):
            found.add(opening.index(step.observations.tobytes()))
            games.step(np.array([0]))
            step = games.step(np.array([0]))
        return found

    assert no_ops(0, 3) == {0}
    assert {1, 2, 3} <= no_ops(3, 24) <= {0, 1, 2, 3}  # The largest number is reached.
    many = no_ops(30, 24)
    assert len(many) > 8
    assert 20 < max(many) <= 30


@both
def test_a_seed_and_the_actions_decide_all_that_follows(make: MakeGames, kind: type[Games]) -> None:
    """And what was given once does not change afterwards."""
    changes = {"noop_max": 30, "sticky_action_probability": 0.25, "max_episode_steps": 30}
    games = make(kind, "Breakout", 2, **changes)
    actions = np.random.default_rng(5).integers(0, 4, (70, 2))

    def play(*seeds: int) -> np.ndarray:
        steps = [start(games, *seeds)]
        copies = [GamesStep(*map(np.array, steps[0]))]
        for each in actions:
            steps.append(games.step(each))
            copies.append(GamesStep(*map(np.array, steps[-1])))
        assert same(steps, copies)
        return np.stack([step.observations for step in steps])

    once = play(11, 12)
    assert np.array_equal(play(11, 12), once)
    other = play(13, 12)
    assert not np.array_equal(other[:, 0], once[:, 0])
    assert np.array_equal(other[:, 1], once[:, 1])


@both
def test_a_restart_of_one_game_leaves_the_others_as_they_are(
    make: MakeGames, kind: type[Games]
) -> None:
    games, untouched = (make(kind, "Breakout", 3, noop_max=10) for _ in range(2))
    one, other = start(games, 1, 2, 3), start(untouched, 1, 2, 3)
    actions = np.random.default_rng(2).integers(0, 4, (40, 3))
    for each in actions[:20]:
        one, other = games.step(each), untouched.step(each)
    one = games.reset(np.array([1]), np.array([9]))
    for name, rows, expected in zip(GamesStep._fields, one, other, strict=True):
        if name != "rewards":
            np.testing.assert_array_equal(rows[[0, 2]], expected[[0, 2]])
    fresh = start(make(kind, "Breakout", noop_max=10), 9)
    np.testing.assert_array_equal(one.observations[1], fresh.observations[0])
    assert one.lives.tolist() == [other.lives[0], 5, other.lives[2]]
    for each in actions[20:]:
        one, other = games.step(each), untouched.step(each)
        np.testing.assert_array_equal(one.observations[[0, 2]], other.observations[[0, 2]])


@both
@pytest.mark.parametrize("sticky", [0.0, 1.0])
def test_sticky_actions_repeat_the_action_before(
    make: MakeGames, kind: type[Games], sticky: float
) -> None:
    """With probability 1 the emulator never leaves its first action, no-op."""
    games = make(kind, "Pong", sticky_action_probability=sticky)
    idle = make(kind, "Pong")
    start(games)
    start(idle)
    for _ in range(40):
        moved, still = games.step(np.array([2])), idle.step(np.array([0]))
    assert np.array_equal(moved.observations, still.observations) == (sticky == 1.0)


def test_vector_games_have_no_screen_and_are_shown_by_python_games(make: MakeGames) -> None:
    assert isinstance(make(vector_games, "Pong"), VectorGames)
    assert isinstance(make(vector_games, "Pong", render_mode="rgb_array"), PythonGames)
    with pytest.raises(NotImplementedError, match="VectorGames has no screen to show"):
        make(VectorGames, "Pong").render()


def test_python_games_show_the_screen_of_the_first_game(make: MakeGames) -> None:
    games = make(PythonGames, "Breakout", 2, render_mode="rgb_array")
    start(games, 1, 2)
    before = games.render()
    assert before.shape == (210, 160, 3)
    assert before.dtype == np.uint8
    for _ in range(10):
        games.step(np.array([2, 0]))  # Only the first game's paddle moves.
    assert not np.array_equal(games.render(), before)


@pytest.mark.parametrize(("usable", "games", "threads"), [(1, 4, 1), (64, 1, 1)])
def test_vector_games_have_a_thread_for_each_usable_core_and_none_without_a_game(
    make: MakeGames, monkeypatch: pytest.MonkeyPatch, usable: int, games: int, threads: int
) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: usable)
    process = psutil.Process()
    before = process.num_threads()
    make(VectorGames, "Pong", games)
    assert process.num_threads() - before == threads
