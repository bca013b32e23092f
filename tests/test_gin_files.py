"""Tests of every file in gin/: it runs, all of it is used, and its numbers are its source's."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import gin
import pytest

from dqn_breakout import config, experiment, used_config
from dqn_breakout.evaluation import protocols
from dqn_breakout.runs.directory import RunDirectory

# Small enough for seconds; the number of environments and the rules of the game stay the file's.
TINY = (
    "create_q_network.conv_layers = ((4, 8, 4), (4, 4, 2))",
    "create_q_network.dense_units = (16,)",
    "create_environment.max_episode_steps = 8",
    "create_collector.random_fill_env_steps = 64",
    "create_learner.batch_size = 4",
    "create_learner.train_steps_per_group = 1",
    "create_replay_buffer.capacity_transitions = 400",
    "train.total_env_steps = 192",
    "train.log_period_env_steps = 64",
    "train.checkpoint_period_env_steps = 128",
    "train.evaluation_period_env_steps = 192",
    "train.evaluation_games = 1",
    "train.evaluation_video_seconds = 0",
)


pytestmark = pytest.mark.usefixtures("clean_gin")


def text_of(*files: str, bindings: tuple[str, ...] = ()) -> str:
    """What gin files and bindings come to together, includes and all, as one text."""
    config.parse(files, bindings)
    try:
        return str(gin.config_str())
    finally:
        gin.clear_config()


def settings(*files: str, bindings: tuple[str, ...] = ()) -> dict[str, str]:
    return used_config.bindings(text_of(*files, bindings=bindings))


# A file that says which games to play can run; the others are given after one that does.
STANDING_ALONE = [
    name for name in config.available() if "create_environment.games" in settings(name)
]
FRAGMENTS = [name for name in config.available() if name not in STANDING_ALONE]


def test_every_file_is_told_to_stand_alone_or_to_be_a_fragment():
    assert {
        "breakout.gin",
        "breakout_book.gin",
        "laptop.gin",
        "nature.gin",
        "pong.gin",
        "space_invaders.gin",
    } <= set(STANDING_ALONE)
    assert {"short.gin", "smoke.gin"} <= set(FRAGMENTS)


def test_the_folder_holds_gin_files_only():
    # A package named gin would hide the library of that name.
    assert {path.suffix for path in config.GIN_DIRECTORY.iterdir()} == {".gin"}


# --- Every file runs, and every binding in it is used ---------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", STANDING_ALONE)
def test_a_file_trains_and_evaluates_and_uses_all_of_its_bindings(name, tmp_path, monkeypatch):
    # A game of minutes under a protocol that knows nothing of the limit above.
    for protocol in protocols.PROTOCOLS.values():
        short = dataclasses.replace(protocol, max_ale_frames=120)
        monkeypatch.setitem(protocols.PROTOCOLS, protocol.name, short)
    given = settings(name)
    expected = settings(name, "smoke.gin", bindings=TINY)
    run = RunDirectory(tmp_path / "run")

    config.parse([name, "smoke.gin"], TINY)
    with config.building():
        assert experiment.train(run.path, 7) == 0

    assert used_config.unused_bindings() == []
    operative = used_config.bindings(used_config.operative_config())
    assert operative.keys() >= given.keys()
    assert {binding: operative[binding] for binding in expected} == expected
    kept = used_config.bindings(run.config_gin.read_text())
    assert {binding: kept[binding] for binding in expected} == expected

    summary = json.loads(run.summary_json.read_text())
    environments = int(given["create_environment.num_environments"])
    assert 192 <= summary["env_steps"] < 192 + 64 + environments
    assert summary["train_steps"] >= 16
    assert summary["episodes"] > 0
    (path,) = run.evaluations.iterdir()
    scores = json.loads(path.read_text())
    assert repr(scores["game"]) == given["create_environment.game"]
    assert repr(scores["protocol"]["name"]) == given["train.evaluation_protocol"]
    assert len(scores["returns"]) == 1
    assert len(list(run.checkpoints.iterdir())) == 2


@pytest.mark.parametrize("fragment", FRAGMENTS)
@pytest.mark.parametrize("name", STANDING_ALONE)
def test_a_fragment_only_changes_what_the_file_before_it_sets(name, fragment):
    alone, with_fragment = settings(name), settings(name, fragment)
    changes = settings(fragment)
    assert changes
    assert with_fragment == {**alone, **changes}
    assert with_fragment.keys() == alone.keys()


@pytest.mark.parametrize("name", STANDING_ALONE)
def test_smoke_trains_at_least_fifty_times(name):
    found = {key: int(value) for key, value in numbers(name, "smoke.gin").items()}
    after_fill = found["train.total_env_steps"] - found["create_collector.random_fill_env_steps"]
    assert after_fill // found["create_learner.env_steps_per_train_step"] >= 50


def numbers(*files: str) -> dict[str, str]:
    return {key: value for key, value in settings(*files).items() if value.isdigit()}


# --- What the files say ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "game"), [("pong.gin", "Pong"), ("space_invaders.gin", "SpaceInvaders")]
)
def test_another_game_is_the_only_difference(name, game):
    assert used_config.differences(text_of("breakout.gin"), text_of(name)) == [
        f"create_environment.game: 'Breakout' there, '{game}' here"
    ]
    statements = [
        line
        for line in (config.GIN_DIRECTORY / name).read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert statements == ["include 'breakout.gin'", f"create_environment.game = '{game}'"]


def test_a_laptop_learns_the_same():
    assert used_config.differences(text_of("breakout.gin"), text_of("laptop.gin")) == [
        "create_replay_buffer.frame_table: @plain_frames there, @compressed_frames here"
    ]


def test_short_is_a_million_steps_and_nothing_else():
    assert used_config.differences(
        text_of("breakout.gin"), text_of("breakout.gin", "short.gin")
    ) == ["train.total_env_steps: 10000000 there, 1000000 here"]


# Mnih et al. 2015, Extended Data Table 1, by the table's own names. One step of the environment is
# the table's "frame" as the agent sees it.
NATURE_TABLE = [
    ("minibatch size", "create_learner.batch_size", 32),
    ("replay memory size", "create_replay_buffer.capacity_transitions", 1_000_000),
    ("target network update frequency", "create_agent.target_update_period_train_steps", 10_000),
    ("discount factor", "create_agent.gamma", 0.99),
    ("action repeat", "create_environment.frame_skip", 4),
    ("update frequency", "create_learner.env_steps_per_train_step", 4),
    ("learning rate", "create_optimizer.learning_rate", 0.00025),
    ("gradient momentum and squared gradient momentum", "create_optimizer.rho", 0.95),
    # Of gradients summed over a batch; here they are averages, and their squares 32^2 smaller.
    ("min squared gradient", "create_optimizer.epsilon", 0.01 / 32**2),
    ("initial exploration", "create_agent.epsilon_initial", 1.0),
    ("final exploration", "create_agent.epsilon_final", 0.1),
    ("final exploration frame", "create_agent.epsilon_decay_env_steps", 1_000_000),
    ("replay start size", "create_collector.random_fill_env_steps", 50_000),
    ("no-op max", "create_environment.noop_max", 30),
]

# The same paper, Methods.
NATURE_METHODS = [
    ("Model architecture", "create_q_network.conv_layers", ((32, 8, 4), (64, 4, 2), (64, 3, 1))),
    ("Model architecture", "create_q_network.dense_units", (512,)),
    ("Algorithm 1: act, then train", "create_collector.overlapped", False),
    ("Training details: rewards clipped to -1 and 1", "create_agent.reward_clip", 1.0),
    ("Training details: a lost life ends", "create_environment.terminal_on_life_loss", True),
    ("Training details: 50 million frames", "train.total_env_steps", 50_000_000),
    ("Evaluation procedure: 5 minutes", "create_environment.max_episode_steps", 5 * 60 * 60 // 4),
    ("one game at a time", "create_environment.num_environments", 1),
    ("one game at a time", "create_learner.train_steps_per_group", 1),
    ("one game at a time", "create_collector.env_steps_per_iteration", 4),
    ("the gradient alone", "create_optimizer.momentum", 0.0),
    ("mean and mean square of the gradient", "create_optimizer.centered", True),
    ("added to the squared gradient", "create_optimizer.epsilon_inside_root", True),
    ("no sticky actions", "create_environment.sticky_action_probability", 0.0),
    ("only no-ops open a game", "create_environment.fire_on_reset", False),
    ("scored by its own procedure", "train.evaluation_protocol", "nature"),
]

# Géron 2019, "Hands-On Machine Learning with Scikit-Learn, Keras, and TensorFlow", 2nd edition,
# chapter 18, section "The TF-Agents Library", by the names in the book's code.
BOOK = [
    ("environment_name: BreakoutNoFrameskip-v4", "create_environment.game", "Breakout"),
    ("the same: no sticky actions", "create_environment.sticky_action_probability", 0.0),
    ("suite_atari.load: one environment", "create_environment.num_environments", 1),
    ("max_episode_steps", "create_environment.max_episode_steps", 27_000),
    ("AtariPreprocessing's frame_skip", "create_environment.frame_skip", 4),
    ("AtariPreprocessing's default", "create_environment.terminal_on_life_loss", False),
    ("no wrapper opens with no-ops", "create_environment.noop_max", 0),
    ("no wrapper presses FIRE", "create_environment.fire_on_reset", False),
    ("conv_layer_params", "create_q_network.conv_layers", ((32, 8, 4), (64, 4, 2), (64, 3, 1))),
    ("fc_layer_params", "create_q_network.dense_units", (512,)),
    ("RMSprop's lr", "create_optimizer.learning_rate", 2.5e-4),
    ("RMSprop's rho", "create_optimizer.rho", 0.95),
    ("RMSprop's momentum", "create_optimizer.momentum", 0.0),
    ("RMSprop's epsilon", "create_optimizer.epsilon", 0.00001),
    ("Keras's form without momentum", "create_optimizer.epsilon_inside_root", False),
    ("RMSprop's centered", "create_optimizer.centered", True),
    ("initial_learning_rate of epsilon_fn", "create_agent.epsilon_initial", 1.0),
    ("end_learning_rate of epsilon_fn", "create_agent.epsilon_final", 0.01),
    # decay_steps = 250000 // update_period train steps, one every update_period env steps.
    ("decay_steps of epsilon_fn", "create_agent.epsilon_decay_env_steps", 250_000 // 4 * 4),
    ("target_update_period", "create_agent.target_update_period_train_steps", 2_000),
    ("gamma", "create_agent.gamma", 0.99),
    ("rewards are not clipped", "create_agent.reward_clip", None),
    ("max_length of the replay buffer", "create_replay_buffer.capacity_transitions", 1_000_000),
    ("update_period: num_steps of the driver", "create_collector.env_steps_per_iteration", 4),
    ("the driver runs, then one agent.train", "create_collector.overlapped", False),
    ("update_period: one agent.train", "create_learner.env_steps_per_train_step", 4),
    ("one agent.train at a time", "create_learner.train_steps_per_group", 1),
    ("num_steps of init_driver", "create_collector.random_fill_env_steps", 20_000),
    ("sample_batch_size", "create_learner.batch_size", 64),
]

# The default config: what the algorithm and the published comparisons share. Throughput apart, the
# sources are those of the two tables above and, for the budget, CleanRL's dqn_atari.py.
DEFAULT = [
    ("CleanRL: total_timesteps", "train.total_env_steps", 10_000_000),
    ("CleanRL: NoFrameskip-v4", "create_environment.sticky_action_probability", 0.0),
    ("CleanRL: FireResetEnv", "create_environment.fire_on_reset", True),
    ("CleanRL: NoopResetEnv", "create_environment.noop_max", 30),
    ("CleanRL: EpisodicLifeEnv", "create_environment.terminal_on_life_loss", True),
    ("CleanRL: ClipRewardEnv", "create_agent.reward_clip", 1.0),
    ("Mnih: minibatch size", "create_learner.batch_size", 32),
    ("Mnih: update frequency", "create_learner.env_steps_per_train_step", 4),
    ("Mnih: replay memory size", "create_replay_buffer.capacity_transitions", 1_000_000),
    ("Géron: max_episode_steps", "create_environment.max_episode_steps", 27_000),
    ("Géron: num_steps of init_driver", "create_collector.random_fill_env_steps", 20_000),
    ("Géron: lr", "create_optimizer.learning_rate", 2.5e-4),
    ("Géron: rho", "create_optimizer.rho", 0.95),
    ("Géron: momentum", "create_optimizer.momentum", 0.0),
    ("Géron: epsilon", "create_optimizer.epsilon", 1e-5),
    ("Géron: Keras's form", "create_optimizer.epsilon_inside_root", False),
    ("Géron: centered", "create_optimizer.centered", True),
    ("Géron: gamma", "create_agent.gamma", 0.99),
    ("Géron: target_update_period", "create_agent.target_update_period_train_steps", 2_000),
    ("Géron: initial_learning_rate", "create_agent.epsilon_initial", 1.0),
    ("Géron: end_learning_rate", "create_agent.epsilon_final", 0.01),
    ("Géron: decay_steps", "create_agent.epsilon_decay_env_steps", 250_000),
]


def expected_settings(table: list[tuple[str, str, Any]]) -> dict[str, str]:
    return {binding: repr(value) for _, binding, value in table}


@pytest.mark.parametrize(
    ("name", "table"),
    [
        pytest.param("nature.gin", NATURE_TABLE, id="nature, Extended Data Table 1"),
        pytest.param("nature.gin", NATURE_METHODS, id="nature, Methods"),
        pytest.param("breakout_book.gin", BOOK, id="book"),
        pytest.param("breakout.gin", DEFAULT, id="default"),
    ],
)
def test_numbers_are_those_of_the_source(name, table):
    expected = expected_settings(table)
    assert len(expected) == len(table)
    found = settings(name)
    assert {binding: found.get(binding) for binding in expected} == expected


# How closely a run is watched, which no source fixes.
WATCHING = {
    "train.log_period_env_steps",
    "train.checkpoint_period_env_steps",
    "train.keep_checkpoints",
    "train.evaluation_period_env_steps",
    "train.evaluation_games",
    "train.evaluation_protocol",
    "train.evaluation_video_seconds",
    "train.go_on_without_checkpoints",
}


# How results are computed, which changes them by rounding alone.
SPEED = {
    "create_q_network.convolution_lanes",
    "create_optimizer.compiled",
    "create_learner.targets_ahead",
}
# Where training is stopped because it has failed.
SAFETY = {"create_agent.q_value_limit"}

# Which code builds the parts, and no number.
BUILDERS = {
    "build.q_network": "@create_q_network",
    "build.agent": "@create_agent",
    "build.replay_buffer": "@create_replay_buffer",
}


@pytest.mark.parametrize("name", STANDING_ALONE)
def test_a_file_says_what_builds_its_parts(name):
    found = settings(name)
    assert {binding: found.get(binding) for binding in BUILDERS} == BUILDERS


@pytest.mark.parametrize("name", ["breakout_book.gin", "nature.gin"])
def test_a_file_of_one_source_spells_out_every_number_of_the_algorithm_itself(name):
    # So that a change of the default changes none of it.
    text = (config.GIN_DIRECTORY / name).read_text()
    own = used_config.bindings(text.replace("include 'breakout.gin'", ""))
    inherited = set(settings("breakout.gin")) - set(own)
    assert {each for each in inherited if not each.startswith(("train.", "build."))} == set()


@pytest.mark.parametrize(
    ("name", "tables", "free"),
    [
        ("nature.gin", [NATURE_TABLE, NATURE_METHODS], set()),
        # How long the book trains is an argument of its training function.
        ("breakout_book.gin", [BOOK], {"train.total_env_steps"}),
    ],
)
def test_no_number_that_decides_what_is_learnt_is_left_unchecked(name, tables, free):
    checked = {binding for table in tables for _, binding, _ in table}
    # Which games class plays and where frames lie are matters of speed and memory: all yield the
    # same frames.
    free = free | WATCHING | BUILDERS.keys()
    free |= (
        SPEED
        | SAFETY
        | {
            "create_environment.games",
            "create_environment.game",
            "create_replay_buffer.frame_table",
        }
    )
    assert set(settings(name)) - free == checked - free


@pytest.mark.parametrize("name", STANDING_ALONE)
def test_a_file_says_where_its_numbers_are_from(name):
    text = Path(config.GIN_DIRECTORY / name).read_text()
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert comments
    if name in ("breakout.gin", "breakout_book.gin", "nature.gin"):
        assert "Source" in "\n".join(comments)
        # A source stands beside its number, or in the comment right above it.
        learnt: dict[str, str] = {}
        above = ""
        for line in text.splitlines():
            if line.startswith(("create_agent.", "create_optimizer.", "create_q_network.")):
                learnt[line] = line.partition("#")[2] or above
            above = f"{above}{line}\n" if line.startswith("#") else ""
        assert len(learnt) >= 6
        unsourced = [line for line, comment in learnt.items() if "[" not in comment]
        assert [line for line in unsourced if line.partition(" ")[0] not in SPEED] == []
