from __future__ import annotations

import dataclasses
import gc
import json
import weakref
from typing import Any

import gin
import numpy as np
import pytest
from tf_agents.environments.tf_py_environment import TFPyEnvironment

from dqn_breakout import config
from dqn_breakout.agents.exploration import RandomPolicy
from dqn_breakout.environments.atari_games import atari_spec
from dqn_breakout.errors import UserError
from dqn_breakout.evaluation import evaluate, protocols
from dqn_breakout.networks.weights import weights_sha256
from tests.evaluation.conftest import ENVIRONMENT, FakeAgent, rules
from tests.scripted_games import Move, Script, ScriptedGames, scripted_environment

RIGHT = 2
FOR_RIGHT = [0.0, 0.0, 1.0, 0.0]


class Stopped(Exception):
    """Ends games from outside."""


def game_of(length: int, score: float, end: str = "terminated") -> Script:
    """A game that scores in its last move."""
    return Script(3, [*[Move(0, 3)] * (length - 1), Move(score, 0, end)])


def play(environment: TFPyEnvironment, games: int, **arguments: Any) -> list[evaluate.Game]:
    policy = RandomPolicy(environment.time_step_spec(), environment.action_spec(), 0, "test")
    return evaluate.play_games(environment, policy, games, **arguments)


@pytest.mark.parametrize("terminal_on_life_loss", [True, False])
def test_a_score_is_the_full_game_unclipped(terminal_on_life_loss: bool):
    # Three lives, each with its rewards; points lost count too.
    moves = [Move(7, 3), Move(4, 3), Move(0, 2), Move(7, 2), Move(-2, 1), Move(0, 1)]
    games = ScriptedGames([[Script(3, [*moves, Move(1, 0, "terminated")])]])
    environment = scripted_environment(games, terminal_on_life_loss=terminal_on_life_loss)
    assert play(environment, 2) == [(17, 7, False), (17, 7, False)]


def test_short_games_are_not_favoured():
    # The first four games to end are all of the first place: 1 point each, instead of 51.
    games = ScriptedGames([[game_of(2, 1)], [game_of(100, 101)]])
    played = play(scripted_environment(games), 4)
    assert [game.score for game in played] == [1, 101, 1, 101]
    assert [game.env_steps for game in played] == [2, 100, 2, 100]


def test_each_place_plays_its_own_share_and_a_second_call_starts_new_games():
    games = ScriptedGames(
        [
            [game_of(3, 10), game_of(5, 11), game_of(1, 12)],
            [game_of(1, 20), game_of(2, 21)],
            [game_of(9, 30), game_of(1, 31)],
        ]
    )
    environment = scripted_environment(games)
    for _ in range(2):
        heard: list[int] = []
        played = play(environment, 7, progress=heard.append)
        assert [game.score for game in played] == [10, 20, 30, 11, 21, 31, 12]
        assert [game.env_steps for game in played] == [3, 1, 9, 5, 2, 1, 1]
        assert heard == [1, 2, 3, 4, 5, 6, 7]


def test_games_cut_off_count_as_they_stand():
    games = ScriptedGames([[game_of(4, 6, "truncated"), game_of(2, 3)]])
    assert play(scripted_environment(games), 2) == [(6, 4, True), (3, 2, False)]


class ClosingGames(ScriptedGames):
    closed = False

    def close(self) -> None:
        self.closed = True


PLAYED: list[ClosingGames] = []


@gin.configurable
def games_to_evaluate(
    *, batch_size: int, game: str, render_mode: Any, **rules: Any
) -> ClosingGames:
    """Scripted games by way of gin that say they are Atari's; they are kept."""
    del render_mode
    PLAYED.append(ClosingGames([[game_of(40, 3)]] * batch_size))
    names = PLAYED[-1].spec.action_names
    PLAYED[-1].spec = dataclasses.replace(atari_spec(game, **rules), action_names=names)
    return PLAYED[-1]


@pytest.fixture
def scripted_config() -> None:
    config.parse(
        [], [*ENVIRONMENT.split("\n")[1:-1], "create_environment.games = @games_to_evaluate"]
    )
    PLAYED.clear()


def actions_of(agent: FakeAgent | None, epsilon: float | None) -> np.ndarray:
    """What is chosen in ten games."""
    evaluate.evaluate_agent(agent, rules(epsilon=epsilon), 10, seed=0, num_environments=5)
    # The first step of a game is the rules' FIRE, and one more step starts the next game.
    return np.stack(PLAYED[-1].actions)[1:40]


