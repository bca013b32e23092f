"""Who plays when, for how long, and who is shown what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.trajectories import policy_step, trajectory

from dqn_breakout.agents.exploration import CountedPolicy, RandomPolicy
from dqn_breakout.collection import collector as collector_module
from dqn_breakout.collection.collector import Collector, create_collector
from dqn_breakout.collection.metrics import CollectionMetrics
from dqn_breakout.errors import UserError
from tests.scripted_games import (
    Move,
    Script,
    ScriptedGames,
    random_scripts,
    scripted_environment,
)

ENDLESS = [Script(1, [Move(0, 1)] * 60_000 + [Move(0, 0, "terminated")])]


class ConstantPolicy(CountedPolicy):
    """Always the same action; counts its calls like any other."""

    def __init__(self, environment: Any, action: int):
        super().__init__(
            environment.time_step_spec(), environment.action_spec(), 0, "constant", "Constant"
        )
        self._constant = action

    def _action(self, time_step: Any, policy_state: Any, seed: Any = None) -> Any:
        self.calls.assign_add(1)
        actions = tf.fill(tf.shape(time_step.step_type), self._constant)
        return policy_step.PolicyStep(actions, policy_state)


class Setting:
    """A collector over scripted games, and all that its observer was shown."""

    def __init__(
        self,
        scripts: list[list[Script]],
        fill: int = 10,
        iteration: int = 4,
        random_policy: bool = False,
    ):
        self.games = ScriptedGames(scripts)
        self.environment = scripted_environment(self.games, fire_on_reset=False)
        self.metrics = CollectionMetrics(self.environment.batch_size)
        self.seen: list[trajectory.Trajectory] = []
        specs = (self.environment.time_step_spec(), self.environment.action_spec())
        self.collector = Collector(
            self.environment,
            RandomPolicy(*specs, 1, "fill") if random_policy else self.constant(3),
            RandomPolicy(*specs, 1, "collection") if random_policy else self.constant(2),
            self._observe,
            self.metrics.observers,
            random_fill_env_steps=fill,
            env_steps_per_iteration=iteration,
            overlapped=False,
        )

    def constant(self, action: int) -> ConstantPolicy:
        return ConstantPolicy(self.environment, action)

    def _observe(self, step: trajectory.Trajectory) -> None:
        flat = tf.nest.flatten(step)

        def keep(*arrays: np.ndarray) -> None:
            self.seen.append(tf.nest.pack_sequence_as(step, [array.copy() for array in arrays]))

        tf.numpy_function(keep, flat, [])


def test_the_fill_is_random_and_what_follows_is_the_agents() -> None:
    setting = Setting([random_scripts(seed, 20, 9) for seed in range(2)])
    setting.collector.fill(setting.metrics.env_steps)
    fill = len(setting.seen)
    setting.collector.collect()
    setting.collector.collect()
    actions = [step.action.tolist() for step in setting.seen]
    assert actions == [[3, 3]] * fill + [[2, 2]] * (len(actions) - fill)
    assert len(actions) >= fill + 4
    calls = {name: int(variable) for name, variable in setting.collector.variables().items()}
    assert calls == {
        "random_policy_calls": fill,
        "collect_policy_calls": len(actions) - fill,
    }


def test_observers_are_shown_every_step_in_order_and_none_twice() -> None:
    setting = Setting([random_scripts(seed, 20, 9) for seed in range(3)], random_policy=True)
    setting.collector.fill(setting.metrics.env_steps)
    for _ in range(20):
        setting.collector.collect()
    oracle = scripted_environment(
        ScriptedGames([random_scripts(seed, 20, 9) for seed in range(3)]), fire_on_reset=False
    ).pyenv
    time_step = oracle.reset()
    for step in setting.seen:
        expected = trajectory.from_transition(
            time_step, policy_step.PolicyStep(step.action, (), ()), oracle.step(step.action)
        )
        for values, wanted in zip(tf.nest.flatten(step), tf.nest.flatten(expected), strict=True):
            np.testing.assert_array_equal(values, wanted)
        time_step = oracle.current_time_step()
    assert len(setting.seen) > 30


@pytest.mark.parametrize(("environments", "steps"), [(1, 4), (2, 2), (3, 2), (4, 1), (16, 1)])
def test_an_iteration_takes_its_steps_over_all_environments_together(
    environments: int, steps: int
) -> None:
    setting = Setting([ENDLESS] * environments, fill=environments, iteration=4)
    setting.collector.fill(setting.metrics.env_steps)
    assert setting.metrics.env_steps == environments
    for number in range(1, 6):
        setting.collector.collect()
        assert setting.metrics.env_steps == environments * (1 + number * steps)


def test_steps_that_only_start_a_game_do_not_count() -> None:
    """Three steps and a start, over and over: three of four trajectories count."""
    game = Script(1, [Move(0, 1), Move(0, 1), Move(0, 0, "terminated")])
    setting = Setting([[game]], fill=3, iteration=4)
    setting.collector.fill(setting.metrics.env_steps)
    assert (len(setting.seen), setting.metrics.env_steps) == (3, 3)
    setting.collector.collect()
    assert (len(setting.seen), setting.metrics.env_steps) == (9, 7)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector_module, "_FILL_PIECE_ENV_STEPS", 100)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("fill", [1, 60, 100, 150, 230])
def test_the_fill_ends_at_its_number_of_steps(fill: int) -> None:
    setting = Setting([ENDLESS], fill=fill)
    pieces = 0
    while setting.metrics.env_steps < fill:
        setting.collector.fill(setting.metrics.env_steps)
        pieces += 1
    assert setting.metrics.env_steps == fill
    assert pieces == -(-fill // 100)  # Progress shows now and then.


@pytest.mark.usefixtures("small_pieces")
def test_the_fill_of_several_environments_ends_less_than_a_step_of_all_too_late() -> None:
    setting = Setting([ENDLESS] * 16, fill=300)
    while setting.metrics.env_steps < 300:
        setting.collector.fill(setting.metrics.env_steps)
    assert setting.metrics.env_steps == 19 * 16


def test_a_restored_collector_goes_on_as_if_it_had_never_stopped() -> None:
    scripts = [random_scripts(seed, 50, 7) for seed in range(3)]
    setting, restored = (Setting(scripts, fill=30, random_policy=True) for _ in range(2))
    setting.collector.fill(setting.metrics.env_steps)
    for _ in range(7):
        setting.collector.collect()
    state = setting.collector.get_state()
    for name, variable in restored.collector.variables().items():
        variable.assign(setting.collector.variables()[name])
    restored.collector.set_state(state)
    shown = len(setting.seen)
    for _ in range(10):
        setting.collector.collect()
        restored.collector.collect()
    assert len(restored.seen) == len(setting.seen) - shown
    for one, other in zip(setting.seen[shown:], restored.seen, strict=True):
        for values, expected in zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True):
            np.testing.assert_array_equal(values, expected)


def test_a_state_can_be_had_before_anything_was_played() -> None:
    setting = Setting([random_scripts(0, 5, 7)])
    assert setting.collector.get_state()["lengths"].tolist() == [0]
    setting.collector.fill(setting.metrics.env_steps)
    assert len(setting.games.seeds) == 1  # The games were started once.


@pytest.mark.parametrize(
    "parameter", ["random_fill_env_steps", "env_steps_per_iteration", "overlapped"]
)
@pytest.mark.parametrize("value", [0, -1, 2.5, None])
def test_counts_out_of_range_are_refused_by_name(parameter: str, value: object) -> None:
    environment = scripted_environment(ScriptedGames([ENDLESS]))
    policy = ConstantPolicy(environment, 0)
    counts: dict[str, Any] = {
        "random_fill_env_steps": 10,
        "env_steps_per_iteration": 4,
        "overlapped": False,
    }
    with pytest.raises(UserError) as caught:
        create_collector(environment, policy, policy, print, [], **{**counts, parameter: value})
    assert caught.value.message.startswith(f"create_collector.{parameter} must be ")
