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

# `experiment` defines what the configurations below bind.
from dqn_breakout import config, experiment  # noqa: F401
from dqn_breakout.agents.exploration import RandomPolicy
from dqn_breakout.errors import UserError
from dqn_breakout.evaluation import evaluate, protocols
from dqn_breakout.networks.fingerprint import weights_sha256
from dqn_breakout.networks.nature_cnn import create_q_network
from tests.evaluation.conftest import CONFIG
from tests.scripted_games import Move, Script, ScriptedGames, scripted_environment

RIGHT = 2
NATURE = protocols.PROTOCOLS["nature"]


class Stopped(Exception):
    """Ends games from outside."""


def game_of(length: int, score: float, end: str = "terminated") -> Script:
    """A game that scores in its last move."""
    return Script(3, [*[Move(0, 3)] * (length - 1), Move(score, 0, end)])


def play(environment: TFPyEnvironment, games: int, **arguments: Any) -> evaluate.GameScores:
    policy = RandomPolicy(environment.time_step_spec(), environment.action_spec(), 0, "test")
    return evaluate.play_games(environment, policy, games, **arguments)


def test_a_score_is_the_full_game_unclipped():
    # Three lives, each with its rewards; points lost count too.
    script = Script(
        3,
        [
            Move(7, 3),
            Move(4, 3),
            Move(0, 2),
            Move(7, 2),
            Move(-2, 1),
            Move(0, 1),
            Move(1, 0, "terminated"),
        ],
    )
    for terminal_on_life_loss in (True, False):
        environment = scripted_environment(
            ScriptedGames([[script]]), terminal_on_life_loss=terminal_on_life_loss
        )
        played = play(environment, 2)
        assert played.returns.tolist() == [17, 17]
        assert played.lengths.tolist() == [7, 7]
        assert played.truncated.tolist() == [False, False]


def test_short_games_are_not_favoured():
    # The first four games to end are all of the first place: 1 point each, instead of 51.
    games = ScriptedGames([[game_of(2, 1)], [game_of(100, 101)]])
    played = play(scripted_environment(games), 4)
    assert played.returns.tolist() == [1, 101, 1, 101]
    assert played.lengths.tolist() == [2, 100, 2, 100]


def test_each_place_plays_its_own_share():
    games = ScriptedGames(
        [
            [game_of(3, 10), game_of(5, 11), game_of(1, 12)],
            [game_of(1, 20), game_of(2, 21)],
            [game_of(9, 30), game_of(1, 31)],
        ]
    )
    played = play(scripted_environment(games), 7)
    assert played.returns.tolist() == [10, 20, 30, 11, 21, 31, 12]
    assert played.lengths.tolist() == [3, 1, 9, 5, 2, 1, 1]


def test_games_cut_off_count_as_they_stand():
    games = ScriptedGames([[game_of(4, 6, "truncated"), game_of(2, 3)]])
    played = play(scripted_environment(games), 2)
    assert played.returns.tolist() == [6, 3]
    assert played.truncated.tolist() == [True, False]


def test_a_second_call_starts_new_games():
    environment = scripted_environment(ScriptedGames([[game_of(10, 5)], [game_of(4, 2)]]))
    assert play(environment, 3).returns.tolist() == [5, 2, 5]
    assert play(environment, 3).returns.tolist() == [5, 2, 5]


def test_progress_counts_up_to_the_last_game():
    heard: list[int] = []
    play(
        scripted_environment(ScriptedGames([[game_of(3, 1)], [game_of(7, 1)]])),
        5,
        progress=heard.append,
    )
    assert heard == sorted(set(heard))
    assert heard[-1] == 5


def test_what_is_called_after_every_step_can_end_the_games():
    steps = 0

    def stop_at_three() -> None:
        nonlocal steps
        steps += 1
        if steps == 3:
            raise Stopped

    environment = scripted_environment(ScriptedGames([[game_of(4, 6)]]))
    with pytest.raises(Stopped):
        play(environment, 2, each_step=stop_at_three)
    assert steps == 3
    # Two games of four steps, and the step that starts the second.
    steps = 10
    play(environment, 2, each_step=stop_at_three)
    assert steps - 10 == 9


class ClosingGames(ScriptedGames):
    closed = False

    def close(self) -> None:
        self.closed = True


PLAYED: list[ClosingGames] = []


@gin.configurable
def games_to_evaluate(*, batch_size: int, **arguments: Any) -> ClosingGames:
    """Scripted games by way of gin; what they are asked for is kept."""
    del arguments
    PLAYED.append(ClosingGames([[game_of(40, 3)]] * batch_size))
    return PLAYED[-1]


@pytest.fixture
def scripted_config() -> None:
    config.parse(
        [],
        [
            *CONFIG.strip().splitlines(),
            "create_environment.games = @games_to_evaluate",
            "create_q_network.conv_layers = ()",
        ],
    )
    PLAYED.clear()