@pytest.mark.parametrize(("epsilon", "used"), [(0.0, 0.0), (0.25, 0.25), (None, 0.5)])
@pytest.mark.usefixtures("scripted_config")
def test_epsilon_is_the_protocols_or_else_the_agents_final_one(epsilon: float | None, used: float):
    share_of_right = float(np.mean(actions_of(FakeAgent(FOR_RIGHT), epsilon) == RIGHT))
    assert share_of_right == pytest.approx(1 - used * 3 / 4, abs=0.1 if used else 0)


@pytest.mark.usefixtures("scripted_config")
def test_a_random_player_chooses_evenly():
    actions = actions_of(None, 0.0)
    shares = np.bincount(actions.ravel(), minlength=4) / actions.size
    assert shares == pytest.approx([0.25] * 4, abs=0.1)
    result = evaluate.evaluate_agent(None, rules(), 1, seed=0, num_environments=1)
    assert (result["player"], result["protocol"]["epsilon"]) == ("random", 1)
    assert "weights_sha256" not in result


@pytest.mark.usefixtures("scripted_config")
def test_the_result_describes_itself():
    agent, nature = FakeAgent(FOR_RIGHT), protocols.by_name("nature")
    result = evaluate.evaluate_agent(agent, nature, 3, seed=5, num_environments=8)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result.pop("git_revision") is not None
    assert result.pop("versions")["tf-agents"] == "0.19.0"
    assert "Dueling" in result.pop("human_scores_source")
    assert result == {
        "player": "network",
        "game": "Breakout",
        "protocol": {
            "name": "nature",
            "epsilon": 0.05,
            "noop_max": 30,
            "sticky_action_probability": 0.0,
            "max_ale_frames": 18_000,
            "source": nature.source,
            "frame_skip": 4,
            "max_episode_steps": 4500,
            "fire_on_reset": True,
            "terminal_on_life_loss": True,
            "full_games": True,
            "clipped_rewards": False,
        },
        "games": 3,
        "seed": 5,
        # Never more games side by side than there are to play.
        "num_environments": 3,
        "mean": 3,
        "median": 3,
        "std": 0,
        "ci95": [3, 3],
        "human_normalised": pytest.approx((3 - 1.7) / (30.5 - 1.7)),
        "random_and_human_scores": [1.7, 30.5],
        "games_cut_off": 0,
        "returns": [3, 3, 3],
        "lengths_env_steps": [40, 40, 40],
        "weights_sha256": weights_sha256(agent.network_variables().values()),
    }


@pytest.mark.usefixtures("scripted_config")
def test_training_plays_by_the_runs_own_rules():
    result = evaluate.evaluate_agent(None, protocols.by_name("training"), 1, 0, 1)
    assert result["protocol"]["max_episode_steps"] == 27_000
    assert result["protocol"]["max_ale_frames"] == 108_000


@pytest.mark.parametrize(("games", "num_environments"), [(0, 1), (1, 0)])
def test_nothing_to_play_is_refused(games: int, num_environments: int):
    with pytest.raises(UserError, match="must be a whole number of 1 or more, but is 0"):
        evaluate.evaluate_agent(None, rules(), games, 0, num_environments)


def test_real_games_repeat_with_their_seed_and_end_at_the_protocols_limit():
    config.parse([], ENVIRONMENT.split("\n")[1:-1])

    def scores(seed: int) -> list[Any]:
        result = evaluate.evaluate_agent(None, rules(160), 2, seed, num_environments=2)
        assert max(result["lengths_env_steps"]) == 160
        assert result["games_cut_off"] == result["lengths_env_steps"].count(160)
        return [result["returns"], result["lengths_env_steps"]]

    first, again, other = scores(1), scores(1), scores(2)
    assert first == again
    assert first != other


@pytest.mark.usefixtures("scripted_config")
def test_an_evaluation_that_is_stopped_closes_its_games():
    def stop() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        evaluate.evaluate_agent(
            FakeAgent(FOR_RIGHT), rules(), 2, 0, num_environments=2, each_step=stop
        )
    assert PLAYED[-1].closed
    assert len(PLAYED[-1].actions) == 1


@pytest.mark.usefixtures("scripted_config")
def test_nothing_of_an_evaluation_stays_in_memory():
    evaluate.evaluate_agent(FakeAgent(FOR_RIGHT), rules(), 2, 0, num_environments=2)
    games = PLAYED.pop()
    assert games.closed
    watched = weakref.ref(games)
    PLAYED.clear()
    del games
    gc.collect()
    assert watched() is None
