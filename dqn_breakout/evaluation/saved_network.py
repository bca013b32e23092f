"""A trained network from disk: its checkpoint and the configuration beside it, nothing else."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dqn_breakout import config, errors
from dqn_breakout.environments.builder import create_environment
from dqn_breakout.errors import UserError
from dqn_breakout.evaluation.request import checkpoints_of
from dqn_breakout.runs import checkpoint_files
from dqn_breakout.runs.directory import RunDirectory


@dataclasses.dataclass(frozen=True)
class SavedNetwork:
    """A network as a checkpoint holds it.

    Attributes:
        q_network: The Q-network, with the checkpoint's weights.
        checkpoint: Name of the checkpoint's folder.
        env_steps: Environment steps that the run had taken.
        train_steps: Train steps that the network had taken; None where the checkpoint has no count.
        damage: What was wrong with newer checkpoints, a sentence each.
    """

    q_network: Any
    checkpoint: str
    env_steps: int
    train_steps: int | None
    damage: list[str]


def load_network(checkpoint_dir: str | os.PathLike[str]) -> SavedNetwork:
    """Parses the run's saved configuration and gives its network the newest sound weights.

    All modules that define configurables must have been imported: the saved configuration names
    those of training too.

    Args:
        checkpoint_dir: A run directory, its checkpoints folder, or one checkpoint.

    Raises:
        UserError: There is no run or no sound checkpoint, or the checkpoint's network is not the
            one that the configuration describes.
    """
    run = RunDirectory.of_checkpoints(checkpoint_dir)
    config.parse([str(run.config_gin)], includes=False)
    with config.building():
        environment = create_environment(0, "evaluation", num_environments=1)
        try:
            create = config.value("build.q_network")
            q_network = create(environment.observation_spec(), environment.action_spec(), 0)
        finally:
            environment.close()
    expected_bytes = sum(math.prod(each.shape) * each.dtype.size for each in q_network.variables)
    checkpoint, arrays, damage = checkpoint_files.newest_arrays(
        checkpoints_of(checkpoint_dir), "network", checkpoint_files.limit_bytes(expected_bytes)
    )
    _assign(q_network.variables, arrays, checkpoint.path, run)
    counters = checkpoint.counters
    return SavedNetwork(
        q_network,
        checkpoint.path.name,
        counters["env_steps"],
        counters.get("train_steps"),
        damage,
    )


def _assign(
    variables: Sequence[Any],
    arrays: Mapping[str, np.ndarray],
    checkpoint: Path,
    run: RunDirectory,
) -> None:
    """Gives a network a checkpoint's weights, or says why they are another network's."""
    saved = [arrays[name] for name in sorted(arrays)]
    there = [tuple(array.shape) for array in saved]
    here = [tuple(variable.shape) for variable in variables]
    if there != here:
        raise UserError(
            f"The checkpoint {checkpoint} does not fit {run.config_gin}: "
            f"{_difference(there, here)} Put back the config.gin that belongs to the checkpoint."
        )
    for name, array, variable in zip(sorted(arrays), saved, variables, strict=True):
        if array.dtype != variable.dtype.as_numpy_dtype or not np.isfinite(array).all():
            raise UserError(
                f"The checkpoint {checkpoint} cannot be played: its array {errors.shown(name)} "
                f"does not hold finite {variable.dtype.name} numbers."
            )
    for array, variable in zip(saved, variables, strict=True):
        variable.assign(array)


def _difference(there: list[tuple[int, ...]], here: list[tuple[int, ...]]) -> str:
    """Says in what two networks differ; the last two variables are the output layer's."""
    if len(there) != len(here):
        return f"its network has {len(there)} variables, the configured one has {len(here)}."
    differing = [place for place, shape in enumerate(there) if shape != here[place]]
    output = len(here) - 1
    if set(differing) == {output - 1, output} and there[output] and here[output]:
        game = config.value("create_environment.game")
        return f"its network has {there[output][0]} actions, {game} has {here[output][0]}."
    place = differing[0]
    return (
        f"variable {place} of its network has shape {there[place]}, that of the configured one "
        f"{here[place]}."
    )
