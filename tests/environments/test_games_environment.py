"""The rules, on games that are written down; and exact restores, on real ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.environments.py_environment import PyEnvironment
from tf_agents.trajectories import policy_step, trajectory
from tf_agents.trajectories import time_step as ts

from dqn_breakout import seeding
from dqn_breakout.collection.metrics import CollectionMetrics
from dqn_breakout.environments.builder import create_environment
from dqn_breakout.environments.frame_stack import FrameStack4
from dqn_breakout.environments.python_games import PythonGames
from dqn_breakout.environments.vector_games import VectorGames, vector_games
from dqn_breakout.errors import UserError
from tests.recorded_play import same
from tests.scripted_games import Move, Script, ScriptedGames, random_scripts, under_rules

FIRST, MID, LAST = (int(ts.StepType.FIRST), int(ts.StepType.MID), int(ts.StepType.LAST))
NOOP, FIRE, RIGHT = 0, 1, 2

# A life is lost in steps 3 and 5 of the first game; the second is cut off; in the third a life is
# won, and the last two are lost together with the game.
GAMES = [
    Script(
        3, [Move(0, 3), Move(1, 3), Move(0, 2), Move(7, 2), Move(4, 1), Move(-5, 0, "terminated")]
    ),
    Script(3, [Move(1, 3), Move(2, 3, "truncated")]),
    Script(1, [Move(0, 2), Move(0, 0, "terminated")]),
]
STEP_TYPES = [FIRST, MID, MID, MID, MID, MID, LAST, FIRST, MID, LAST, FIRST, MID, LAST, FIRST]
REWARDS = [0, 0, 1, 0, 7, 4, -5, 0, 1, 2, 0, 0, 0, 0]
DISCOUNTS_OF_LIVES = [1, 1, 1, 0, 1, 0, 0, 1, 1, 1, 1, 1, 0, 1]
DISCOUNTS_OF_GAMES = [1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1]
LIVES = [3, 3, 3, 2, 2, 1, 0, 3, 3, 3, 1, 2, 0, 3]


def play(environment: PyEnvironment, steps: int, action: int = RIGHT) -> ts.TimeStep:
    """Time steps of a reset and `steps` steps, each field stacked to `(steps + 1, B, ...)`."""
    actions = np.full(environment.batch_size, action, np.int32)
    time_steps = [environment.reset(), *(environment.step(actions) for _ in range(steps))]
    return ts.TimeStep(*map(np.stack, zip(*time_steps, strict=True)))


@pytest.mark.parametrize(
    ("terminal_on_life_loss", "discounts"),
    [(True, DISCOUNTS_OF_LIVES), (False, DISCOUNTS_OF_GAMES)],
)
def test_step_types_rewards_and_discounts_of_full_games(
    terminal_on_life_loss: bool, discounts: list[int]
) -> None:
    environment = under_rules(ScriptedGames([GAMES]), terminal_on_life_loss=terminal_on_life_loss)
    time_steps = play(environment, len(STEP_TYPES) - 1)
    assert time_steps.step_type[:, 0].tolist() == STEP_TYPES
    assert time_steps.reward[:, 0].tolist() == REWARDS
    assert time_steps.discount[:, 0].tolist() == discounts
    assert time_steps.step_type.dtype == np.int32
    assert time_steps.reward.dtype == time_steps.discount.dtype == np.float32


def test_lives_and_what_was_pressed_are_told_after_each_step() -> None:
    environment = under_rules(ScriptedGames([GAMES, GAMES[1:]]))
    environment.reset()
    told = [environment.get_info()]
    for _ in range(len(LIVES) - 1):
        environment.step(np.full(2, RIGHT, np.int32))
        told.append(environment.get_info())
    assert [int(each["lives"][0]) for each in told] == LIVES
    assert [int(each["lives"][1]) for each in told][:6] == [3, 3, 3, 1, 2, 0]
    assert [int(each["actions"][1]) for each in told][:4] == [NOOP, FIRE, RIGHT, RIGHT]


@pytest.mark.parametrize(
    ("terminal_on_life_loss", "pressed"),
    [
        # After step 0 (FIRST), 3 and 5 (life lost), 7, 10 and 13 (FIRST); steps 6 and 12 lost a
        # life and the game: the step after them starts the next one.
        (True, [1, 4, 6, 8, 11, 14]),
        (False, [1, 8, 11, 14]),
    ],
)
def test_fire_is_pressed_after_a_start_and_after_a_life_lost_as_terminal(
    terminal_on_life_loss: bool, pressed: list[int]
) -> None:
    games = ScriptedGames([GAMES])
    play(under_rules(games, terminal_on_life_loss=terminal_on_life_loss), 15)
    restarts = [7, 10, 13]  # Whatever is pressed there is ignored.
    actions = {number: int(action[0]) for number, action in enumerate(games.actions, 1)}
    assert [number for number, action in actions.items() if action == FIRE] == pressed
    for number in set(actions) - set(pressed) - set(restarts):
        assert actions[number] == RIGHT


@pytest.mark.parametrize(
    ("action_meanings", "fire_on_reset", "first"),
    [
        (("NOOP", "FIRE", "RIGHT"), False, RIGHT),
        (("NOOP", "UP", "DOWN"), True, RIGHT),
        (("NOOP", "UP", "DOWN", "FIRE"), True, 3),
    ],
)
def test_fire_is_pressed_where_asked_for_and_where_there_is_one(
    action_meanings: tuple[str, ...], fire_on_reset: bool, first: int
) -> None:
    games = ScriptedGames([GAMES], action_meanings=action_meanings)
    play(under_rules(games, fire_on_reset=fire_on_reset), 3)
    assert [int(action[0]) for action in games.actions] == [first, RIGHT, RIGHT]


def test_every_game_of_a_batch_is_right_on_its_own() -> None:
    scripts = [random_scripts(seed, games=30, longest=12) for seed in range(5)]
    together = ScriptedGames(scripts)
    time_steps = play(under_rules(together), 150)
    assert (time_steps.step_type == LAST).sum() > 50
    for place, script in enumerate(scripts):
        alone = ScriptedGames([script])
        expected = play(under_rules(alone), 150)
        for name in ("step_type", "reward", "discount"):
            np.testing.assert_array_equal(
                getattr(time_steps, name)[:, place], getattr(expected, name)[:, 0]
            )
        actions = [int(action[place]) for action in together.actions]
        assert actions == [int(action[0]) for action in alone.actions]


def test_vector_games_and_python_games_are_the_same_under_the_rules_in_every_game() -> None:
    """Six games of Breakout in which nobody but the environment presses FIRE.

    Without opening no-ops, whose number the two kinds draw differently.
    """
    count = 6
    rules: dict[str, Any] = {"noop_max": 0, "sticky_action_probability": 0.0}
    environments = [
        under_rules(
            kind(game="Breakout", batch_size=count, frame_skip=4, max_episode_steps=999, **rules)
        )
        for kind in (VectorGames, PythonGames)
    ]
    metrics = [CollectionMetrics(count) for _ in environments]

    @tf.function(autograph=False)
    def observe(*steps: trajectory.Trajectory) -> None:
        for step, each in zip(steps, metrics, strict=True):
            for observer in each.observers:
                observer(step)

    rng = np.random.default_rng(0)
    before = [environment.reset() for environment in environments]
    _assert_same(*before)
    lives_lost = ends = np.zeros(count, int)
    for _ in range(175):
        action = rng.choice([NOOP, RIGHT, RIGHT + 1], count).astype(np.int32)
        after = [environment.step(action) for environment in environments]
        _assert_same(*after)
        taken = policy_step.PolicyStep(action, (), ())
        steps = map(trajectory.from_transition, before, [taken] * 2, after)
        observe(*(tf.nest.map_structure(tf.constant, step) for step in steps))
        lives_lost = lives_lost + ((after[0].discount == 0) & ~after[0].is_last())
        ends = ends + after[0].is_last()
        before = after
    # No ball is in play until FIRE is pressed, after each life again.
    assert lives_lost.min() >= 2
    assert (ends > 0).sum() >= 3
    ours, theirs = (each.variables() for each in metrics)
    for name, variable in ours.items():
        np.testing.assert_array_equal(variable, theirs[name], name)
    assert metrics[0].episodes == ends.sum()
    assert float(metrics[0].average_return or 0) > 0
    for environment in environments:
        environment.close()


def test_specs() -> None:
    environment = under_rules(ScriptedGames([GAMES] * 3, frame_shape=(5, 7)))
    assert environment.batched
    assert environment.batch_size == 3
    observation, action = environment.observation_spec(), environment.action_spec()
    assert (observation.shape, observation.dtype) == ((5, 7), np.uint8)
    assert (observation.minimum, observation.maximum) == (0, 255)
    assert (action.shape, action.dtype) == ((), np.int32)
    assert (action.minimum, action.maximum) == (0, 3)
    time_step = environment.reset()
    assert (time_step.observation.shape, time_step.observation.dtype) == ((3, 5, 7), np.uint8)
    with pytest.raises(NotImplementedError, match="ScriptedGames has no screen"):
        environment.render()


def test_reset_starts_every_game_from_a_new_seed() -> None:
    games = ScriptedGames([GAMES, GAMES])
    environment = under_rules(games, seed=8)
    play(environment, 4)
    time_step = environment.reset()
    assert time_step.step_type.tolist() == [FIRST, FIRST]
    assert time_step.reward.tolist() == [0, 0]
    assert time_step.discount.tolist() == [1, 1]
    assert games.seeds == [
        ([0, 1], [seeding.stream_key(8, f"collection/game {game}/seeding {n}") for game in (0, 1)])
        for n in (1, 2)
    ]
    assert len({seed for _, seeds in games.seeds for seed in seeds}) == 4
    # A life lost before the reset is forgotten: the same rules apply from the start.
    assert play(environment, 5).discount[:, 0].tolist() == DISCOUNTS_OF_LIVES[:6]


def test_a_game_is_seeded_anew_at_its_end_once_the_period_has_passed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ScriptedGames, "reseed_period_env_steps", 5)
    games = ScriptedGames([GAMES[:1], GAMES[1:2]])
    environment = under_rules(games, fire_on_reset=False)
    play(environment, 20)
    # Game 0 ends in step 6: the next step starts it from a new seed; and so on, every 7 steps.
    # Game 1 ends in steps 2 and 5: after two of its games five steps have passed.
    assert [seeded for seeded, _ in games.seeds] == [[0, 1], [1], [0], [1], [0], [1]]
    assert len({seed for _, seeds in games.seeds for seed in seeds}) == 7
    state = environment.get_state()
    assert state["seedings"].tolist() == [3, 4]
    # Steps 7 and 14, and steps 6, 12 and 18, were the first ones of new seeds.
    assert state["lengths"].tolist() == [20 - 14, 20 - 18]
    assert state["actions"].tolist() == [RIGHT] * 8


# --- State ----------------------------------------------------------------------------------------


def _assert_same(one: ts.TimeStep, other: ts.TimeStep) -> None:
    for name, values, expected in zip(ts.TimeStep._fields, one, other, strict=True):
        np.testing.assert_array_equal(values, expected, name)


def test_every_state_that_games_can_have_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Games of up to nine steps, seeded anew at the first end after ten."""
    monkeypatch.setattr(ScriptedGames, "reseed_period_env_steps", 10)
    scripts = [random_scripts(seed, games=40, longest=9) for seed in range(3)]
    original, again = (FrameStack4(under_rules(ScriptedGames(scripts))) for _ in range(2))
    time_step = original.reset()
    longest = 0
    states, copies = [], []
    for _ in range(300):
        states.append(original.get_state())
        copies.append({name: values.copy() for name, values in states[-1].items()})
        longest = max(longest, int(states[-1]["lengths"].max()))
        again.set_state(states[-1])
        _assert_same(again.current_time_step(), time_step)
        assert same(again.get_state(), states[-1])
        time_step = original.step(np.full(3, RIGHT, np.int32))
    # The longest there is: a game begun at the last step of the period.
    assert 15 < longest <= 10 + 9
    assert set(states[0]) == {"seedings", "actions", "lengths", "observations", "stack"}
    assert same(states, copies)  # A state is not touched by what follows.
    with pytest.raises(UserError, match="cannot be brought back to where the run stopped"):
        again.set_state({**states[9], "observations": states[10]["observations"]})
    with pytest.raises(UserError, match=r"its games are 3, and this run plays 1\."):
        FrameStack4(under_rules(ScriptedGames(scripts[:1]))).set_state(states[0])


