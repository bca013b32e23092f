"""Tests of what a user can give wrongly: one clear sentence, exit code 2, and nothing is lost.

Every case runs `train.py` itself. Most do so inside this process, which saves importing TensorFlow
once for each; one of each kind is also started as a user starts it, `python train.py`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import shutil
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from dqn_breakout import config, experiment
from dqn_breakout.runs import checkpoint_files, files
from dqn_breakout.runs.directory import RunDirectory
from dqn_breakout.training import hooks

TOTAL = "train.total_env_steps = 220"
# The random fill and one turn more, too short to train: no time goes into compiling a train step.
SHORTEST = ("train.total_env_steps = 81", "create_learner.env_steps_per_train_step = 100")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, run_here, tiny_arguments) -> RunDirectory:
    """A tiny run with two checkpoints; tests work on copies of it."""
    run = RunDirectory(tmp_path_factory.mktemp("finished") / "run")
    ended = run_here(*tiny_arguments(run.path, TOTAL))
    assert ended.code == 0, ended.err
    assert len(checkpoint_files.checkpoints(run.checkpoints)) == 2
    return run


@dataclasses.dataclass(frozen=True)
class Case:
    """A wrong command line, and what its message must say.

    Attributes:
        bindings: Bindings after those of a tiny run.
        said: Parts of the message, in their order; `{run}` stands for the run directory.
        flags: More flags.
        seed: The seed given; None for none.
        prepare: Makes of a copy of the finished run what is wrong; None for a new run directory.
    """

    bindings: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    seed: int | None = 7
    prepare: Callable[[RunDirectory], contextlib.AbstractContextManager[None] | None] | None = None


def bound(binding: str, *said: str) -> Case:
    return Case(bindings=(binding,), said=said)


# --- What was done to a run directory -------------------------------------------------------------


def untouched(run: RunDirectory) -> None:
    """The run as it is."""


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def damage_all(run: RunDirectory) -> None:
    for path in checkpoint_files.checkpoints(run.checkpoints):
        damage(path / "learner.npz")


def put_another_network_into_the_checkpoints(run: RunDirectory) -> None:
    """Sound files, the config of before; but the arrays are those of a wider network."""
    for path in checkpoint_files.checkpoints(run.checkpoints):
        opened = checkpoint_files.open_checkpoint(path)
        groups = {
            group: opened.arrays(group)
            for group in ("network", "learner", "metrics", "collection", "environment")
        }
        groups["network"] = {
            name: np.concatenate([values, values], axis=-1)
            for name, values in groups["network"].items()
        }
        segments = opened.manifest["segments"]
        checkpoint_files.write_checkpoint(run.checkpoints, opened.counters, groups, segments)


@contextlib.contextmanager
def held_by_another(run: RunDirectory) -> Iterator[None]:
    with open(run.path / ".lock", "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.truncate(0)
        file.write("process 4711 on elsewhere")
        file.flush()
        yield


def damage_the_record(run: RunDirectory) -> None:
    run.run_json.write_text('{"seed": 7')


def lose_the_record(run: RunDirectory) -> None:
    run.run_json.unlink()


def lose_the_config(run: RunDirectory) -> None:
    run.config_gin.unlink()


def damage_the_config(run: RunDirectory) -> None:
    run.config_gin.write_text("create_agent.gamma = = 0.99\n")


# --- The cases ------------------------------------------------------------------------------------

FRAME_SKIP_TWICE = ("There is no Atari game", "did you mean Breakout", "ALE/<name>-v5 ids")

# One of each kind, started as a user does.
STARTED = {
    "unknown gin file": Case(
        flags=("--gin_file=braekout.gin",),
        said=(
            "There is no gin file 'braekout.gin'; did you mean breakout.gin? gin files in ",
            ": breakout.gin, breakout_book.gin, laptop.gin, nature.gin, pong.gin, short.gin, "
            "smoke.gin, space_invaders.gin.",
        ),
    ),
    "misspelt parameter": bound(
        "create_agent.gama = 0.9",
        "doesn't have a parameter named 'gama'; did you mean create_agent.gamma?",
    ),
    "batch 0": bound(
        "create_learner.batch_size = 0",
        "create_learner.batch_size must be a whole number of 1 or more, but is 0.",
    ),
    "frame skip twice": bound(
        "create_environment.game = 'BreakoutDeterministic-v4'", *FRAME_SKIP_TWICE
    ),
    "replay larger than memory": bound(
        "create_replay_buffer.capacity_transitions = 1000000000",
        "create_replay_buffer.capacity_transitions is 1,000,000,000: the replay buffer would take ",
        "7,075.0 GB when full",
        f"but this machine has {psutil.virtual_memory().total / 1e9:.1f} GB.",
        "go on all the same with --ignore_memory.",
    ),
    "run directory of another config": Case(
        bindings=("create_agent.gamma = 0.5", "create_learner.batch_size = 8"),
        said=(
            "The run in {run} has another config: ",
            "create_agent.gamma: 0.99 there, 0.5 here; "
            "create_learner.batch_size: 4 there, 8 here. ",
            "choose another --run_dir.",
        ),
        prepare=untouched,
    ),
    "run directory in use": Case(
        said=("The run directory {run} is in use by process 4711 on elsewhere. ",),
        prepare=held_by_another,
    ),
    "checkpoint of another network": Case(
        said=(
            "The checkpoint {run}/checkpoints/",
            " is of another run: in its network, 000 has shape ",
        ),
        prepare=put_another_network_into_the_checkpoints,
    ),
}

# More of the same kinds.
HERE = {
    **STARTED,
    "unknown game": bound(
        "create_environment.game = 'SpaceInvader'",
        "There is no Atari game 'SpaceInvader': did you mean SpaceInvaders",
    ),
    "unused binding": bound(
        "evaluation/create_environment.frame_skip = 2",
        "Nothing uses the binding evaluation/create_environment.frame_skip. Leave it out, or "
        "correct its scope.",
    ),
    "run directory of another seed": Case(
        seed=8,
        said=("The run in {run} has seed 7, not 8. ", "choose another --run_dir."),
        prepare=untouched,
    ),
    "all checkpoints damaged": Case(
        said=(
            "No checkpoint in {run}/checkpoints is sound: ",
            "learner.npz was changed: its checksum does not match; ",
            "learner.npz was changed: its checksum does not match. ",
            "Nothing was deleted.",
        ),
        prepare=damage_all,
    ),
    "unknown binding": bound(
        "create_agnet.gamma = 0.9",
        "No configurable matching 'create_agnet'; did you mean create_agent.gamma?",
    ),
    "negative steps": bound(
        "train.total_env_steps = -1",
        "train.total_env_steps must be a whole number of 1 or more, but is -1.",
    ),
    "a budget that the random fill spends": bound(
        "train.total_env_steps = 80",
        "train.total_env_steps is 80, but the random fill alone takes 80 environment steps; "
        "give more.",
    ),
    "epsilon over 1": bound(
        "create_agent.epsilon_initial = 1.5",
        "create_agent.epsilon_initial must be a number from 0 to 1, but is 1.5.",
    ),
    "a gin file that is a directory": Case(
        flags=("--gin_file=/",), said=("There is no gin file '/'",)
    ),
    "a gin file with nothing in it but a fragment": Case(
        flags=("--gin_file=short.gin", "--gin_file=%HERE%"), said=("There is no gin file '%HERE%'",)
    ),
    "a binding without a value": bound("create_agent.gamma", "expected ':' or '='."),
    "a binding that is no gin": bound("create_agent.gamma = = 1", "Unable to parse value."),
    "a value without quotes": bound("create_environment.game = Pong", "put text in quotes"),
    "a fraction of a batch": bound(
        "create_learner.batch_size = 0.5", "batch_size must be a whole number of 1 or more"
    ),
    "a negative batch": bound("create_learner.batch_size = -32", "but is -32."),
    "a batch that is True": bound("create_learner.batch_size = True", "but is True."),
    "no environments": bound("create_environment.num_environments = 0", "num_environments must be"),
    "no frame skip": bound("create_environment.frame_skip = 0", "frame_skip must be"),
    "negative no-ops": bound("create_environment.noop_max = -1", "noop_max must be"),
    "more than always sticky": bound(
        "create_environment.sticky_action_probability = 1.25", "must be a number from 0 to 1"
    ),
    "games without steps": bound("create_environment.max_episode_steps = 0", "must be a whole"),
    "negative epsilon": bound("create_agent.epsilon_final = -0.1", "epsilon_final must be"),
    "no decay": bound("create_agent.epsilon_decay_env_steps = 0", "epsilon_decay_env_steps must"),
    "gamma over 1": bound("create_agent.gamma = 1.01", "create_agent.gamma must be"),
    "a reward clip of 0": bound("create_agent.reward_clip = 0.0", "reward_clip must be"),
    "no learning rate": bound("create_optimizer.learning_rate = 0", "learning_rate must be"),
    "rho over 1": bound("create_optimizer.rho = 2", "create_optimizer.rho must be"),
    "a layer without units": bound("create_q_network.dense_units = (0,)", "dense_units must be"),
    "a layer of two numbers": bound(
        "create_q_network.conv_layers = ((4, 8),)", "conv_layers needs"
    ),
    "a buffer too small": bound(
        "create_replay_buffer.capacity_transitions = 4", "is 4, which leaves 2 for each of 2"
    ),
    "groups that do not fit": bound(
        "create_learner.train_steps_per_group = 5",
        "train_steps_per_group is 5, which does not divide "
        "create_agent.target_update_period_train_steps (24)",
    ),
    "no fill": bound("create_collector.random_fill_env_steps = 0", "random_fill_env_steps must be"),
    "a batch without end": bound(
        "create_learner.batch_size = 1000000000", "at most 65,536 transitions can be drawn at once"
    ),
    "collection without end": bound(
        "create_collector.env_steps_per_iteration = 1000000000", "at most 10,000 are possible"
    ),
    "no collection": bound("create_collector.env_steps_per_iteration = 0", "must be a whole"),
    "no checkpoints": bound("train.keep_checkpoints = 0", "train.keep_checkpoints must be"),
    "no log": bound("train.log_period_env_steps = 0", "train.log_period_env_steps must be"),
    "negative video": bound("train.evaluation_video_seconds = -1", "of 0 or more, but is -1."),
    "unknown protocol": bound(
        "train.evaluation_protocol = 'natur'",
        "must be one of 'nature', 'machado', 'training', but is 'natur'; did you mean 'nature'?",
    ),
    "an id that skips frames": bound(
        "create_environment.game = 'ALE/Breakout-v5'", *FRAME_SKIP_TWICE
    ),
    "an id that skips none": bound(
        "create_environment.game = 'BreakoutNoFrameskip-v4'", *FRAME_SKIP_TWICE
    ),
    "an id of its own": bound("create_environment.game = 'Breakout-v4'", *FRAME_SKIP_TWICE),
    "a ROM's name": bound(
        "create_environment.game = 'space_invaders'", "did you mean SpaceInvaders"
    ),
    "nothing like a game": bound(
        "create_environment.game = 'Chess 2000'", "There is no Atari game"
    ),
    "a game that is a number": bound("create_environment.game = 5", "There is no Atari game 5"),
    "a screen from games without one": bound(
        "create_environment.render_mode = 'human'", "bind create_environment.games = @python_games"
    ),
    "a parameter of the program": bound("train.run_dir = 'x'", "the binding train.run_dir."),
    "a flag's parameter": bound("train.ignore_memory = True", "the binding train.ignore_memory."),
    "what the agent's builder passes": bound("DqnAgent.gamma = 0.5", "write create_agent.gamma."),
    "what the network's builder passes": bound(
        "QNetwork.fc_layer_params = (3,)", "QNetwork.fc_layer_params is TF-Agents' own"
    ),
    "games that were not chosen": bound("python_games.x = 1", "the binding python_games.x."),
    "a damaged record of starts": Case(
        said=("{run}/run.json is damaged. Restore it, or choose another --run_dir.",),
        prepare=damage_the_record,
    ),
    "checkpoints without a record of starts": Case(
        said=("{run} has checkpoints but no run.json, so it is not known what they are of. ",),
        prepare=lose_the_record,
    ),
    "checkpoints without a config": Case(
        said=("{run} has checkpoints but no config.gin, so it is not known what they are of. ",),
        prepare=lose_the_config,
    ),
    "a damaged config of the run": Case(
        said=("{run}/config.gin cannot be read (", "). Restore it, or choose another --run_dir."),
        prepare=damage_the_config,
    ),
    "a word too many": Case(
        flags=("breakout",), said=("What is 'breakout'? Options begin with --",)
    ),
}

# Values of a kind that the parameter cannot take.
WRONG_KIND = {
    "games in quotes": bound(
        "create_environment.games = 'vector_games'", "create_environment.games"
    ),
    "games called": bound("create_environment.games = @vector_games()", "create_environment.games"),
    "no games": bound("create_environment.games = None", "create_environment.games"),
    "a list of games": bound("create_environment.game = ['Pong']", "create_environment.game"),
    "layers that are a number": bound("create_q_network.conv_layers = 3", "conv_layers"),
    "one layer, not in a tuple": bound("create_q_network.conv_layers = (32, 8, 4)", "conv_layers"),
    "a kernel larger than the frame": bound(
        "create_q_network.conv_layers = ((4, 100, 4),)", "conv_layers"
    ),
    "units that are a number": bound("create_q_network.dense_units = 512", "dense_units"),
    "life loss in quotes": bound(
        "create_environment.terminal_on_life_loss = 'False'", "must be True or False"
    ),
    "fire in quotes": bound("create_environment.fire_on_reset = 'False'", "must be True or False"),
    "a network's builder in quotes": bound(
        "build.q_network = 'create_q_network'",
        "build.q_network must be a builder, such as @create_q_network (without quotes or brackets)",
    ),
    "an agent's builder in quotes": bound(
        "build.agent = 'create_agent'", "build.agent must be a builder, such as @create_agent "
    ),
    "no replay buffer's builder": bound(
        "build.replay_buffer = None",
        "build.replay_buffer must be a builder, such as @create_replay_buffer ",
    ),
    "epsilon's place in quotes": bound(
        "create_optimizer.epsilon_inside_root = 'False'", "must be True or False"
    ),
    "centred in quotes": bound("create_optimizer.centered = 'False'", "must be True or False"),
    "games beyond counting": bound(
        "create_environment.max_episode_steps = 10000000000", "max_episode_steps"
    ),
    "no-ops beyond counting": bound("create_environment.noop_max = 10000000000", "noop_max"),
    "frames beyond counting": bound("create_environment.frame_skip = 10000000000", "frame_skip"),
}

# What TF-Agents' DqnAgent would do and this agent does not: bound, it would be a lie.
IGNORED = (
    "DqnAgent.gradient_clipping = 10.0",
    "DqnAgent.reward_scale_factor = 0.1",
    "DqnAgent.n_step_update = 3",
    "DqnAgent.boltzmann_temperature = 0.5",
)


# --- Running them ---------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Refused:
    """What came of a case."""

    run: RunDirectory
    before: dict[str, bytes]
    after: dict[str, bytes]
    ended: Any


def refuse(
    case: Case,
    folder: Path,
    finished: RunDirectory,
    tiny_arguments: Callable[..., list[str]],
    snapshot: Callable[[Path], dict[str, bytes]],
    train: Callable[..., Any],
) -> Refused:
    """Runs a case with `train` and keeps what the run directory held before and after."""
    run = RunDirectory(folder / "run")
    held: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if case.prepare is not None:
        shutil.copytree(finished.path, run.path)
        held = case.prepare(run) or held
    before = snapshot(run.path)
    arguments = tiny_arguments(run.path, TOTAL, *case.bindings, seed=case.seed)
    with held:
        ended = train(*arguments, *case.flags)
    return Refused(run, before, snapshot(run.path), ended)


def assert_refused(case: Case, refused: Refused) -> None:
    assert refused.ended.code == 2, refused.ended.err
    assert refused.ended.out == ""
    lines = refused.ended.err.splitlines()
    assert len(lines) == 1, refused.ended.err
    assert "Traceback" not in lines[0]
    rest = lines[0]
    for part in case.said:
        part = part.format(run=refused.run.path) if "{run}" in part else part
        assert part in rest, f"{part!r} in {lines[0]!r}"
        rest = rest[rest.index(part) + len(part) :]
    # A run that was there is as it was; a new one has not begun.
    assert refused.after == refused.before


@pytest.fixture(scope="module")
def started(tmp_path_factory, finished, tiny_arguments, snapshot, start) -> dict[str, Refused]:
    """Each of `STARTED` as a process, as many at a time as there are cores."""

    def one(case: Case) -> Refused:
        folder = tmp_path_factory.mktemp("case")

        def train(*arguments: str) -> Any:
            return start(*arguments).wait()

        return refuse(case, folder, finished, tiny_arguments, snapshot, train)

    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        return dict(zip(STARTED, pool.map(one, STARTED.values()), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", STARTED)
def test_python_train_py_refuses(started, name):
    assert_refused(STARTED[name], started[name])


@pytest.mark.parametrize("name", HERE)
def test_train_py_refuses(tmp_path, finished, run_here, tiny_arguments, snapshot, name):
    case = HERE[name]
    assert_refused(case, refuse(case, tmp_path, finished, tiny_arguments, snapshot, run_here))


@pytest.mark.parametrize("name", WRONG_KIND)
def test_values_of_the_wrong_kind_are_refused(
    tmp_path, finished, run_here, tiny_arguments, snapshot, name
):
    case = WRONG_KIND[name]
    assert_refused(case, refuse(case, tmp_path, finished, tiny_arguments, snapshot, run_here))


@pytest.mark.parametrize("binding", IGNORED)
def test_bindings_that_would_do_nothing_are_refused(
    tmp_path, finished, run_here, tiny_arguments, snapshot, binding
):
    case = bound(binding, f"{binding.split(' ')[0]} is TF-Agents' own, and this project sets ")
    assert_refused(case, refuse(case, tmp_path, finished, tiny_arguments, snapshot, run_here))


# --- Run directories that cannot be written -------------------------------------------------------


@pytest.mark.slow
def test_a_run_directory_that_cannot_be_written(tmp_path, start, tiny_arguments):
    # Under a file: there not even root can make one.
    (tmp_path / "file").write_text("mine")
    ended = start(*tiny_arguments(tmp_path / "file" / "run", TOTAL)).wait()
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err == (
        f"The run directory {tmp_path}/file/run cannot be written (Not a directory). "
        "Choose another with --run_dir, or mend its permissions.\n"
    )
    assert (tmp_path / "file").read_text() == "mine"


def test_a_run_directory_that_is_a_file(tmp_path, run_here, tiny_arguments):
    (tmp_path / "file").write_text("mine")
    ended = run_here(*tiny_arguments(tmp_path / "file", TOTAL))
    assert ended.code == 2
    assert ended.err.startswith(f"The run directory {tmp_path}/file cannot be written (File exists")
    assert (tmp_path / "file").read_text() == "mine"


# --- Configurations that lack something -----------------------------------------------------------


def test_a_fragment_alone_lacks_values(tmp_path, run_here):
    ended = run_here("--gin_file=smoke.gin", f"--run_dir={tmp_path / 'run'}")
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
    assert "The configuration sets no value for " in ended.err
    assert "give a whole file such as --gin_file=breakout.gin before it" in ended.err


@pytest.mark.parametrize("seed", ["seven", "9" * 5000], ids=["a word", "thousands of digits"])
def test_a_seed_that_is_no_number(seed, tmp_path, start, tiny_arguments):
    # Flags are read before TensorFlow is imported: this process is a quick one.
    ended = start(*tiny_arguments(tmp_path / "run"), f"--seed={seed}").wait()
    assert ended.code == 2
    assert f"flag --seed={seed[:100]}" in ended.err
    assert len(ended.err) < 500
    assert len(ended.err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


# --- What is no mistake ---------------------------------------------------------------------------


def test_a_buffer_larger_than_memory_if_the_user_insists(
    tmp_path, run_here, tiny_arguments, monkeypatch
):
    little = types.SimpleNamespace(total=1_000_000_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: little)
    arguments = tiny_arguments(tmp_path / "run", *SHORTEST)
    refused = run_here(*arguments)
    assert refused.code == 2
    assert "--ignore_memory" in refused.err
    assert "this machine has 1.0 GB" in refused.err
    ended = run_here(*arguments, "--ignore_memory")
    assert ended.code == 0
    assert "Done: 96 environment steps" in ended.err


def test_macros_stand_for_their_values(tmp_path, run_here, tiny_arguments, read_json):
    ended = run_here(
        *tiny_arguments(
            tmp_path / "run",
            *SHORTEST,
            "GAME = 'Pong'",
            "create_environment.game = %GAME",
            "SKIP = 4",
            "create_environment.frame_skip = %SKIP",
        )
    )
    assert ended.code == 0
    assert ended.err.startswith("DQN on Pong, seed 7, ")
    assert "81 environment steps (324 ALE frames)" in ended.err
    assert read_json(tmp_path / "run" / "run.json")["game"] == "Pong"


def test_a_run_goes_on_without_its_seed_being_said(
    tmp_path, finished, run_here, tiny_arguments, read_json
):
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(finished.path, run.path)
    ended = run_here(*tiny_arguments(run.path, "train.total_env_steps = 225", seed=None))
    assert ended.code == 0
    assert "DQN on Breakout, seed 7, " in ended.err
    assert "Done: 240 environment steps" in ended.err
    assert len(read_json(run.run_json)["starts"]) == 2


def test_a_finished_run_is_left_alone(tmp_path, finished, run_here, tiny_arguments, snapshot):
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(finished.path, run.path)
    before = snapshot(run.path)
    # A smaller budget is spent all the more; how closely it is watched may differ.
    for bindings in ((TOTAL,), ("train.total_env_steps = 100", "train.keep_checkpoints = 1")):
        ended = run_here(*tiny_arguments(run.path, *bindings))
        assert ended.code == 0
        assert ended.err.startswith("Done: 224 environment steps.")
        assert snapshot(run.path) == before


def test_the_home_directory_may_be_meant(tmp_path, monkeypatch, run_here):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    trained = []

    def train(run_dir: Path, seed: int | None, *, ignore_memory: bool) -> int:
        trained.append(run_dir)
        return 0

    monkeypatch.setattr(experiment, "train", train)
    assert run_here("--run_dir=~/runs/mine").code == 0
    assert trained == [tmp_path / "runs" / "mine"]


def test_ctrl_c_before_training_is_no_stack_trace(tmp_path, monkeypatch, run_here, tiny_arguments):
    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(config, "parse", interrupted)
    ended = run_here(*tiny_arguments(tmp_path / "run"))
    assert ended == type(ended)(130, "", "")
    assert not (tmp_path / "run").exists()


def test_the_run_directory_is_named_after_the_command(tmp_path, monkeypatch, run_here):
    monkeypatch.chdir(tmp_path)
    trained = []

    def train(run_dir: Path, seed: int | None, *, ignore_memory: bool) -> int:
        trained.append((str(run_dir), seed, ignore_memory))
        return 0

    monkeypatch.setattr(experiment, "train", train)
    assert run_here().code == 0
    assert run_here("--gin_file=breakout.gin", "--gin_file=short.gin", "--seed=3").code == 0
    assert run_here(f"--gin_file={config.GIN_DIRECTORY}/pong.gin", "--ignore_memory").code == 0
    assert trained == [
        ("runs/breakout", None, False),
        ("runs/breakout-short-seed3", 3, False),
        ("runs/pong", None, True),
    ]


# --- Damaged checkpoints --------------------------------------------------------------------------


@pytest.mark.slow
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_used(
    tmp_path, finished, start, tiny_arguments, read_json
):
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(finished.path, run.path)
    newest, before = checkpoint_files.checkpoints(run.checkpoints)
    damage(newest / "network.npz")
    ended = start(*tiny_arguments(run.path, TOTAL)).wait()
    assert ended.code == 0
    assert ended.err.startswith(
        f"Damaged checkpoint left out: {newest / 'network.npz'} was changed: its checksum does not "
        "match.\n"
    )
    assert f", of which {int(before.name):,} are done\n" in ended.err
    # The work that was lost is done again, to the same end.
    found, expected = read_json(run.summary_json), read_json(finished.summary_json)
    for name in ("env_steps", "train_steps", "episodes", "average_return", "weights_sha256"):
        assert found[name] == expected[name]
    arrays = checkpoint_files.open_checkpoint(newest).arrays("network")
    sound = checkpoint_files.open_checkpoint(
        checkpoint_files.existing(finished.checkpoints)[0]
    ).arrays("network")
    for name, values in sound.items():
        np.testing.assert_array_equal(arrays[name], values)


def test_a_finished_run_that_lost_its_summary_writes_it_again(
    tmp_path, finished, run_here, tiny_arguments, read_json
):
    # As if killed between the last checkpoint and its summary.
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(finished.path, run.path)
    run.summary_json.unlink()
    assert run_here(*tiny_arguments(run.path, TOTAL)).code == 0
    found, expected = read_json(run.summary_json), read_json(finished.summary_json)
    for name in ("env_steps", "train_steps", "episodes", "average_return", "weights_sha256"):
        assert found[name] == expected[name]
    assert run.run_json.read_bytes() == finished.run_json.read_bytes()


# --- A disk that is full --------------------------------------------------------------------------


def test_a_checkpoint_that_cannot_be_written_is_one_sentence(
    tmp_path, run_here, tiny_arguments, monkeypatch
):
    run = RunDirectory(tmp_path / "run")
    write = files.write_atomically

    def full(path: Path, content: bytes) -> None:
        if path.name == "learner.npz":
            raise OSError(28, "No space left on device", str(path))
        write(path, content)

    monkeypatch.setattr(files, "write_atomically", full)
    ended = run_here(*tiny_arguments(run.path, *SHORTEST))
    assert_a_full_disk_is_one_sentence(ended, 96, "checkpoints/000000000096")
    assert checkpoint_files.checkpoints(run.checkpoints) == []


def assert_a_full_disk_is_one_sentence(ended: Any, env_steps: int, name: str) -> None:
    assert ended.code == 2
    assert "Traceback" not in ended.err
    last = ended.err.splitlines()[-1]
    assert last.startswith(
        f"A file could not be read or written at {env_steps} environment steps "
        "(No space left on device: "
    )
    assert (
        f"{name}). Checkpoints written before are sound; make room and start the same command"
        in last
    )


def test_a_row_that_cannot_be_written_is_one_sentence_and_loses_no_checkpoint(
    tmp_path, run_here, tiny_arguments, monkeypatch
):
    run = RunDirectory(tmp_path / "run")

    def full(hook: hooks.MetricsFileHook, row: Any) -> None:
        if row.env_steps >= 96:
            raise OSError(28, "No space left on device", str(run.metrics_jsonl))

    monkeypatch.setattr(hooks.MetricsFileHook, "on_row", full)
    ended = run_here(*tiny_arguments(run.path, *SHORTEST))
    assert_a_full_disk_is_one_sentence(ended, 96, "metrics.jsonl")
    # Saving came first.
    assert (
        checkpoint_files.open_checkpoint(checkpoint_files.existing(run.checkpoints)[0]).counters[
            "env_steps"
        ]
        == 96
    )
