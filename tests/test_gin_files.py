"""Tests of every file in gin/: it runs, all of it is used, and its numbers are its source's."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil

import gin
import pytest

from dqn_breakout import config, experiment
from dqn_breakout.evaluation import protocols
from dqn_breakout.runs.directory import RunDirectory

pytestmark = pytest.mark.usefixtures("clean_gin")

# Small enough for seconds; the rules of the game stay the file's.
TINY = (
    "create_q_network.conv_layers = ((4, 8, 4), (4, 4, 2))",
    "create_q_network.dense_units = (16,)",
    "create_environment.max_episode_steps = 8",
    "create_collector.random_fill_env_steps = 64",
    "create_learner.batch_size = 4",
    "create_learner.train_steps_per_group = 1",
    "create_replay_buffer.capacity_transitions = 400",
    "OnlineLearning.env_steps_per_turn = 16",
    "CarRacingPictures.opening_frames = 2",
    "train.total_env_steps = 192",
    "train.log_period_env_steps = 64",
    "train.checkpoint_period_env_steps = 128",
    "train.evaluation_period_env_steps = 192",
    "train.evaluation_games = 1",
    "train.evaluation_video_seconds = 0",
)


def text_of(*files: str, bindings: tuple[str, ...] = ()) -> str:
    """What gin files and bindings come to together, includes and all, as one text."""
    config.parse(files, bindings)
    text = str(gin.config_str())
    gin.clear_config()
    return text


def settings(*files: str) -> dict[str, str]:
    """What these files bind, macros resolved, as text."""
    lines = config.differences("", text_of(*files))
    parts = (line.partition(": not set there, ") for line in lines)
    return {name: text.removesuffix(" here") for name, _, text in parts}


# A file that says what builds the agent can run; the others are given after one, or included.
STANDING_ALONE = [
    name
    for name in config.available()
    if {"build.agent", "train.total_env_steps"} <= settings(name).keys()
]
FRAGMENTS = ["short.gin", "smoke.gin"]
ON_ATARI = {
    name
    for name in STANDING_ALONE
    if settings(name).get("create_environment.game", "None") != "None"
}
BASES = ["atari.gin", "frozen_lake_map.gin", "gymnasium.gin", "table.gin", "three_states.gin"]


def test_every_file_is_known_to_stand_alone_or_not():
    alone = {"breakout", "breakout_book", "laptop", "nature", "pong", "space_invaders"}
    assert {f"{name}.gin" for name in alone} <= set(STANDING_ALONE)
    assert set(config.available()) == {*STANDING_ALONE, *FRAGMENTS, *BASES}
    # A package named gin would hide the library of that name.
    assert {path.suffix for path in config.GIN_DIRECTORY.iterdir()} == {".gin"}


@pytest.mark.parametrize("name", config.available())
def test_a_file_says_in_its_first_line_what_it_is(name):
    first = (config.GIN_DIRECTORY / name).read_text().partition("\n")[0]
    assert re.fullmatch(r"# .{20,98}\.", first)
    assert first.removeprefix("# ") in config.listing()


def test_the_courses_commands_name_files_that_can_be_run():
    course = (config.GIN_DIRECTORY.parent / "docs" / "course.md").read_text()
    commands = re.findall(r"^python (train|eval)\.py (.*)$", course, re.MULTILINE)
    trained = {name for _, rest in commands for name in re.findall(r"--gin_file=(\S+)", rest)}
    assert trained - {"short.gin"} <= set(STANDING_ALONE)
    assert set(STANDING_ALONE) - trained <= ON_ATARI
    runs = {f"runs/{name.removesuffix('.gin')}" for name in trained} | {"runs/breakout-short"}
    assert set(re.findall(r"--checkpoint_dir=(\S+)", course)) <= runs


# --- Every file runs, and every binding in it is used ---------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", STANDING_ALONE)
def test_a_file_trains_and_evaluates_and_uses_all_of_its_bindings(name, tmp_path, monkeypatch):
    # A game of minutes under a protocol that knows nothing of the limit above.
    for protocol in protocols.PROTOCOLS.values():
        short = dataclasses.replace(protocol, rules={**protocol.rules, "max_ale_frames": 120})
        monkeypatch.setitem(protocols.PROTOCOLS, protocol.name, short)
    of_file = settings(name)
    names = ("create_environment.game", "create_environment.id")
    game = next(of_file[each] for each in names if of_file.get(each, "None") != "None")
    # Of those, what the file's own parts have a use for.
    tiny = tuple(
        each for each in TINY if of_file.get(each.partition(" = ")[0], "()") not in ("()", "None")
    )
    expected = text_of(name, "smoke.gin", bindings=tiny)
    run = RunDirectory(tmp_path / "run")

    config.parse([name, "smoke.gin"], tiny)
    with config.building():
        assert experiment.train(run.path, 7) == 0

    assert config.unused_bindings() == []
    for kept in (config.operative_config(), run.config_gin.read_text()):
        found = config.differences(expected, kept)
        assert [each for each in found if "not set there" not in each] == []
    summary = json.loads(run.summary_json.read_text())
    assert 192 <= summary["env_steps"] < 192 + 84
    learns = of_file.get("OnlineLearning.update") != "@NoUpdate"
    counts_episodes = "create_learner.episodes_per_train_step" in of_file
    assert (summary["train_steps"] > 0) == (learns and not counts_episodes)
    assert summary["episodes"] > 0
    (path,) = run.evaluations.iterdir()
    scores = json.loads(path.read_text())
    assert repr(scores["game"]) == game
    assert len(scores["returns"]) == 1

    # Gone back to the checkpoint before the last, it goes the same way again.
    again = RunDirectory(shutil.copytree(run.path, tmp_path / "again"))
    before, last = sorted(again.checkpoints.iterdir())
    shutil.rmtree(last)
    with config.building():
        assert experiment.train(again.path) == 0
    resumed = json.loads(again.summary_json.read_text())
    assert resumed["weights_sha256"] == summary["weights_sha256"]
    assert resumed["train_steps"] == summary["train_steps"]
    assert before in again.checkpoints.iterdir()


@pytest.mark.parametrize("name", STANDING_ALONE)
@pytest.mark.parametrize("fragment", FRAGMENTS)
def test_a_fragment_only_changes_what_the_file_before_it_sets(name, fragment):
    alone, with_fragment = settings(name), settings(name, fragment)
    assert with_fragment.keys() == alone.keys()
    assert with_fragment != alone
    assert settings(fragment).items() <= with_fragment.items()


@pytest.mark.parametrize("name", STANDING_ALONE)
def test_smoke_trains_at_least_fifty_times(name):
    ratio = "create_learner.env_steps_per_train_step"
    if settings(name).get(ratio, "None") == "None":
        pytest.skip("It has no replay, or takes its train steps by episodes.")
    config.parse([name, "smoke.gin"])
    after_fill = config.value("train.total_env_steps") - config.value(
        "create_collector.random_fill_env_steps"
    )
    assert after_fill // config.value(ratio) >= 50


# --- What the files say ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "change"),
    [
        (["pong.gin"], "create_environment.game: 'Breakout' there, 'Pong' here"),
        (["space_invaders.gin"], "create_environment.game: 'Breakout' there, 'SpaceInvaders' here"),
        (
            ["laptop.gin"],
            "create_replay_buffer.frame_table: @plain_frames there, @compressed_frames here",
        ),
        (["breakout.gin", "short.gin"], "train.total_env_steps: 10000000 there, 1000000 here"),
    ],
)
def test_a_variant_differs_from_breakout_in_one_setting(files, change):
    assert config.differences(text_of("breakout.gin"), text_of(*files)) == [change]


# What both sources say: Mnih et al. 2015 (Extended Data Table 1 and Methods), whose "frame" is an
# environment step here, and Géron 2019, "Hands-On Machine Learning with Scikit-Learn, Keras, and
# TensorFlow", 2nd edition, chapter 18, section "The TF-Agents Library".
BOTH = """
create_environment.num_environments = 1
create_environment.frame_skip = 4
create_environment.stack_frames = 4
create_environment.sticky_action_probability = 0.0
create_environment.fire_on_reset = False
create_q_network.conv_layers = ((32, 8, 4), (64, 4, 2), (64, 3, 1))
create_q_network.dense_units = (512,)
create_agent.gamma = 0.99
create_agent.epsilon_initial = 1.0
create_optimizer.learning_rate = 0.00025
create_optimizer.rho = 0.95
create_optimizer.momentum = 0.0
create_optimizer.centered = True
create_replay_buffer.capacity_transitions = 1000000
create_collector.env_steps_per_iteration = 4
create_collector.overlapped = False
create_learner.env_steps_per_train_step = 4
create_learner.train_steps_per_group = 1
QLearning.double = False
"""

NATURE = f"""
{BOTH}
create_environment.noop_max = 30
create_environment.max_episode_steps = 4500
create_environment.terminal_on_life_loss = True
create_agent.target_update_period_train_steps = 10000
create_agent.reward_clip = 1.0
create_agent.epsilon_final = 0.1
create_agent.epsilon_decay_env_steps = 1000000
# 0.01 of gradients summed over a batch; here they are averages, and their squares 32^2 smaller.
create_optimizer.epsilon = 9.765625e-06
create_optimizer.epsilon_inside_root = True
create_collector.random_fill_env_steps = 50000
create_learner.batch_size = 32
train.total_env_steps = 50000000
train.evaluation_protocol = 'nature'
"""

BOOK = f"""
{BOTH}
create_environment.noop_max = 0
create_environment.max_episode_steps = 27000
create_environment.terminal_on_life_loss = False
create_agent.target_update_period_train_steps = 2000
create_agent.reward_clip = None
create_agent.epsilon_final = 0.01
# decay_steps = 250000 // update_period train steps, one every update_period environment steps.
create_agent.epsilon_decay_env_steps = 250000
create_optimizer.epsilon = 0.00001
create_optimizer.epsilon_inside_root = False
create_collector.random_fill_env_steps = 20000
create_learner.batch_size = 64
"""

# The book's numbers, but for the paper's, those of CleanRL's dqn_atari.py (how games start, and the
# budget), and what makes it fast.
BREAKOUT = f"""
{BOOK}
create_environment.num_environments = 16
create_environment.noop_max = 30
create_environment.terminal_on_life_loss = True
create_environment.fire_on_reset = True
create_agent.reward_clip = 1.0
create_collector.env_steps_per_iteration = 64
create_collector.overlapped = True
create_learner.train_steps_per_group = 4
create_learner.batch_size = 32
train.total_env_steps = 10000000
"""

# What changes results by rounding alone, what stops a run that has failed, and the game itself.
FREE = {
    "create_optimizer.compiled",
    "create_learner.targets_ahead",
    "create_agent.q_value_limit",
    "create_environment.game",
}


@pytest.mark.parametrize(
    ("name", "source"), [("nature", NATURE), ("breakout_book", BOOK), ("breakout", BREAKOUT)]
)
def test_every_number_that_decides_what_is_learnt_is_that_of_the_source(name, source):
    found, expected = settings(name), config.bindings(source)
    assert {binding: found[binding] for binding in expected} == expected
    numbers = {binding for binding, text in found.items() if not text.startswith("@")} - FREE
    assert {each for each in numbers - expected.keys() if not each.startswith("train.")} == set()


@pytest.mark.parametrize("name", ["breakout_book.gin", "nature.gin"])
def test_a_file_of_one_source_sets_every_number_of_the_algorithm_itself(name):
    # So that a change of the default changes none of it.
    own = (config.GIN_DIRECTORY / name).read_text().replace("include 'breakout.gin'", "")
    default = re.sub(r"(?m)^[A-Z_]+ = .*", "", text_of("breakout.gin"))  # without its macros
    numbers = {each for each, text in config.bindings(default).items() if text[0] not in "@%"}
    inherited = numbers - config.bindings(own).keys()
    inherited |= {each for each, text in config.bindings(default + own).items() if "%" in text}
    assert {each for each in inherited if not each.startswith("train.")} == set()


@pytest.mark.parametrize("name", ["atari.gin", "breakout.gin", "breakout_book.gin", "nature.gin"])
def test_a_number_has_its_source_beside_it_or_above(name):
    text = (config.GIN_DIRECTORY / name).read_text()
    assert re.search(r"(?m)^# Sources?: ", text)
    above = ""
    for line in text.splitlines():
        number = re.match(r"(create_(?:agent|optimizer|q_network)\.\w+|[A-Z_]+) = [^@%]", line)
        if number and number[1] not in FREE:
            assert "[" in (line.partition("#")[2] or above), line
        above = above + line if line.startswith("#") else ""
