"""gymnasium's environments as games: what they show, what is refused, exact restores."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from tf_agents.trajectories import time_step as ts

# `experiment` registers the project's own environments.
from dqn_breakout import experiment  # noqa: F401
from dqn_breakout.environments.builder import create_environment
from dqn_breakout.environments.car_racing import CarRacingPictures
from dqn_breakout.environments.gymnasium_games import gymnasium_games
from dqn_breakout.errors import UserError

IDS = ("CartPole-v1", "LunarLander-v3", "FrozenLake-v1", "Taxi-v4", "ThreeStates-v0")


def create(name: str, num_environments: int = 2, steps: int = 30, **changes: Any) -> Any:
    def games(*, id: str, **arguments: Any) -> Any:  # noqa: A002
        return gymnasium_games(
            id=id, **{"arguments": {}, "action_names": (), **changes, **arguments}
        )

    return create_environment(
        3,
        "collection",
        games=games,
        id=name,
        num_environments=num_environments,
        max_episode_steps=steps,
        terminal_on_life_loss=False,
        fire_on_reset=False,
    )


def test_time_steps_are_those_of_gymnasium_and_limits_are_truncations() -> None:
    environment = create("CartPole-v1", 1, steps=6).pyenv
    peer: Any = gymnasium.make("CartPole-v1", max_episode_steps=-1)
    time_step = environment.reset()
    ends = 0
    for action in np.random.default_rng(0).integers(0, 2, 200):
        if time_step.is_first()[0]:
            # The same seed: gymnasium's own environment starts alike.
            peer.unwrapped.state = tuple(environment.games.environments[0].unwrapped.state)
            peer.reset()
            peer.unwrapped.state = tuple(environment.games.environments[0].unwrapped.state)
        if time_step.is_last()[0]:
            ends += 1
            time_step = environment.step(np.array([action], np.int32))
            continue
        time_step = environment.step(np.array([action], np.int32))
        observation, reward, terminated, _, _ = peer.step(int(action))
        np.testing.assert_array_equal(time_step.observation[0], observation)
        assert time_step.reward[0] == reward
        assert (time_step.discount[0] == 0) == terminated
    assert ends > 20


@pytest.mark.parametrize("name", IDS)
def test_a_restored_state_goes_on_exactly(name: str) -> None:
    original = create(name).pyenv
    actions = np.random.default_rng(1).integers(0, original.action_spec().maximum + 1, (90, 2))
    time_steps, states = [original.reset()], [original.get_state()]
    for action in actions.astype(np.int32):
        time_steps.append(original.step(action))
        states.append(original.get_state())
    assert any(step.is_last().any() for step in time_steps)
    again = create(name).pyenv
    for number in (50, 7, 33):
        again.set_state(states[number])
        for place in range(number, number + 20):
            found: ts.TimeStep = again.step(actions[place].astype(np.int32))
            for ours, theirs in zip(found, time_steps[place + 1], strict=True):
                np.testing.assert_array_equal(ours, theirs)


def test_pictures_of_the_car_are_stacked_and_skipped_frames_change_nothing() -> None:
    arguments: Any = {"arguments": {"continuous": False}, "wrapper": wrapper}
    undrawn = create("UndrawnCarRacing-v3", 1, **arguments).pyenv
    drawn = create("CarRacing-v3", 1, **arguments).pyenv
    assert undrawn.observation_spec().shape == (84, 84)
    assert undrawn.spec.frame_skip == 4
    pairs = [(undrawn.reset(), drawn.reset())]
    for action in (3, 3, 1, 3):
        actions = np.array([action], np.int32)
        pairs += [(undrawn.step(actions), drawn.step(actions))]
    for ours, theirs in pairs:
        np.testing.assert_array_equal(ours.observation, theirs.observation)
        np.testing.assert_array_equal(ours.reward, theirs.reward)
    assert not np.array_equal(pairs[0][0].observation, pairs[-1][0].observation)
    for each in (undrawn, drawn):
        # Off the field in the first of four frames: the others are not played, and none is drawn.
        each.games.environments[0].unwrapped.car.hull.position = (1e4, 1e4)
        assert each.step(actions).is_last()[0]
    np.testing.assert_array_equal(*(each.step(actions).observation for each in (undrawn, drawn)))


def wrapper(environment: Any) -> Any:
    return CarRacingPictures(environment, frame_skip=4, opening_frames=10)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("CartPole-v7", {}, "Did you mean CartPole-v1?"),
        ("Cartpol", {}, "cannot be made"),
        ("Pendulum-v1", {}, "agents here choose among some that are counted from 0"),
        ("Blackjack-v1", {}, "agents here take arrays of numbers or a number"),
        ("CartPole-v1", {"action_names": ("left",)}, "names 1 actions, and CartPole-v1 has 2"),
        ("FrozenLake-v1", {"arguments": {"slippery": True}}, "cannot be made"),
    ],
)
def test_what_cannot_be_played_is_refused(name: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        create(name, **changes)
    assert said in caught.value.message
