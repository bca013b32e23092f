"""Who plays when, for how long, and who is shown what."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.trajectories import policy_step, trajectory

from dqn_breakout.agents.exploration import CountedPolicy, RandomPolicy
from dqn_breakout.collection import collector as collector_module
from dqn_breakout.collection.collector import Collector
from dqn_breakout.collection.metrics import CollectionMetrics
from dqn_breakout.errors import UserError
from tests.recorded_play import same
from tests.scripted_games import Move, Script, ScriptedGames, random_scripts, scripted_environment

ENDLESS = [Script(1, [Move(0, 1)] * 60_000 + [Move(0, 0, "terminated")])]
COUNTS: dict[str, Any] = {
    "random_fill_env_steps": 10,
    "env_steps_per_iteration": 4,
    "overlapped": False,
}


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

    def __init__(self, scripts: list[list[Script]], random: bool = False, **counts: Any):
        self.games = ScriptedGames(scripts)
        environment = scripted_environment(self.games, fire_on_reset=False)
        self.metrics = CollectionMetrics(environment.batch_size)
        self.seen: list[trajectory.Trajectory] = []
        specs = (environment.time_step_spec(), environment.action_spec())
        fill: Any = ConstantPolicy(environment, 3)
        collect: Any = ConstantPolicy(environment, 2)
        if random:
            fill, collect = (RandomPolicy(*specs, 1, stream) for stream in ("fill", "collection"))
        observers = self.metrics.observers
        self.collector = Collector(
            environment, fill, collect, self._observe, observers, **{**COUNTS, **counts}
        )

    def fill(self) -> None:
        self.collector.fill(self.metrics.env_steps)

    def _observe(self, step: trajectory.Trajectory) -> None:
        def keep(*arrays: np.ndarray) -> None:
            self.seen.append(tf.nest.pack_sequence_as(step, [array.copy() for array in arrays]))

        tf.numpy_function(keep, tf.nest.flatten(step), [])


def test_the_fill_is_random_and_what_follows_is_the_agents() -> None:
    setting = Setting([random_scripts(seed, 20, 9) for seed in range(2)])
    setting.fill()
    fill = len(setting.seen)
    setting.collector.collect()
    setting.collector.collect()
    actions = [step.action.tolist() for step in setting.seen]
    assert actions == [[3, 3]] * fill + [[2, 2]] * (len(actions) - fill)
    assert len(actions) >= fill + 4
    calls = {name: int(variable) for name, variable in setting.collector.variables().items()}
    assert calls == {"random_policy_calls": fill, "collect_policy_calls": len(actions) - fill}


def test_observers_are_shown_every_step_in_order_and_none_twice() -> None:
    scripts = [random_scripts(seed, 20, 9) for seed in range(3)]
    setting = Setting(scripts, random=True)
    setting.fill()
    for _ in range(20):
        setting.collector.collect()
    oracle = scripted_environment(ScriptedGames(scripts), fire_on_reset=False).pyenv
    time_step = oracle.reset()
    for step in setting.seen:
        played = policy_step.PolicyStep(step.action, (), ())
        expected = trajectory.from_transition(time_step, played, oracle.step(step.action))
        assert same(step, expected)
        time_step = oracle.current_time_step()
    assert len(setting.seen) > 30


@pytest.mark.parametrize(("environments", "steps"), [(1, 4), (3, 2), (16, 1)])
def test_a_turn_takes_its_steps_over_all_environments_together(
    environments: int, steps: int
) -> None:
    setting = Setting([ENDLESS] * environments, random_fill_env_steps=environments)
    setting.fill()
    for number in range(5):
        assert setting.metrics.env_steps == environments * (1 + number * steps)
        setting.collector.collect()


def test_steps_that_only_start_a_game_do_not_count() -> None:
    """Three steps and a start, over and over: three of four trajectories count."""
    game = Script(1, [Move(0, 1), Move(0, 1), Move(0, 0, "terminated")])
    setting = Setting([[game]], random_fill_env_steps=3)
    setting.fill()
    assert (len(setting.seen), setting.metrics.env_steps) == (3, 3)
    setting.collector.collect()
    assert (len(setting.seen), setting.metrics.env_steps) == (9, 7)


@pytest.mark.parametrize(
    ("environments", "fill", "taken"),
    # Of several environments, it ends less than a step of all too late.
    [(1, 1, 1), (1, 100, 100), (1, 230, 230), (16, 300, 304)],
)
def test_the_fill_ends_at_its_number_of_steps(
    environments: int, fill: int, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector_module, "_FILL_PIECE_ENV_STEPS", 100)
    setting = Setting([ENDLESS] * environments, random_fill_env_steps=fill)
    pieces = 0
    while setting.metrics.env_steps < fill:
        setting.fill()
        pieces += 1
    assert setting.metrics.env_steps == taken
    assert pieces == -(-fill // 100)  # Progress shows now and then.


def test_a_restored_collector_goes_on_as_if_it_had_never_stopped() -> None:
    scripts = [random_scripts(seed, 50, 7) for seed in range(3)]
    setting, restored = (Setting(scripts, random=True) for _ in range(2))
    assert setting.collector.state()["lengths"].tolist() == [0] * 3
    setting.fill()
    assert len(setting.games.seeds) == 1  # The games were started once.
    for _ in range(7):
        setting.collector.collect()
    for name, variable in restored.collector.variables().items():
        variable.assign(setting.collector.variables()[name])
    restored.collector.restore(setting.collector.state())
    setting.seen.clear()
    for _ in range(10):
        setting.collector.collect()
        restored.collector.collect()
    assert same(restored.seen, setting.seen)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"random_fill_env_steps": 0}, "random_fill_env_steps must be a whole number of 1 or more"),
        (
            {"random_fill_env_steps": 1},
            "random_fill_env_steps is 1, and a step of all games",
        ),
        ({"env_steps_per_iteration": 10_001}, "env_steps_per_iteration is too large: at most 10,"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=rf"^create_collector\.{said}"):
        Setting([ENDLESS] * 2, **changes)
