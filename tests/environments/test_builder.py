"""What `create_environment` builds, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tf_agents.environments import utils

from dqn_breakout.environments.builder import create_environment
from dqn_breakout.environments.python_games import PythonGames
from dqn_breakout.environments.spec import EnvironmentSpec
from dqn_breakout.environments.vector_games import vector_games
from dqn_breakout.errors import UserError
from tests.scripted_games import ScriptedGames, random_scripts

RULES = {"frame_skip": 4, "noop_max": 30, "sticky_action_probability": 0.0, "max_episode_steps": 20}
PRESSES = {"terminal_on_life_loss": True, "fire_on_reset": True}


def create(**changes: Any) -> Any:
    arguments = {
        "games": vector_games,
        "game": "Breakout",
        "num_environments": 2,
        "stack_frames": 4,
        **RULES,
        **PRESSES,
    }
    return create_environment(3, "collection", **{**arguments, **changes})


@pytest.mark.parametrize("games", [vector_games, PythonGames])
def test_an_environment_of_atari_games(games: Any) -> None:
    environment = create(games=games)
    assert environment.batch_size == 2
    observation = environment.observation_spec()
    assert (observation.shape, observation.dtype) == ((84, 84, 4), "uint8")
    assert environment.action_spec().maximum == 3
    utils.validate_py_environment(environment.pyenv, episodes=2)
    time_step = environment.reset()
    assert time_step.observation.shape == (2, 84, 84, 4)
    assert len(np.unique(time_step.observation)) > 2  # There is something on the screen.
    environment.close()


@pytest.mark.parametrize(
    ("max_ale_frames", "max_episode_steps"), [(None, 20), (18_000, 4_500), (3, 1)]
)
@pytest.mark.parametrize("games", [vector_games, PythonGames])
def test_the_spec_that_is_handed_on(
    games: Any, max_ale_frames: int | None, max_episode_steps: int
) -> None:
    environment = create(games=games, max_ale_frames=max_ale_frames)
    rules = {**RULES, "max_episode_steps": max_episode_steps, **PRESSES}
    assert environment.pyenv.spec == EnvironmentSpec(
        name="Breakout",
        action_names=("NOOP", "FIRE", "RIGHT", "LEFT"),
        frame_skip=4,
        steps_per_second=15.0,
        random_and_human=(1.7, 30.5),
        protocols=("nature", "machado", "training"),
        rules={**rules, "max_ale_frames": 4 * max_episode_steps},
        stacked=True,
    )
    assert create(games=games, game="AirRaid").pyenv.spec.random_and_human is None


def scripted(*, batch_size: int, max_episode_steps: int, render_mode: str | None) -> ScriptedGames:
    del max_episode_steps, render_mode
    return ScriptedGames([random_scripts(0, 3, 5)] * batch_size)


ATARI = ("game", "frame_skip", "noop_max", "sticky_action_probability")


@pytest.mark.parametrize(
    ("stack_frames", "shape"), [(None, (2, 3)), (1, (2, 3, 1)), (3, (2, 3, 3))]
)
def test_other_games_have_observations_of_their_own(
    stack_frames: int | None, shape: tuple[int, ...]
) -> None:
    nothing = dict.fromkeys(ATARI)
    environment = create(games=scripted, stack_frames=stack_frames, **nothing)
    assert environment.observation_spec().shape == shape
    spec = environment.pyenv.spec
    rules = {"max_episode_steps": 20, **PRESSES}
    assert (spec.name, spec.stacked, spec.rules) == ("Scripted", stack_frames is not None, rules)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"frame_skip": 0}, "create_environment.frame_skip must be a whole number of 1 or more"),
        ({"games": "vector_games"}, "create_environment.games must be a builder, with @ and with"),
        ({"num_environments": 10_001}, "create_environment.num_environments is too large: at mo"),
        ({"noop_max": 2**31}, "create_environment.noop_max is too large: at most 2,147,483,647 "),
        ({"max_episode_steps": 2**29}, "create_environment.max_episode_steps is too large: at m"),
        ({"games": scripted}, "create_environment.game means nothing to @scripted: leave it out"),
        ({"noop_max": None}, "create_environment.noop_max must be bound: @vector_games needs it."),
        ({"game": "Brakeout"}, "There is no Atari game 'Brakeout': did you mean Breakout"),
        ({"game": "Brakeout", "games": PythonGames}, "There is no Atari game 'Brakeout': did you "),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        create(**changes)
    assert caught.value.message.startswith(said)
