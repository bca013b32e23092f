"""The loop over the parts of a real run, small ones: what it takes in which order, to the step."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gin
import numpy as np
import pytest
import tensorflow as tf

from dqn_breakout import config, experiment
from dqn_breakout.experiment import Experiment
from dqn_breakout.networks.fingerprint import weights_sha256
from dqn_breakout.runs.directory import RunDirectory
from dqn_breakout.training.divergence import Divergence
from dqn_breakout.training.loop import Iteration, iterations
from tests.scripted_games import ScriptedGames, random_scripts

FILL = 60


@gin.configurable
def games_of_loop_test(**arguments: Any) -> ScriptedGames:
    """Binds as `create_environment.games = @games_of_loop_test`."""
    places = range(arguments["batch_size"])
    return ScriptedGames([random_scripts(place, 50, longest=15) for place in places])


pytestmark = pytest.mark.usefixtures("clean_gin")


class Executor:
    """Plays before the training of a turn, or after it, instead of beside it."""

    def __init__(self, when: str):
        self.when = when

    def submit(self, function: Any, *arguments: Any) -> Any:
        if self.when == "before":
            played = function(*arguments)
            return SimpleNamespace(result=lambda: played)
        return SimpleNamespace(result=lambda: function(*arguments))


def build(seed: int = 1, **changes: Any) -> Experiment:
    """A run of tiny parts, otherwise as `breakout.gin` has it."""
    settings = {
        "create_environment.num_environments": 3,
        "create_q_network.dense_units": (6,),
        "create_q_network.conv_layers": (),
        "create_collector.overlapped": False,
        "create_optimizer.compiled": False,  # To compile takes longer than the rest.
        "create_agent.target_update_period_train_steps": 8,
        "create_agent.epsilon_decay_env_steps": 200,
        "create_replay_buffer.capacity_transitions": 400,
        "create_collector.random_fill_env_steps": FILL,
        "create_collector.env_steps_per_iteration": 16,
        "create_learner.batch_size": 4,
        **{name.replace("__", "."): value for name, value in changes.items()},
    }
    bindings = [f"{name} = {value!r}" for name, value in settings.items()]
    games = "create_environment.games = @games_of_loop_test"
    config.parse(["breakout.gin"], [games, *bindings])
    return experiment.build(seed)


def run(parts: Experiment, total_env_steps: int) -> Iterator[Iteration]:
    return iterations(
        parts.collector, parts.learner, lambda: parts.metrics.env_steps, total_env_steps
    )


@pytest.mark.parametrize(
    ("environments", "ratio", "group", "per_iteration"),
    [(1, 4, 1, 4), (1, 4, 4, 64), (3, 4, 2, 10), (3, 3, 4, 7), (16, 4, 1, 4), (16, 4, 4, 64)],
)
def test_the_update_ratio_is_kept_to_the_step(
    environments: int, ratio: int, group: int, per_iteration: int
) -> None:
    parts = build(
        create_environment__num_environments=environments,
        create_learner__env_steps_per_train_step=ratio,
        create_learner__train_steps_per_group=group,
        create_collector__env_steps_per_iteration=per_iteration,
    )
    taken = before = 0
    for iteration in run(parts, 400):
        taken += iteration.train_steps_taken
        env_steps = parts.metrics.env_steps
        assert iteration.env_steps == env_steps
        assert env_steps > before
        if before >= FILL:
            # A turn stops at the first step of all environments that fills it.
            assert per_iteration <= env_steps - before < per_iteration + environments
        before = env_steps
        explored = max(env_steps - FILL, 0)
        train_steps = int(parts.agent.train_step_counter)
        assert train_steps == taken == group * (explored // (ratio * group))
        assert int(parts.replay_buffer.samples_drawn) == train_steps // group
    assert taken >= group * (340 // (ratio * group))
    assert 400 <= before < 400 + per_iteration + environments
    assert parts.metrics.episodes > 20


def test_nothing_is_trained_before_the_fill_is_over() -> None:
    parts = build()
    untrained = weights_sha256(parts.agent.q_network.variables)
    calls = parts.collector.variables()
    for iteration in run(parts, 150):
        if iteration.env_steps < FILL:
            assert iteration.train_steps_taken == 0
        assert (iteration.metrics is None) == (iteration.train_steps_taken == 0)
        if iteration.train_steps_taken == 0:
            assert weights_sha256(parts.agent.q_network.variables) == untrained
        assert (int(calls["collect_policy_calls"]) > 0) == (parts.metrics.env_steps > FILL + 3)
    assert weights_sha256(parts.agent.q_network.variables) != untrained


def test_a_budget_that_is_spent_leaves_nothing_to_do() -> None:
    parts = build()
    list(run(parts, 100))
    env_steps = parts.metrics.env_steps
    assert env_steps >= 100
    assert list(run(parts, 100)) == []
    assert list(run(parts, env_steps)) == []
    assert parts.metrics.env_steps == env_steps


@pytest.mark.parametrize("overlapped", [False, True])
def test_leaving_the_loop_and_starting_it_again_changes_nothing(overlapped: bool) -> None:
    """And a run of the same seed is the same run."""
    straight = build(create_collector__overlapped=overlapped)
    turns = [(turn.env_steps, turn.train_steps_taken) for turn in run(straight, 300)]
    expected = weights_sha256(straight.agent.q_network.variables)
    broken = build(create_collector__overlapped=overlapped)
    seen = []
    for stop_after in (1, 2, 1, 5, 1_000):
        for number, turn in enumerate(run(broken, 300), 1):
            seen.append((turn.env_steps, turn.train_steps_taken))
            if number == stop_after:
                break
    assert seen == turns
    assert weights_sha256(broken.agent.q_network.variables) == expected


@pytest.mark.parametrize(("environments", "per_iteration"), [(1, 16), (3, 16), (16, 64)])
def test_overlapped_each_turn_trains_for_the_steps_of_the_turns_before(
    environments: int, per_iteration: int
) -> None:
    """One train step for every 4 of them, counted exactly."""
    parts = build(
        create_environment__num_environments=environments,
        create_collector__overlapped=True,
        create_collector__env_steps_per_iteration=per_iteration,
    )
    taken = before = 0
    for iteration in run(parts, 400):
        taken += iteration.train_steps_taken
        assert iteration.env_steps == parts.metrics.env_steps
        if before >= FILL:
            assert per_iteration <= iteration.env_steps - before < per_iteration + environments
        train_steps = int(parts.agent.train_step_counter)
        assert train_steps == taken == 4 * (max(before - FILL, 0) // 16)
        assert int(parts.replay_buffer.samples_drawn) == train_steps // 4
        assert parts.replay_buffer.rows_added * environments >= iteration.env_steps
        before = iteration.env_steps
    assert 400 <= before < 400 + per_iteration + environments
    assert taken >= 4 * ((340 - per_iteration) // 16)


@pytest.mark.parametrize("lanes", [1, 2])
def test_the_graphs_that_play_and_train_take_lanes(lanes: int) -> None:
    """Both know the size of their batches, without which a batch would take one lane."""
    parts = build(
        create_q_network__conv_layers=((2, 2, 1),), create_q_network__convolution_lanes=lanes
    )
    collector = parts.collector
    playing = collector._collect.get_concrete_function(collector._current(), ())
    assert convolutions(playing) == lanes
    # The values and the targets of each of a group's four batches.
    training = parts.learner._train.get_concrete_function(tf.constant(1))
    assert convolutions(training) == 2 * 4 * lanes


def convolutions(function: Any) -> int:
    """Forward convolutions in a traced graph and in what it calls."""
    graph = function.graph.as_graph_def()
    nodes = [*graph.node, *(node for each in graph.library.function for node in each.node_def)]
    return sum(node.op == "Conv2D" for node in nodes)


@pytest.mark.parametrize("when", ["before", "after"])
def test_overlapped_it_makes_no_difference_which_of_both_is_faster(
    when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside, one_by_one = (build(create_collector__overlapped=True) for _ in range(2))
    monkeypatch.setattr(one_by_one.collector, "_thread", Executor(when))
    turns = [[tuple(turn[:2]) for turn in run(parts, 300)] for parts in (beside, one_by_one)]
    assert turns[0] == turns[1]
    assert weights_sha256(beside.agent.q_network.variables) == weights_sha256(
        one_by_one.agent.q_network.variables
    )


def test_overlapped_the_policy_acts_as_the_network_was_when_the_turn_began() -> None:
    parts = build(
        create_collector__overlapped=True,
        create_agent__epsilon_initial=0.0,
        create_agent__epsilon_final=0.0,
    )
    turns = run(parts, 300)
    for _ in range(6):
        next(turns)
    acting = parts.collector._policies["collect_policy"]
    for _ in range(4):
        expected = weights_sha256(parts.agent.q_network.variables)
        assert next(turns).train_steps_taken > 0
        assert weights_sha256(acting._q_network.variables) == expected
        assert weights_sha256(parts.agent.q_network.variables) != expected


def test_training_that_fails_leaves_nothing_playing(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = build(create_collector__overlapped=True)
    monkeypatch.setattr(parts.learner, "train", lambda train_steps: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(run(parts, 300))
    # The turn beside it was played to its end.
    assert parts.metrics.env_steps > FILL + 16


def test_another_seed_gives_other_weights_from_the_start_and_to_the_end() -> None:
    weights = []
    for seed in (1, 2):
        parts = build(seed)
        weights.append(weights_sha256(parts.agent.q_network.variables))
        list(run(parts, 100))
        weights.append(weights_sha256(parts.agent.q_network.variables))
    assert len(set(weights)) == 4


@pytest.mark.parametrize(
    ("limit", "spoil", "reason"),
    [
        (1e4, np.nan, "action values or targets are no finite numbers"),
        (1e4, np.inf, "action values or targets are no finite numbers"),
        (5.0, 1e3, r"action values reach [\d.,e+]+, beyond create_agent\.q_value_limit"),
    ],
)
def test_training_that_diverges_stops_before_the_step_and_keeps_its_batch(
    limit: float, spoil: float, reason: str, tmp_path: Path
) -> None:
    parts = build(
        create_agent__q_value_limit=limit, create_agent__target_update_period_train_steps=20
    )
    turns = run(parts, 300)
    while int(parts.agent.train_step_counter) < 12:
        next(turns)
    # What the next turn trains on is known: the counters decide it.
    sound = [variable.numpy() for variable in parts.agent.q_network.variables]
    bias = parts.agent.q_network.variables[-1]
    bias.assign(tf.fill(bias.shape, spoil))
    with pytest.raises(Divergence) as caught:
        next(turns)
    divergence = caught.value
    assert divergence.train_step == 13 == int(parts.agent.train_step_counter) + 1
    assert re.fullmatch(reason, divergence.reason)
    for variable, before in zip(parts.agent.q_network.variables[:-1], sound, strict=False):
        np.testing.assert_array_equal(variable.numpy(), before)
    written = np.load(divergence.write(RunDirectory(tmp_path)))
    parts.replay_buffer.samples_drawn.assign(3)
    expected = parts.replay_buffer.sample_transitions(16)
    np.testing.assert_array_equal(written["observation"], expected[0].observation[:4])
    np.testing.assert_array_equal(written["next_observation"], expected[2].observation[:4])
    np.testing.assert_array_equal(written["action"], expected[1][:4])
    np.testing.assert_array_equal(written["reward"], expected[2].reward[:4])
    assert written["q_values"].shape[0] == written["targets"].shape[0] == 4
