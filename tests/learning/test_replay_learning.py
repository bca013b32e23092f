"""The parts of a real run, small ones: what a turn takes in which order, to the step."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gin
import numpy as np
import pytest
import tensorflow as tf

from dqn_breakout import config, experiment
from dqn_breakout.experiment import Experiment
from dqn_breakout.learning.divergence import Divergence
from dqn_breakout.learning.learning import Learning, turns
from tests.scripted_games import ScriptedGames, random_scripts

FILL = 60

pytestmark = pytest.mark.usefixtures("clean_gin")


@gin.configurable
def games_of_learning_test(**arguments: Any) -> ScriptedGames:
    """Binds as `create_environment.games = @games_of_learning_test`."""
    places = range(arguments["batch_size"])
    return ScriptedGames([random_scripts(place, 50, longest=15) for place in places])


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
    games = "create_environment.games = @games_of_learning_test"
    config.parse(["breakout.gin"], [games, *bindings])
    return experiment.build(seed)


@pytest.mark.parametrize(
    ("environments", "ratio", "group", "per_turn", "overlapped"),
    [
        (1, 4, 1, 4, False),
        (3, 3, 4, 7, False),
        (16, 4, 4, 64, False),
        (1, 4, 4, 16, True),
        (16, 4, 4, 64, True),
    ],
)
def test_the_update_ratio_is_kept_to_the_step(
    environments: int, ratio: int, group: int, per_turn: int, overlapped: bool
) -> None:
    """Overlapped, a turn trains for the steps of the turns before it. The fill trains nothing."""
    parts = build(
        create_environment__num_environments=environments,
        create_learner__env_steps_per_train_step=ratio,
        create_learner__train_steps_per_group=group,
        create_collector__env_steps_per_iteration=per_turn,
        create_collector__overlapped=overlapped,
    )
    learning: Any = parts.learning
    untrained = parts.weights_sha256()
    taken = before = 0
    for turn in turns(learning, 400):
        taken += turn.train_steps_taken
        env_steps = turn.env_steps
        assert env_steps == learning.env_steps == parts.metrics.env_steps > before
        if before >= FILL:
            # A turn stops at the first step of all environments that fills it.
            assert per_turn <= env_steps - before < per_turn + environments
        explored = max((before if overlapped else env_steps) - FILL, 0)
        assert taken == group * (explored // (ratio * group))
        named = parts.agent.metric_names if turn.train_steps_taken else ()
        assert set(turn.metrics) == set(named)
        assert (parts.weights_sha256() == untrained) == (taken == 0)
        calls = learning.parts["collection"].state()["collect_policy_calls"]
        assert (calls > 0) == (before >= FILL)
        assert learning.replay.samples_drawn == taken // group
        assert learning.replay.rows_added * environments >= env_steps
        epsilon = np.clip(1 - 0.99 * (env_steps - FILL) / 200, 0.01, 1)  # 1 in the fill.
        assert learning.status() == {
            "train_steps": taken,
            "epsilon": pytest.approx(epsilon),
            "replay_transitions": learning.replay.num_frames(),
        }
        before = env_steps
    assert 400 <= before < 400 + per_turn + environments
    assert taken >= group * ((340 - per_turn) // (ratio * group))
    assert parts.metrics.episodes > 20


# --- Restart --------------------------------------------------------------------------------------


class Executor:
    """Plays before the training of a turn, or after it, instead of beside it."""

    def __init__(self, when: str):
        self.when = when

    def submit(self, function: Any, *arguments: Any) -> Any:
        played = function(*arguments) if self.when == "before" else None
        return SimpleNamespace(result=lambda: played or function(*arguments))

    def shutdown(self, wait: bool) -> None: ...


def saved(learning: Learning) -> tuple[dict[str, Any], int, Any]:
    """All that a checkpoint holds: the state of each part, and the stored rows."""
    rows = learning.rows
    assert rows is not None
    first = max(0, rows.rows_added - rows.max_length)
    states = {name: part.state() for name, part in learning.parts.items()}
    return states, first, rows.read_rows(first, rows.rows_added)


def restore(learning: Learning, states: dict[str, Any], first: int, rows: Any) -> None:
    assert learning.rows is not None
    learning.rows.write_rows(first, rows)
    for name, part in learning.parts.items():
        part.restore(states[name])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"create_collector__overlapped": True},
        {"QLearning__double": True, "create_learner__targets_ahead": False},
    ],
    ids=lambda changes: ", ".join(changes) or "plain",
)
def test_leaving_after_any_turn_and_going_on_elsewhere_changes_nothing(
    changes: dict[str, Any],
) -> None:
    """The same seed is the same run; overlapped, whichever of playing and training is faster."""
    straight, again = build(**changes), build(**changes)
    taken, moments = [], []
    for turn in turns(straight.learning, 300):
        taken.append(turn[:2])
        moments.append(saved(straight.learning))
    expected = straight.weights_sha256()
    assert list(turns(straight.learning, 300)) == []
    list(turns(again.learning, 150))
    collector = again.learning.collector  # type: ignore[attr-defined]
    for number in (0, 3, 8, len(moments) - 2):
        if "create_collector__overlapped" in changes and number:
            collector._thread = Executor("before" if number == 3 else "after")
        # What was played meanwhile is replaced, all of it.
        restore(again.learning, *moments[number])
        assert [turn[:2] for turn in turns(again.learning, 300)] == taken[number + 1 :]
        assert again.weights_sha256() == expected
        assert again.metrics.average_return == straight.metrics.average_return


def test_another_seed_gives_other_weights_and_other_games() -> None:
    one, other = build(1), build(2)
    assert one.weights_sha256() != other.weights_sha256()
    played = [parts.environment.reset().observation.numpy() for parts in (one, other)]
    assert not np.array_equal(*played)


# --- Beside one another ---------------------------------------------------------------------------


def test_overlapped_the_policy_acts_as_the_network_was_when_the_turn_began(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parts = build(create_collector__overlapped=True)
    learning: Any = parts.learning
    list(turns(learning, 150))
    acting = learning.collector._policies["collect_policy"]
    for _ in range(3):
        expected = [variable.numpy() for variable in parts.agent.q_network.variables]
        assert learning.turn().train_steps_taken > 0
        for variable, before in zip(acting._network.variables, expected, strict=True):
            np.testing.assert_array_equal(variable, before)
        assert not np.array_equal(parts.agent.q_network.variables[0], expected[0])
    # Training that fails leaves nothing playing: the turn beside it was played to its end.
    monkeypatch.setattr(learning.learner, "train", lambda train_steps: 1 / 0)
    env_steps = learning.env_steps
    with pytest.raises(ZeroDivisionError):
        learning.turn()
    assert learning.env_steps >= env_steps + 16


def test_what_a_person_is_told_before_a_long_run() -> None:
    learning = build(create_learner__env_steps_per_train_step=2).learning
    forward = 2 * (2 * 3 * 4 * 6 + 6 * 4)  # Of one observation of 2x3 pixels, through 6 units.
    # An action, and half of a train step on 4 samples: three forward passes and a bit.
    assert learning.flops_per_env_step() == pytest.approx(forward * (1 + 3.64 * 4 / 2))
    told = learning.plan()["replay buffer"]
    assert told.startswith("399 transitions, about 0.00 GB when full; this machine has ")


# --- Divergence -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "spoil", "reason", "mend"),
    [
        (1e4, np.nan, "action values or targets are no finite numbers", "Try a lower create_opt"),
        (
            5.0,
            1e3,
            r"action values reach [\d.,e+]+, beyond create_agent\.q_value_limit",
            "Give a higher create_agent.q_value_limit",
        ),
    ],
)
def test_training_that_diverges_stops_before_the_step_and_keeps_its_batch(
    limit: float, spoil: float, reason: str, mend: str, tmp_path: Path
) -> None:
    parts = build(
        create_agent__q_value_limit=limit, create_agent__target_update_period_train_steps=20
    )
    learning: Any = parts.learning
    while learning.status()["train_steps"] < 12:
        learning.turn()
    # What the next turn trains on is known: the counters decide it.
    sound = [variable.numpy() for variable in parts.agent.q_network.variables]
    bias = parts.agent.q_network.variables[-1]
    bias.assign(tf.fill(bias.shape, spoil))
    with pytest.raises(Divergence) as caught:
        learning.turn()
    assert caught.value.train_step == 13 == learning.status()["train_steps"] + 1
    assert re.fullmatch(reason, caught.value.reason)
    assert caught.value.mend.startswith(mend)
    for variable, before in zip(parts.agent.q_network.variables[:-1], sound, strict=False):
        np.testing.assert_array_equal(variable.numpy(), before)
    caught.value.write(tmp_path / "diverged.npz")
    written = np.load(tmp_path / "diverged.npz")
    learning.replay.samples_drawn.assign(3)
    for name, values in learning.replay.sample(16)._asdict().items():
        np.testing.assert_array_equal(written[name], values[:4], name)
    assert written["q_values"].shape[0] == written["targets"].shape[0] == 4


def test_the_batch_kept_is_that_of_the_step_that_failed_wherever_in_its_group() -> None:
    learning: Any = build(create_agent__target_update_period_train_steps=20).learning
    while learning.status()["train_steps"] < 12:
        learning.turn()
    replay = learning.replay
    keys = replay.sample(16).key.numpy()
    replay.samples_drawn.assign(3)
    # Of the group's third batch, one transition that neither of the first two has is spoilt.
    (number, *_) = [at for at in range(8, 12) if keys[at] not in keys[:8]]
    place, row = divmod(int(keys[number]), replay.max_length)
    rows = replay.read_rows(0, replay.rows_added)
    rows["discount"][row, place] = np.nan
    replay.write_rows(0, rows)
    with pytest.raises(Divergence) as caught:
        learning.learner.train(4)
    assert caught.value.train_step == 15
    np.testing.assert_array_equal(caught.value.batch["key"], keys[8:12])
    assert not np.isfinite(caught.value.batch["targets"][number - 8])