def network_for_right() -> Any:
    """A network whose best action is RIGHT whatever it sees."""
    environment = evaluate.create_evaluation_environment(NATURE, 0, "evaluation", 1)
    network = create_q_network(environment.observation_spec(), environment.action_spec(), 0)
    kernel, bias = network.variables[-2:]
    kernel.assign(np.zeros(kernel.shape))
    bias.assign([0, 0, 1, 0])
    return network


@pytest.mark.usefixtures("scripted_config")
def test_epsilon_is_the_protocols():
    network = network_for_right()

    def share_of_right(epsilon: float) -> float:
        protocol = dataclasses.replace(NATURE, epsilon=epsilon)
        evaluate.evaluate_network(network, protocol, 10, seed=0, num_environments=5)
        # The first step of a game is the rules' FIRE, and one more step starts the next game.
        actions = np.stack(PLAYED[-1].actions)[1:40]
        return float(np.mean(actions == RIGHT))

    assert share_of_right(0.0) == 1
    assert share_of_right(0.4) == pytest.approx(1 - 0.4 * 3 / 4, abs=0.1)


@pytest.mark.usefixtures("scripted_config")
def test_a_random_player_chooses_evenly():
    result = evaluate.evaluate_random_player(NATURE, 10, seed=0, num_environments=10)
    actions = np.stack(PLAYED[-1].actions)[1:40]
    shares = np.bincount(actions.ravel(), minlength=4) / actions.size
    assert shares == pytest.approx([0.25] * 4, abs=0.08)
    assert result["player"] == "random"
    assert result["protocol"]["name"] == "nature"
    assert result["protocol"]["epsilon"] == 1
    assert "weights_sha256" not in result


@pytest.mark.usefixtures("scripted_config")
def test_the_result_describes_itself():
    network = network_for_right()
    result = evaluate.evaluate_network(network, NATURE, 3, seed=5, num_environments=8)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["game"] == "Breakout"
    assert result["returns"] == [3, 3, 3]
    assert result["lengths_env_steps"] == [40, 40, 40]
    assert (result["mean"], result["median"], result["std"], result["ci95"]) == (3, 3, 0, [3, 3])
    assert result["human_normalised"] == pytest.approx((3 - 1.7) / (30.5 - 1.7))
    # Never more games side by side than there are to play.
    assert (result["games"], result["seed"], result["num_environments"]) == (3, 5, 3)
    assert result["games_cut_off"] == 0
    assert result["weights_sha256"] == weights_sha256(network.variables)
    assert result["versions"]["tf-agents"] == "0.19.0"
    protocol = result["protocol"]
    assert protocol["max_episode_steps"] == 4500
    assert protocol["frame_skip"] == 4
    assert protocol["fire_on_reset"] is True
    assert protocol["full_games"] is True
    assert protocol["clipped_rewards"] is False


@pytest.mark.parametrize("numbers", [(0, 1), (1, 0)])
def test_nothing_to_play_is_refused(numbers: tuple[int, int]):
    config.parse([], CONFIG.strip().splitlines())
    games, num_environments = numbers
    with pytest.raises(UserError, match="must be a whole number of 1 or more, but is 0"):
        evaluate.evaluate_random_player(NATURE, games, 0, num_environments)


def test_real_games_repeat_with_their_seed_and_end_at_the_protocols_limit():
    config.parse([], CONFIG.strip().splitlines())
    protocol = dataclasses.replace(NATURE, max_ale_frames=640)

    def scores(seed: int) -> tuple[list[float], list[int], int]:
        result = evaluate.evaluate_random_player(protocol, 2, seed, num_environments=2)
        return result["returns"], result["lengths_env_steps"], result["games_cut_off"]

    first, again, other = scores(1), scores(1), scores(2)
    assert first == again
    assert first != other
    returns, lengths, games_cut_off = first
    assert max(lengths) == 160
    assert games_cut_off == lengths.count(160)
    assert len(returns) == 2


@pytest.mark.usefixtures("scripted_config")
def test_an_evaluation_that_is_stopped_closes_its_games():
    network = network_for_right()

    def stop() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        evaluate.evaluate_network(network, NATURE, 2, 0, num_environments=2, each_step=stop)
    assert PLAYED[-1].closed
    assert len(PLAYED[-1].actions) == 1


@pytest.mark.usefixtures("scripted_config")
def test_nothing_of_an_evaluation_stays_in_memory():
    evaluate.evaluate_network(network_for_right(), NATURE, 2, 0, num_environments=2)
    games = PLAYED.pop()
    assert games.closed
    watched = weakref.ref(games)
    PLAYED.clear()
    del games
    gc.collect()
    assert watched() is None
