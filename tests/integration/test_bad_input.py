"""What a user can give wrongly: one clear sentence, exit code 2, and nothing is written or changed.

Each command runs `train.py` inside this process, which saves importing TensorFlow once for each; a
few are also started as a user starts them.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import types
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import filelock
import psutil
import pytest

from dqn_breakout import config, experiment
from dqn_breakout.runs import checkpoint_files
from dqn_breakout.runs.directory import RunDirectory
from tests.chaos import damage
from tests.chaos.run_outcome import snapshot
from tests.chaos.tiny_run import PATHS, flags, reference
from tests.chaos.train_process import Ended, TrainProcess
from tests.train_here import WOULD_TRAIN, train_here

WHOLE = "must be a whole number of 1 or more, but is "
LARGER_BUDGET = "--gin_bindings=train.total_env_steps = 500"
SKIPS_TWICE = "There is no Atari game .* did you mean Breakout.* ALE/<name>-v5 ids"

# Binding: what its sentence must say, parts in their order with .* between them.
BINDINGS = {
    # Names.
    "create_agent.gama = 0.9": "'gama'; did you mean create_agent.gamma",
    "create_agnet.gamma = 0.9": "'create_agnet'; did you mean create_agent",
    "evaluation/create_environment.frame_skip = 2": "Nothing uses the binding evaluation/create_e",
    "train.run_dir = 'x'": "train.run_dir",
    "DqnAgent.gamma = 0.5": "TF-Agents' own.*; did you mean create_agent.gamma",
    # What TF-Agents' agent would do and this one does not: bound, it would be a lie.
    "DqnAgent.n_step_update = 3": "DqnAgent is TF-Agents' own",
    "QNetwork.fc_layer_params = (3,)": "QNetwork is TF-Agents' own",
    # Not gin.
    "create_agent.gamma": "'create_agent.gamma'.* '='",
    "create_agent.gamma = = 1": "'create_agent.gamma = = 1'",
    "create_environment.game = Breakout": "quotes",
    # Numbers.
    "create_learner.batch_size = 0": f"create_learner.batch_size {WHOLE}0",
    "create_learner.batch_size = True": f"create_learner.batch_size {WHOLE}True",
    "create_learner.batch_size = 1000000000": "batch_size .*65,536",
    "create_environment.num_environments = 0": f"num_environments {WHOLE}0",
    "create_environment.max_episode_steps = 10000000000": "max_episode_steps",
    "create_environment.noop_max = -1": "noop_max must be a whole number of 0 or more",
    "create_environment.sticky_action_probability = 1.25": "must be a number from 0 to 1",
    "create_environment.terminal_on_life_loss = 'False'": "must be True or False",
    "create_agent.epsilon_initial = 1.5": "create_agent.epsilon_initial must be .* but is 1.5",
    "create_agent.gamma = 1.01": "create_agent.gamma must be",
    "create_optimizer.learning_rate = 0": "create_optimizer.learning_rate must be",
    "create_q_network.conv_layers = ((4, 8),)": "conv_layers",
    "create_q_network.conv_layers = 3": "conv_layers",
    "create_q_network.conv_layers = ((4, 100, 4),)": "conv_layers",
    "create_replay_buffer.capacity_transitions = 4": "is 4, which leaves 2 for each of 2",
    "create_replay_buffer.capacity_transitions = 1000000000": (
        "capacity_transitions is 1,000,000,000.* GB .* this machine has .* GB.* --ignore_memory"
    ),
    "create_learner.train_steps_per_group = 5": "create_agent.target_update_period_train_steps",
    "create_collector.env_steps_per_iteration = 1000000000": "at most 10,000 are possible",
    "train.total_env_steps = -1": f"train.total_env_steps {WHOLE}-1",
    "train.total_env_steps = 80": "total_env_steps is 80, but the random fill alone takes 80",
    "train.evaluation_video_seconds = -1": "of 0 or more, but is -1",
    "train.evaluation_protocol = 'natur'": "did you mean 'nature'",
    # Games and parts.
    "create_environment.game = 'SpaceInvader'": "no Atari game 'SpaceInvader': did you mean Space",
    "create_environment.game = 'BreakoutDeterministic-v4'": SKIPS_TWICE,
    "create_environment.game = 'ALE/Breakout-v5'": SKIPS_TWICE,
    "create_environment.games = 'vector_games'": "create_environment.games",
    "build.agent = 'create_agent'": "build.agent must be a builder.* @create_agent",
    "build.q_network = @create_q_network": "create_agent.q_network",
}

# Flags after those of a tiny run, and what their sentence must say.
FLAGS = {
    "--gin_file=braekout.gin": "There is no gin file 'braekout.gin'; did you mean breakout.gin",
    "--gin_file=/": "'/'",
    "breakout": "What is 'breakout'",
    "--seed=seven": "--seed=seven",
    f"--seed={'9' * 5000}": "--seed=999",
    "--sead=7": "--sead|sead",
    "--noignore_memory=1": "does not take an argument",
    "--game=": "There is no Atari game ''",
    "--game=Braekout": "There is no Atari game 'Braekout': did you mean Breakout",
    "--run_dir=/dev/null/run": r"/dev/null/run cannot be written \(Not a directory",
    f"--run_dir={'x' * 300}": r"cannot be written \(File name too long",
    "--run_dir=a\0b": "cannot be written .*null byte",
    "--run_dir=": "A path is empty: give one, or leave out what it was given for",
    "--run_dir=gs://bucket/run": "'gs://bucket/run' is an address, .* Give a path",
    "--gin_file=": "There is no gin file ''",
    "--gin_file=gs://bucket/own.gin": "There is no gin file 'gs://bucket/own.gin'",
    "--run_dir=~nosuchuser/x": "home directory .* not known. Write the path out",
}


def hold(run: RunDirectory) -> IO[str]:
    run.lock.write_text("\nprocess 4711 on elsewhere")
    file = run.lock.open()
    assert filelock.lock_descriptor(file.fileno(), blocking=False)
    return file


def damage_all(run: RunDirectory) -> None:
    for path in checkpoint_files.checkpoints(run.checkpoints):
        damage.apply("a bit flipped", path / "network.npz")


def change_the_seed(run: RunDirectory) -> None:
    run.run_json.write_text(json.dumps({**json.loads(run.run_json.read_text()), "seed": 8}))


def change_the_network(run: RunDirectory) -> None:
    run.config_gin.write_text(run.config_gin.read_text().replace("(16,)", "(17,)"))


# What was done to a run that is there, the flags that follow, and what the sentence must say.
RUNS: dict[str, tuple[Callable[[RunDirectory], Any], tuple[str, ...], str]] = {
    "another config": (
        lambda run: None,
        ("--gin_bindings=create_agent.gamma=0.5", "--gin_bindings=create_learner.batch_size=8"),
        "{run} has another config: .*gamma: 0.99 there, 0.5 here; .*batch_size: 4 there, 8 here",
    ),
    "another seed": (lambda run: None, ("--seed=8",), "{run} has seed 7, not 8"),
    "in use": (hold, (), "{run} is in use by process 4711 on elsewhere"),
    "every checkpoint damaged": (damage_all, (), "is sound: .*network.npz.*network.npz.*Nothing"),
    "checkpoints of another seed": (change_the_seed, ("--seed=8",), "{run}/.* is of seed 7"),
    "checkpoints of another network": (
        change_the_network,
        ("--gin_bindings=create_q_network.dense_units=(17,)",),
        "{run}/checkpoints/.* is of another run: in its network, .* there and float32",
    ),
    "a damaged record": (lambda run: run.run_json.write_text("{"), (), "run.json is damaged"),
    "no record": (lambda run: run.run_json.unlink(), (), "checkpoints but no run.json"),
    "no config": (lambda run: run.config_gin.unlink(), (), "checkpoints but no config.gin"),
    "a damaged config": (lambda run: run.config_gin.write_text("x = "), (), "config.gin cannot"),
}


def must_be_refused(ended: Ended, said: str) -> None:
    assert (ended.code, ended.out) == (2, ""), ended.err
    (line,) = ended.err.splitlines()
    assert re.search(said, line), line
    assert "Traceback" not in line
    assert len(line) < 1000


@pytest.mark.parametrize("binding", BINDINGS)
def test_a_wrong_binding_is_refused(tmp_path, binding):
    ended = train_here(*flags("fast", tmp_path / "run", f"--gin_bindings={binding}"))
    must_be_refused(ended, BINDINGS[binding])
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag[:30])
def test_a_wrong_flag_is_refused(tmp_path, flag):
    with contextlib.chdir(tmp_path):
        must_be_refused(train_here(*flags("fast", Path("run"), flag)), FLAGS[flag])
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("equals", ["=", " = "])
def test_a_game_is_named_once(tmp_path, equals):
    binding = f"--gin_bindings=create_environment.game{equals}'Pong'"
    ended = train_here(*flags("fast", tmp_path / "run", "--game=Pong", binding))
    must_be_refused(ended, "--game and a binding of create_environment.game are two answers")
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_is_there_is_left_as_it_was(tmp_path, work_dir, name):
    prepare, more, said = RUNS[name]
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(reference("fast", work_dir).path, run.path)
    lock = prepare(run)
    before = snapshot(run.path)
    ended = train_here(*flags("fast", run.path, LARGER_BUDGET, *more))
    del lock
    must_be_refused(ended, said.format(run=re.escape(str(run.path))))
    assert snapshot(run.path) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "said"),
    [("--gin_bindings=create_agent.gama=1", "did you mean"), ("--seed=x", "--seed=x")],
)
def test_python_train_py_refuses(tmp_path, work_dir, wrong, said):
    command = flags("fast", tmp_path / "run", wrong)
    must_be_refused(TrainProcess(command, work_dir / "refused", from_scratch=True).wait(), said)
    assert not any(tmp_path.iterdir())


def test_a_fragment_alone_lacks_values(tmp_path):
    said = "sets no value for .* such as --gin_file=breakout.gin"
    must_be_refused(train_here("--gin_file=smoke.gin", f"--run_dir={tmp_path}/run"), said)
    assert not any(tmp_path.iterdir())


# --- What is no mistake ---------------------------------------------------------------------------


def test_a_buffer_larger_than_memory_if_the_user_insists(tmp_path, monkeypatch):
    little = types.SimpleNamespace(total=1_000_000_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: little)
    command = flags("fast", tmp_path / "run")
    must_be_refused(train_here(*command), "this machine has 1.0 GB.*--ignore_memory")
    assert train_here(*command, "--ignore_memory").code == WOULD_TRAIN


def test_macros_stand_for_their_values(tmp_path):
    macros = ("GAME = 'Pong'", "create_environment.game = %GAME")
    given = [f"--gin_bindings={binding}" for binding in macros]
    assert train_here(*flags("fast", tmp_path / "run", *given)).code == WOULD_TRAIN


@pytest.mark.slow
def test_a_run_goes_on_without_its_seed_being_said(tmp_path, work_dir):
    run = tmp_path / "run"
    shutil.copytree(reference("fast", work_dir).path, run)
    ended = train_here(*PATHS["fast"], f"--run_dir={run}", LARGER_BUDGET)
    assert ended.code == WOULD_TRAIN, ended.err


def test_ctrl_c_before_training_is_no_stack_trace(tmp_path, monkeypatch):
    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(config, "parse", interrupted)
    assert train_here(*flags("fast", tmp_path / "run")) == Ended(130, "", "")
    assert not any(tmp_path.iterdir())


def test_the_run_directory_is_named_after_the_command(tmp_path, monkeypatch):
    trained = []

    def train(run_dir: Path, seed: int | None, *, ignore_memory: bool) -> int:
        trained.append((RunDirectory(run_dir).path, seed, ignore_memory))
        return 0

    monkeypatch.setattr(experiment, "train", train)
    monkeypatch.setenv("HOME", str(tmp_path))
    named = ("--gin_file=breakout.gin", "--gin_file=short.gin", "--seed=3")
    assert train_here().code == train_here(*named).code == 0
    assert train_here(f"--gin_file={config.GIN_DIRECTORY}/pong.gin", "--ignore_memory").code == 0
    assert train_here("--run_dir=~/runs/mine").code == 0
    assert trained == [
        (Path("runs/breakout").absolute(), None, False),
        (Path("runs/breakout-short-seed3").absolute(), 3, False),
        (Path("runs/pong").absolute(), None, True),
        (tmp_path / "runs" / "mine", None, False),
    ]


def test_another_game_trains_by_the_same_file_in_a_directory_of_its_own(monkeypatch):
    trained = []

    def train(run_dir: Path, seed: int | None, *, ignore_memory: bool) -> int:
        trained.append((str(run_dir), config.value("create_environment.game")))
        return 0

    monkeypatch.setattr(experiment, "train", train)
    assert train_here("--game=Pong").code == train_here("--game=Pong", "--seed=3").code == 0
    assert trained == [("runs/breakout-Pong", "Pong"), ("runs/breakout-Pong-seed3", "Pong")]
