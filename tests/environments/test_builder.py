"""What `create_environment` builds, and what it refuses."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from tf_agents.environments import utils

from dqn_breakout.environments.builder import create_environment
from dqn_breakout.environments.python_games import python_games
from dqn_breakout.environments.vector_games import vector_games
from dqn_breakout.errors import UserError
from tests.scripted_games import ScriptedGames, random_scripts

ARGUMENTS: dict[str, Any] = {
    "games": vector_games,
    "game": "Breakout",
    "num_environments": 2,
    "frame_skip": 4,
    "noop_max": 30,
    "sticky_action_probability": 0.0,
    "max_episode_steps": 20,
    "terminal_on_life_loss": True,
    "fire_on_reset": True,
}


@pytest.mark.parametrize("games", [vector_games, python_games])
def test_an_environment_of_atari_games(games: Any) -> None:
    environment = create_environment(3, "collection", **{**ARGUMENTS, "games": games})
    assert environment.batch_size == 2
    assert environment.observation_spec().shape == (84, 84, 4)
    assert environment.observation_spec().dtype == "uint8"
    assert environment.action_spec().maximum == 3
    utils.validate_py_environment(environment.pyenv, episodes=2)
    time_step = environment.reset()
    assert time_step.observation.shape == (2, 84, 84, 4)
    assert len(np.unique(time_step.observation)) > 2  # There is something on the screen.
    environment.close()


def test_what_the_games_are_asked_for() -> None:
    asked = {}

    def games(**arguments: Any) -> ScriptedGames:
        asked.update(arguments)
        return ScriptedGames([random_scripts(0, 3, 5)] * arguments["batch_size"])

    environment = create_environment(
        3, "collection", **{**ARGUMENTS, "games": games, "render_mode": "rgb_array"}
    )
    assert environment.batch_size == 2
    assert asked == {
        "game": "Breakout",
        "batch_size": 2,
        "frame_skip": 4,
        "noop_max": 30,
        "sticky_action_probability": 0.0,
        "max_episode_steps": 20,
        "render_mode": "rgb_array",
    }


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("num_environments", 0),
        ("num_environments", -1),
        ("num_environments", 1.5),
        ("num_environments", True),
        ("frame_skip", 0),
        ("frame_skip", "4"),
        ("noop_max", -1),
        ("noop_max", None),
        ("sticky_action_probability", 1.01),
        ("sticky_action_probability", -0.25),
        ("sticky_action_probability", float("nan")),
        ("max_episode_steps", 0),
        ("max_episode_steps", -27_000),
        ("terminal_on_life_loss", "False"),
        ("fire_on_reset", 0),
    ],
)
def test_values_out_of_range_are_refused_by_name(parameter: str, value: object) -> None:
    with pytest.raises(UserError) as caught:
        create_environment(3, "collection", **{**ARGUMENTS, parameter: value})
    message = caught.value.message
    assert message.startswith(f"create_environment.{parameter} must be ")
    assert re.search(rf"but is {re.escape(repr(value))}\.$", message)


def test_an_unknown_game_is_refused_before_anything_starts() -> None:
    with pytest.raises(UserError, match="did you mean SpaceInvaders"):
        create_environment(3, "collection", **{**ARGUMENTS, "game": "SpaceInvader"})


@pytest.mark.parametrize("games", [vector_games, python_games])
def test_a_render_mode_that_does_not_exist_is_refused(games: Any) -> None:
    with pytest.raises(UserError, match=r"render_mode must be one of None, 'rgb_array', 'human', "):
        create_environment(
            3, "collection", **{**ARGUMENTS, "games": games, "render_mode": "hologram"}
        )


@pytest.mark.parametrize(
    ("games", "said"),
    [
        ("vector_games", "is the text 'vector_games'; write @vector_games, without quotes."),
        ("vector", "is the text 'vector'; write @vector_games or @python_games, without quotes."),
        (None, "is None; write @vector_games or @python_games."),
        (3, "is 3; write @vector_games or @python_games."),
    ],
)
def test_what_makes_no_games_is_refused(games: object, said: str) -> None:
    with pytest.raises(UserError) as caught:
        create_environment(3, "collection", **{**ARGUMENTS, "games": games})
    assert caught.value.message == f"create_environment.games {said}"


@pytest.mark.parametrize(
    ("name", "games"), [("vector_games", vector_games), ("python_games", python_games)]
)
def test_games_that_gin_makes_by_itself_are_refused(name: str, games: Any) -> None:
    with pytest.raises(UserError, match=f"too early; write it without \\(\\): @{name}\\."):
        games()
    with pytest.raises(UserError, match=f"{name} has no parameter 'x'; games are described by "):
        games(game="Pong", x=1)


@pytest.mark.parametrize(
    ("parameter", "value", "said"),
    [
        ("num_environments", 10_001, "must be at most 10,000, but is 10001."),
        ("noop_max", 2**31, "must be below 2,147,483,647, but is 2147483648."),
        ("max_episode_steps", 2**29, "is 536870912 and frame_skip is 4: a game would last over "),
    ],
)
def test_numbers_that_the_emulator_cannot_count_are_refused(
    parameter: str, value: int, said: str
) -> None:
    with pytest.raises(UserError) as caught:
        create_environment(3, "collection", **{**ARGUMENTS, parameter: value})
    assert caught.value.message.startswith(f"create_environment.{parameter} {said}")
