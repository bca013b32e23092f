"""Games whose every step is written down beforehand, to test rules and book-keeping on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from tf_agents.environments.tf_py_environment import TFPyEnvironment
from tf_agents.specs import array_spec
from tf_agents.trajectories import policy_step, trajectory

from dqn_breakout.environments.frame_stack import FrameStack4
from dqn_breakout.environments.games import Games, GamesStep
from dqn_breakout.environments.games_environment import GamesEnvironment
from dqn_breakout.environments.spec import EnvironmentSpec


class Move(NamedTuple):
    """What one step after a game's first one gives; `end` is "terminated" or "truncated"."""

    reward: float
    lives: int
    end: str = ""


class Script(NamedTuple):
    """One game: the lives at its start, then its moves, of which the last ends it."""

    lives: int
    moves: Sequence[Move]


class ScriptedGames(Games):
    """Plays scripts, whatever the actions: `scripts[i]` are the games of place `i`, in a cycle.

    No two frames are alike: each holds the place, the seed, and the number of the step since that
    seed was given.

    Attributes:
        actions: The actions of each step, int `(B,)`, as they came.
        seeds: `(games, seeds)` of each reset, as they came.
    """

    reseed_period_env_steps = 5_000

    def __init__(
        self,
        scripts: Sequence[Sequence[Script]],
        frame_shape: tuple[int, int] = (2, 3),
        action_meanings: tuple[str, ...] = ("NOOP", "FIRE", "RIGHT", "LEFT"),
    ):
        self.batch_size = len(scripts)
        self.observation_spec = array_spec.BoundedArraySpec(
            frame_shape, np.uint8, 0, 255, "observation"
        )
        self.spec = EnvironmentSpec(
            "Scripted", action_meanings, 4, 15.0, None, ("nature", "training"), {}
        )
        self.actions: list[np.ndarray] = []
        self.seeds: list[tuple[list[int], list[int]]] = []
        self._scripts = scripts
        self._seed = [0] * self.batch_size
        self._steps = [0] * self.batch_size
        self._plays = [_play(games) for games in scripts]
        self._moves = [Move(0, 0)] * self.batch_size

    def reset(self, games: np.ndarray, seeds: np.ndarray) -> GamesStep:
        self.seeds.append((games.tolist(), seeds.tolist()))
        for place, seed in zip(games.tolist(), seeds.tolist(), strict=True):
            self._seed[place] = seed
            self._steps[place] = 0
            self._plays[place] = _play(self._scripts[place])
            self._moves[place] = next(self._plays[place])
        return self._step()

    def step(self, actions: np.ndarray) -> GamesStep:
        self.actions.append(np.array(actions))
        for place in range(self.batch_size):
            self._steps[place] += 1
            self._moves[place] = next(self._plays[place])
        return self._step()

    def _step(self) -> GamesStep:
        moves = self._moves
        seen = zip(range(self.batch_size), self._seed, self._steps, strict=True)
        return GamesStep(
            observations=np.stack([frame_of(*each, self.observation_spec.shape) for each in seen]),
            rewards=np.array([move.reward for move in moves], np.float32),
            terminated=np.array([move.end == "terminated" for move in moves]),
            truncated=np.array([move.end == "truncated" for move in moves]),
            lives=np.array([move.lives for move in moves], np.int32),
        )


def _play(scripts: Sequence[Script]) -> Iterator[Move]:
    while True:
        for script in scripts:
            yield Move(0, script.lives)
            yield from script.moves


def frame_of(place: int, seed: int, step: int, shape: tuple[int, int] = (2, 3)) -> np.ndarray:
    """The frame that `ScriptedGames` shows: `place`, `seed` and `step` over and over, uint8."""
    assert step < 2**16
    return np.resize(np.array([place, seed % 251, step >> 8, step % 256], np.uint8), shape)


def random_scripts(
    seed: int, games: int, longest: int, *, shortest: int = 1, lives: int = 3
) -> list[Script]:
    """Games of random lengths, with lives lost, rewards over 1 and below 0, and both ends."""
    rng = np.random.default_rng(seed)
    scripts = []
    for _ in range(games):
        length = int(rng.integers(shortest, longest + 1))
        left = lives
        moves = []
        for _ in range(length - 1):
            left = max(left - int(rng.random() < 0.2), 1)
            moves.append(Move(float(rng.choice([0, 0, 1, 4, 7, -2])), left))
        end = "terminated" if rng.random() < 0.7 else "truncated"
        moves.append(Move(float(rng.choice([0, 3])), 0 if end == "terminated" else left, end))
        scripts.append(Script(lives, moves))
    return scripts


def under_rules(
    games: Games, *, seed: int = 0, terminal_on_life_loss: bool = True, fire_on_reset: bool = True
) -> GamesEnvironment:
    """`games` as one frame after the other, under the rules of training."""
    rules = {"terminal_on_life_loss": terminal_on_life_loss, "fire_on_reset": fire_on_reset}
    spec = dataclasses.replace(games.spec, rules=rules)
    return GamesEnvironment(games, spec, seed, "collection", **rules)


def scripted_environment(games: Games, **arguments: Any) -> TFPyEnvironment:
    """The environment that a run would have, around `games`; see `under_rules`."""
    return TFPyEnvironment(FrameStack4(under_rules(games, **arguments)))


def trajectories(environment: TFPyEnvironment, seed: int = 0) -> Iterator[trajectory.Trajectory]:
    """Plays random actions without end; each field is a NumPy array `(B, ...)`."""
    rng = np.random.default_rng(seed)
    pyenv = environment.pyenv
    time_step = pyenv.reset()
    while True:
        actions = rng.integers(0, pyenv.action_spec().maximum + 1, pyenv.batch_size)
        step = policy_step.PolicyStep(actions.astype(np.int32), (), ())
        following = pyenv.step(step.action)
        yield trajectory.from_transition(time_step, step, following)
        time_step = following
