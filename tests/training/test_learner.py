"""How many train steps are taken, on which batches, and that groups change nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.agents.data_converter import AsTransition, DataContext
from tf_agents.trajectories import time_step as ts

from dqn_breakout.agents import dqn_agent
from dqn_breakout.agents.rmsprop import create_optimizer
from dqn_breakout.errors import UserError
from dqn_breakout.networks.nature_cnn import create_q_network
from dqn_breakout.training.learner import Learner, create_learner
from tests.recorded_play import Recording
from tests.scripted_games import random_scripts
from tests.two_states import (
    ACTION_SPEC,
    ARGUMENTS,
    OPTIMIZER,
    TIME_STEP_SPEC,
    create_two_state_agent,
    random_experience,
)

BATCH_SIZE = 16
COUNTS: dict[str, Any] = {
    "batch_size": BATCH_SIZE,
    "env_steps_per_train_step": 4,
    "train_steps_per_group": 1,
}
CHOICES = {"targets_ahead": False}


class FixedExperience:
    """Gives the same transitions in the same order, however many are asked for at once."""

    def __init__(self, transitions: int = 40 * BATCH_SIZE):
        self.experience = random_experience(0, transitions, largest_reward=7)
        self.drawn = tf.Variable(0)

    def sample_transitions(self, number: int) -> Any:
        start = self.drawn.assign_add(number) - number
        rows = tf.nest.map_structure(
            lambda values: tf.gather(values, start + tf.range(number)), self.experience
        )
        time_steps, policy_steps, next_time_steps = AsTransition(
            DataContext(TIME_STEP_SPEC, ACTION_SPEC, info_spec=()), squeeze_time_dim=True
        )(rows)
        return time_steps, policy_steps.action, next_time_steps

    def batch(self, number: int) -> Any:
        rows = slice(number * BATCH_SIZE, (number + 1) * BATCH_SIZE)
        return tf.nest.map_structure(lambda values: values[rows], self.experience)


def learner(agent: Any, **changes: int) -> Learner:
    return Learner(agent, FixedExperience(), **{**COUNTS, **CHOICES, **changes})


def weights(agent: Any) -> np.ndarray:
    return agent.q_network.variables[0].numpy()


def test_each_train_step_is_one_of_the_agents_on_a_fresh_batch() -> None:
    agent, oracle = (create_two_state_agent() for _ in range(2))
    experience = FixedExperience()
    trained = learner(agent)
    number = 0
    for steps in (1, 3, 2):
        metrics = trained.train(steps)
        infos = []
        for _ in range(steps):
            infos.append(oracle.train(experience.batch(number)))
            number += 1
        np.testing.assert_allclose(weights(agent), weights(oracle), rtol=1e-5)
        # What is told is the mean over the steps.
        assert float(metrics.loss) == pytest.approx(np.mean([info.loss for info in infos]))
        for name in ("mean_q", "gradient_norm"):
            expected = np.mean([getattr(info.extra, name) for info in infos])
            assert float(getattr(metrics, name)) == pytest.approx(expected, rel=1e-5)
    assert int(agent.train_step_counter) == number == 6


@pytest.mark.parametrize("targets_ahead", [False, True])
@pytest.mark.parametrize("group", [2, 4])
def test_grouped_train_steps_are_those_of_single_ones(group: int, targets_ahead: bool) -> None:
    """Through several copies to the target network, which come at the ends of groups."""
    single, grouped = (create_two_state_agent(target_update_period_train_steps=8) for _ in range(2))
    one = learner(single)
    several = learner(grouped, train_steps_per_group=group, targets_ahead=targets_ahead)
    for steps in (4, 8, 4, 12):
        expected, metrics = one.train(steps), several.train(steps)
        np.testing.assert_allclose(weights(grouped), weights(single), rtol=1e-5)
        for name in ("loss", "mean_q"):  # The norm is that of each group's last step.
            value, other = float(getattr(metrics, name)), float(getattr(expected, name))
            assert value == pytest.approx(other, rel=1e-5)
        np.testing.assert_allclose(
            grouped.state_variables()["target/000"],
            single.state_variables()["target/000"],
            rtol=1e-5,
        )
    assert int(grouped.train_step_counter) == int(single.train_step_counter) == 28


def create_picture_agent(recording: Recording, losses: tf.Variable) -> Any:
    """An agent with a convolution, for `recording`'s frames, that keeps a group's losses."""
    spec = recording.data_spec
    time_step_spec = ts.time_step_spec(spec.observation)
    network = create_q_network(
        spec.observation,
        spec.action,
        3,
        conv_layers=((4, 2, 1),),
        dense_units=(8,),
        convolution_lanes=1,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dqn_agent, "create_optimizer", lambda: create_optimizer(**OPTIMIZER))
        arguments = {**ARGUMENTS, "target_update_period_train_steps": 8}
        agent = dqn_agent.create_agent(
            time_step_spec, spec.action, network, lambda: tf.constant(0), 7, **arguments
        )
    train_on_targets = agent.train_on_targets

    def kept(*batch: Any) -> Any:
        place = agent.train_step_counter % losses.shape[0]
        info = train_on_targets(*batch)
        losses.scatter_nd_update([[place]], [info.loss])
        return info

    agent.train_on_targets = kept
    return agent


@pytest.mark.parametrize("targets_ahead", [False, True])
def test_a_group_on_the_replay_buffer_is_its_batches_one_after_another(targets_ahead: bool) -> None:
    """One drawn sample: as a group, and as four slices, through a copy to the target network."""
    recording = Recording([random_scripts(place, 60, longest=14) for place in range(3)])
    buffer = recording.buffer(max_length=200)
    recording.play(150, buffer)
    group, size = 4, 8
    losses = [tf.Variable(tf.zeros(group)) for _ in range(2)]
    grouped, single = (create_picture_agent(recording, each) for each in losses)
    counts = {**COUNTS, "batch_size": size, "train_steps_per_group": group}
    trained = Learner(grouped, buffer, **counts, targets_ahead=targets_ahead)
    initial = single.q_network.variables[0].numpy()
    for number in range(3):
        buffer.samples_drawn.assign(number)
        sampled = buffer.sample_transitions(group * size)
        buffer.samples_drawn.assign(number)
        metrics = trained.train(group)
        for place in range(group):
            rows = slice(place * size, (place + 1) * size)
            batch = tf.nest.map_structure(lambda values, rows=rows: values[rows], sampled)
            single.train_on_targets(
                batch.time_steps, batch.actions, single.td_targets(batch.next_time_steps)
            )
        assert np.unique(losses[1].numpy()).size == group
        np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
        assert float(metrics.loss) == pytest.approx(np.mean(losses[1]), rel=1e-4)
        for network in ("_q_network", "_target_q_network"):
            variables, expected = (getattr(agent, network).variables for agent in (grouped, single))
            for variable, other in zip(variables, expected, strict=True):
                np.testing.assert_allclose(variable, other, rtol=1e-4, atol=1e-6)
    assert np.abs(single.q_network.variables[0].numpy() - initial).max() > 0.05


def test_one_call_or_many_are_the_same() -> None:
    at_once, one_by_one = (create_two_state_agent() for _ in range(2))
    learner(at_once, train_steps_per_group=2).train(12)
    many = learner(one_by_one, train_steps_per_group=2)
    for _ in range(6):
        many.train(2)
    np.testing.assert_array_equal(weights(at_once), weights(one_by_one))


def test_a_group_draws_one_sample_that_holds_all_of_its_batches() -> None:
    asked = []

    class Asked(FixedExperience):
        def sample_transitions(self, number: int) -> Any:
            asked.append(number)
            return super().sample_transitions(number)

    experience = Asked()
    counts = {**COUNTS, **CHOICES, "train_steps_per_group": 3}
    Learner(create_two_state_agent(), experience, **counts).train(6)
    assert set(asked) == {3 * BATCH_SIZE}
    assert int(experience.drawn) == 6 * BATCH_SIZE


@pytest.mark.parametrize(
    ("env_steps_since_fill", "taken", "ratio", "group", "due"),
    [
        (0, 0, 4, 1, 0),
        (3, 0, 4, 1, 0),
        (4, 0, 4, 1, 1),
        (64, 0, 4, 1, 16),
        (64, 10, 4, 1, 6),
        (67, 16, 4, 1, 0),
        (68, 16, 4, 1, 1),
        (15, 0, 4, 4, 0),
        (16, 0, 4, 4, 4),
        (31, 4, 4, 4, 0),
        (64, 0, 4, 4, 16),
        (63, 0, 4, 4, 12),
        (10, 0, 1, 4, 8),
        (100, 0, 250, 1, 0),
        (-20_000, 0, 4, 1, 0),
        (-1, 0, 1, 4, 0),
    ],
)
def test_train_steps_due(
    env_steps_since_fill: int, taken: int, ratio: int, group: int, due: int
) -> None:
    agent = create_two_state_agent()
    agent.train_step_counter.assign(taken)
    counts = {"env_steps_per_train_step": ratio, "train_steps_per_group": group}
    assert learner(agent, **counts).train_steps_due(env_steps_since_fill) == due


@pytest.mark.parametrize("parameter", list(COUNTS))
@pytest.mark.parametrize("value", [0, -1, 2.5, None, True])
def test_counts_out_of_range_are_refused_by_name(parameter: str, value: object) -> None:
    agent = create_two_state_agent()
    with pytest.raises(UserError) as caught:
        create_learner(agent, FixedExperience(), **{**COUNTS, **CHOICES, parameter: value})
    assert caught.value.message.startswith(f"create_learner.{parameter} must be ")


def test_a_choice_that_is_none_is_refused() -> None:
    choices = {**COUNTS, "targets_ahead": 1}
    with pytest.raises(UserError, match=r"create_learner\.targets_ahead must be "):
        create_learner(create_two_state_agent(), FixedExperience(), **choices)


def test_a_group_across_a_copy_to_the_target_network_is_refused() -> None:
    agent = create_two_state_agent(target_update_period_train_steps=6)
    create_learner(agent, FixedExperience(), **{**COUNTS, **CHOICES, "train_steps_per_group": 3})
    message = (
        r"create_learner\.train_steps_per_group is 4, which does not divide "
        r"create_agent\.target_update_period_train_steps \(6\); choose one that does\."
    )
    with pytest.raises(UserError, match=message):
        create_learner(
            agent, FixedExperience(), **{**COUNTS, **CHOICES, "train_steps_per_group": 4}
        )
