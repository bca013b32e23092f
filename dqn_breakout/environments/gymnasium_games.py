"""Any gymnasium environment with discrete actions, as `Games`: CartPole, FrozenLake, CarRacing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gin
import gymnasium
import numpy as np
from gymnasium import spaces
from tf_agents.specs import array_spec

from dqn_breakout import errors
from dqn_breakout.configurable import Builder, configurable
from dqn_breakout.environments.games import Games, GamesStep
from dqn_breakout.environments.spec import EnvironmentSpec
from dqn_breakout.errors import UserError

_NO_LIMIT = -1  # gymnasium's word for it: steps are counted here.


class GymnasiumGames(Games):
    """A batch of gymnasium environments of one kind, stepped one by one."""

    def __init__(
        self,
        environments: Sequence[gymnasium.Env[Any, Any]],
        spec: EnvironmentSpec,
        observation_spec: array_spec.BoundedArraySpec,
        max_episode_steps: int,
    ):
        """Takes environments without a time limit of their own, and that limit."""
        self.batch_size = len(environments)
        self.spec = spec
        self.observation_spec = observation_spec
        self.environments = environments
        # The model of its tables, where an environment has one, as FrozenLake's.
        self.model = getattr(environments[0].unwrapped, "P", None)
        self._max_episode_steps = max_episode_steps
        self._steps = np.zeros(self.batch_size, np.int64)
        shape = self.batch_size, *observation_spec.shape
        kinds = np.float32, bool, bool, np.int32
        self._current = GamesStep(
            np.zeros(shape, observation_spec.dtype),
            *(np.zeros(self.batch_size, kind) for kind in kinds),
        )

    def reset(self, games: np.ndarray, seeds: np.ndarray) -> GamesStep:
        """See `Games.reset`."""
        for index, seed in zip(games, seeds, strict=True):
            self._start(index, int(seed))
        return self._seen()

    def step(self, actions: np.ndarray) -> GamesStep:
        """See `Games.step`."""
        over = self._current.terminated | self._current.truncated
        for index, action in enumerate(actions):
            if over[index]:
                self._start(index, None)
                continue
            observation, reward, terminated, truncated, info = self.environments[index].step(
                int(action)
            )
            self._steps[index] += 1
            cut_off = truncated or self._steps[index] >= self._max_episode_steps
            ends = terminated, cut_off and not terminated
            self._see(index, observation, reward, *ends, info.get("lives", 0))
        return self._seen()

    def render(self) -> np.ndarray:
        """The screen of game 0, RGB uint8 `(height, width, 3)`."""
        return np.asarray(self.environments[0].render())

    def close(self) -> None:
        """Closes the environments and their windows."""
        for environment in self.environments:
            environment.close()

    def _start(self, index: int, seed: int | None) -> None:
        observation, info = self.environments[index].reset(seed=seed)
        self._steps[index] = 0
        self._see(index, observation, 0, False, False, info.get("lives", 0))

    def _see(self, index: int, *values: Any) -> None:
        """Takes a game's values, in the order of `GamesStep`."""
        for array, value in zip(self._current, values, strict=True):
            array[index] = value

    def _seen(self) -> GamesStep:
        return GamesStep(*(array.copy() for array in self._current))


@configurable(denylist=["id", "batch_size", "max_episode_steps", "render_mode"])
def gymnasium_games(
    *,
    id: str,  # noqa: A002  (gymnasium's word for it)
    batch_size: int,
    max_episode_steps: int,
    render_mode: str | None = None,
    arguments: Mapping[str, Any] = gin.REQUIRED,
    action_names: Sequence[str] = gin.REQUIRED,
    wrapper: Builder | None = None,
) -> GymnasiumGames:
    """Games of any gymnasium environment with discrete actions and a box or discrete observation.

    Args:
        id: The environment's id, such as `CartPole-v1`.
        batch_size: How many games run side by side.
        max_episode_steps: Environment steps after which a game is truncated.
        render_mode: None, "rgb_array" or "human".
        arguments: What else the environment is made with, such as `{'is_slippery': False}`.
        action_names: What the actions are called, for videos; none for their numbers.
        wrapper: Is called with each environment and gives the one that is played.

    Raises:
        UserError: There is no such environment, it is not installed, or its actions or
            observations are of a kind that no agent here can take.
    """
    environments = [_made(id, arguments, render_mode) for _ in range(batch_size)]
    if wrapper is not None:
        environments = [wrapper(each) for each in environments]
    first = environments[0]
    actions = first.action_space
    if not isinstance(actions, spaces.Discrete) or actions.start != 0:
        raise UserError(
            f"{id} has the actions {actions}, and agents here choose among some that are counted "
            "from 0, as CartPole-v1 has them. Where it has such too, ask for them: "
            "gymnasium_games.arguments = {'continuous': False}."
        )
    names = tuple(action_names) or tuple(f"action {number}" for number in range(int(actions.n)))
    if len(names) != actions.n:
        raise UserError(
            f"gymnasium_games.action_names names {len(names)} actions, and {id} has {actions.n}."
        )
    frame_skip = int(getattr(first, "frame_skip", 1))
    spec = EnvironmentSpec(
        name=id,
        action_names=names,
        frame_skip=frame_skip,
        steps_per_second=first.metadata.get("render_fps", 30) / frame_skip,
        random_and_human=None,
        protocols=("greedy", "training"),
        rules=dict(arguments),
    )
    return GymnasiumGames(environments, spec, _observation_spec(id, first), max_episode_steps)


def _made(
    name: str, arguments: Mapping[str, Any], render_mode: str | None
) -> gymnasium.Env[Any, Any]:
    try:
        return gymnasium.make(
            name,
            max_episode_steps=_NO_LIMIT,
            render_mode=render_mode,
            disable_env_checker=True,
            **arguments,
        )
    except (gymnasium.error.Error, ImportError, TypeError, ValueError) as error:
        near = errors.nearest(str(name), gymnasium.registry)
        hint = f" Did you mean {near}?" if near and near != name else ""
        raise UserError(
            f"create_environment.id = {errors.shown(name)} cannot be made: "
            f"{errors.first_line(error)}.{hint}"
        ) from error


def _observation_spec(
    name: str, environment: gymnasium.Env[Any, Any]
) -> array_spec.BoundedArraySpec:
    space = environment.observation_space
    if isinstance(space, spaces.Discrete) and space.start == 0:
        return array_spec.BoundedArraySpec((), np.int64, 0, int(space.n) - 1, "observation")
    if isinstance(space, spaces.Box):
        # Networks compute in 32 bits.
        dtype = np.float32 if np.issubdtype(space.dtype, np.floating) else space.dtype
        low, high = space.low.astype(dtype), space.high.astype(dtype)
        return array_spec.BoundedArraySpec(space.shape, dtype, low, high, "observation")
    raise UserError(
        f"{name} has the observations {space}, and agents here take arrays of numbers or a number "
        "counted from 0: bind a gymnasium_games.wrapper that makes them so."
    )
