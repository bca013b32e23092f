"""A trained network from disk: its checkpoint and the configuration beside it, nothing else."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np

from dqn_breakout import config
from dqn_breakout.agents.exploration import Clock
from dqn_breakout.environments.builder import create_environment
from dqn_breakout.environments.spec import EnvironmentSpec
from dqn_breakout.errors import UserError
from dqn_breakout.evaluation.request import checkpoints_of
from dqn_breakout.runs import checkpoint_files
from dqn_breakout.runs.directory import RunDirectory
from dqn_breakout.runs.stateful import Variables


@dataclasses.dataclass(frozen=True)
class SavedNetwork:
    """An agent with its network as a checkpoint holds it.

    Attributes:
        agent: Plays by that network; see `evaluate.Agent`.
        q_network: The network.
        environment: What it plays.
        checkpoint: Name of the checkpoint's folder.
        env_steps: Environment steps that the run had taken.
        train_steps: Train steps that the network had taken; None where the checkpoint has no count.
        damage: What was wrong with newer checkpoints, a sentence each.
    """

    agent: Any
    q_network: Any
    environment: EnvironmentSpec
    checkpoint: str
    env_steps: int
    train_steps: int | None
    damage: list[str]


def load_network(checkpoint_dir: str | os.PathLike[str]) -> SavedNetwork:
    """Parses the run's saved configuration and gives its network the newest sound weights.

    Args:
        checkpoint_dir: A run directory, its checkpoints folder, or one checkpoint.

    Raises:
        UserError: There is no run or no sound checkpoint, it is of another version, or its network
            is not the one that the configuration describes or has weights that are no numbers.
    """
    run = RunDirectory.of_checkpoints(checkpoint_dir)
    # Its config may name what is no more.
    checkpoint_files.refuse_other_formats(checkpoints_of(checkpoint_dir))
    config.parse([str(run.config_gin)], includes=False)
    with config.building():
        environment = create_environment(0, "evaluation", num_environments=1)
        specs = environment.time_step_spec(), environment.action_spec()
        environment.close()
        agent = config.value("build.agent")(*specs, Clock.at_rest(), 0)
    spec: EnvironmentSpec = environment.pyenv.spec
    network = Variables(agent.network_variables())
    needed_bytes = sum(value.nbytes for value in network.state().values())
    limit_bytes = checkpoint_files.limit_bytes(needed_bytes)
    checkpoint, arrays, damage = checkpoint_files.newest_arrays(
        checkpoints_of(checkpoint_dir), "network", limit_bytes
    )
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise UserError(
            f"The checkpoint {checkpoint.path} holds weights that are not finite numbers, so no "
            "game can be played by them. Give another checkpoint."
        )
    try:
        network.restore(arrays)
    except UserError as error:
        raise UserError(
            f"The checkpoint {checkpoint.path} holds another network than {run.config_gin} says "
            f"for {spec.name} and its {len(spec.action_names)} actions: {error.message} Put back "
            "the config.gin that belongs to it."
        ) from error
    counters = checkpoint.counters
    return SavedNetwork(
        agent,
        agent.q_network,
        spec,
        checkpoint.path.name,
        counters["env_steps"],
        counters.get("train_steps"),
        damage,
    )