@pytest.mark.parametrize("kind", [PythonGames, vector_games])
def test_a_restored_state_goes_on_exactly_as_the_original_did(
    monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    """With sticky actions, whose random numbers lie in the emulator."""
    # Games last 30 to 45 steps: the first or second end of one seeds it anew.
    for each in (PythonGames, VectorGames):
        monkeypatch.setattr(each, "reseed_period_env_steps", 40)

    def environment() -> PyEnvironment:
        arguments: dict[str, Any] = {
            "games": kind,
            "game": "Breakout",
            "num_environments": 2,
            "stack_frames": 4,
            "frame_skip": 16,
            "noop_max": 12,
            "sticky_action_probability": 0.25,
            "max_episode_steps": 45,
            "terminal_on_life_loss": True,
            "fire_on_reset": True,
        }
        return create_environment(5, "collection", **arguments).pyenv

    original = environment()
    actions = np.random.default_rng(1).integers(0, 4, (180, 2)).astype(np.int32)
    time_steps, states = [original.reset()], [original.get_state()]
    for action in actions:
        time_steps.append(original.step(action))
        states.append(original.get_state())
    ends = np.stack([time_step.is_last() for time_step in time_steps])
    terminated = ends & (np.stack([time_step.discount for time_step in time_steps]) == 0)
    assert terminated.any()
    assert (ends & ~terminated).any()
    assert states[-1]["seedings"].min() > 2
    lengths = np.stack([state["lengths"] for state in states[:90]])
    at_last = int(np.flatnonzero(ends.sum(axis=1) == 1)[0])
    # One game was seeded just now, the other was not.
    just_seeded = int(np.flatnonzero((lengths.min(axis=1) == 0) & (lengths.max(axis=1) > 0))[0])
    # Both are far from their seeding, and not equally far.
    far = int(np.argmax(np.where(np.ptp(lengths, axis=1) > 0, lengths.min(axis=1), 0)))
    assert lengths[far].min() > 10
    again = environment()
    for restored, number, follow in (
        (again, far, 60),
        (again, at_last, 5),
        # Back in time, in the environment that the state came from.
        (original, just_seeded, 5),
    ):
        restored.set_state(states[number])
        _assert_same(restored.current_time_step(), time_steps[number])
        for place in range(number, number + follow):
            _assert_same(restored.step(actions[place]), time_steps[place + 1])
    original.close()
    again.close()
