"""The rules between a batch of games and the agent: seeds, FIRE, lost lives, ends, exact restore.

One `time_step` stream is a stream of full games with unclipped rewards, whatever training makes of
it: a lost life only sets `discount` to 0, and clipping is the agent's (`agents/dqn_agent.py`).
TF-Agents' own metrics therefore count real scores without knowing any of this.
"""

from __future__ import annotations

import numpy as np
from tf_agents.environments import py_environment
from tf_agents.specs import array_spec
from tf_agents.trajectories import time_step as ts

from dqn_breakout import seeding
from dqn_breakout.environments.games import Games, GamesStep
from dqn_breakout.environments.spec import EnvironmentSpec
from dqn_breakout.errors import UserError


class GamesEnvironment(py_environment.PyEnvironment):
    """A batched TF-Agents environment over `Games`.

    - `step_type` is FIRST and LAST at the first and last step of a full game. The step after LAST
      ignores its action and returns the FIRST step of the next game, each game for itself.
    - `discount` is 0 where a game terminates and, with `terminal_on_life_loss`, where a life is
      lost; it is 1 everywhere else, at truncation too (a game cut off is not a game lost).
    - `reward` is the unclipped score, float32.
    - With `fire_on_reset`, the step after FIRST, and the one after a lost life that counts as
      terminal, presses FIRE whatever the action, in games that have FIRE: Breakout serves no ball
      without it.
    - The observation is the games' own, such as the newest frame; `FrameStack` stacks.
    """

    def __init__(
        self,
        games: Games,
        spec: EnvironmentSpec,
        seed: int,
        stream: str,
        *,
        terminal_on_life_loss: bool,
        fire_on_reset: bool,
    ):
        """Builds the environment; the first `reset` starts the games.

        Args:
            games: The games to play.
            spec: What others ask of them; `spec` from then on.
            seed: The run's seed.
            stream: Names the random stream that game seeds come from, such as "collection".
            terminal_on_life_loss: Whether a lost life ends bootstrapping.
            fire_on_reset: Whether the environment presses FIRE by itself.
        """
        super().__init__()
        self.games = games
        self.spec = spec
        self._seed = seed
        self._stream = stream
        self._terminal_on_life_loss = terminal_on_life_loss
        meanings = spec.action_names
        self._fire = meanings.index("FIRE") if fire_on_reset and "FIRE" in meanings else None
        self._action_spec = array_spec.BoundedArraySpec(
            (), np.int32, 0, len(meanings) - 1, name="action"
        )
        count = games.batch_size
        self._seedings = np.zeros(count, np.int64)
        self._actions_since_seeding: list[list[int]] = [[] for _ in range(count)]
        self._lives = np.zeros(count, np.int32)
        self._over = np.zeros(count, bool)
        self._press_fire = np.zeros(count, bool)

    @property
    def batched(self) -> bool:
        """Always True: one game is a batch of one."""
        return True

    @property
    def batch_size(self) -> int:
        """How many games run side by side."""
        return self.games.batch_size

    def observation_spec(self) -> array_spec.BoundedArraySpec:
        """One observation of a game."""
        return self.games.observation_spec

    def action_spec(self) -> array_spec.BoundedArraySpec:
        """One action, int32 in [0, number of actions)."""
        return self._action_spec

    def get_info(self) -> dict[str, np.ndarray]:
        """Of each game, int32 `(B,)`: `lives` left, and `actions`, what was pressed last."""
        pressed = [log[-1] if log else 0 for log in self._actions_since_seeding]
        return {"lives": self._lives.copy(), "actions": np.array(pressed, np.int32)}

    def render(self, mode: str = "rgb_array") -> np.ndarray:
        """The screen of game 0, RGB uint8, where the games can show one."""
        del mode
        return self.games.render()

    def close(self) -> None:
        """Lets go of the games."""
        self.games.close()

    def get_state(self) -> dict[str, np.ndarray]:
        """All that the games' future depends on, as named arrays.

        Neither kind of games can save its emulators exactly for every ROM, but a game seeded anew
        and given the same actions always arrives at the same state: so the state is the number of
        each game's last seeding and the actions since.

        Returns:
            `seedings`, int64 `(B,)`; `actions` `(sum of lengths,)`, game after game;
            `lengths`, int64 `(B,)`; `observations`, what the games show, `(B, ...)`.
        """
        lengths = np.array([len(actions) for actions in self._actions_since_seeding], np.int64)
        dtype = np.min_scalar_type(int(self._action_spec.maximum))
        return {
            "seedings": self._seedings.copy(),
            "actions": np.concatenate(
                [np.array(actions, dtype) for actions in self._actions_since_seeding]
            ),
            "lengths": lengths,
            "observations": np.array(self.current_time_step().observation),
        }

    def set_state(self, state: dict[str, np.ndarray]) -> None:
        """Brings the games to a state that `get_state` gave, by playing their actions again.

        Args:
            state: What `get_state` returned, from games of the same kind, number and seed.

        Raises:
            UserError: It is of another number of games, or they do not show what they showed.
        """
        if len(state["lengths"]) != self.batch_size:
            raise UserError(
                f"its games are {len(state['lengths'])}, and this run plays {self.batch_size}."
            )
        everyone = np.arange(self.batch_size)
        lengths = state["lengths"]
        logs = np.split(state["actions"], np.cumsum(lengths)[:-1])
        longest = int(lengths.max())
        self._seedings = state["seedings"].astype(np.int64).copy()
        time_step = self._start_games(everyone)
        # Games with short logs start late, so that all arrive together; until then they idle.
        for tick in range(longest + 1):
            starting = everyone[lengths == longest - tick]
            if tick and starting.size:
                time_step = _replace(time_step, starting, self._start_games(starting))
            if tick < longest:
                offset = longest - tick
                actions = [log[len(log) - offset] if len(log) >= offset else 0 for log in logs]
                time_step = self._advance(np.array(actions, np.int32))
        if not np.array_equal(time_step.observation, state["observations"]):
            raise UserError(
                "its games cannot be brought back to where the run stopped: the same actions do "
                "not lead there. Install the versions that run.json names; where they are there, "
                f"{self.spec.name} is not the same twice, and its runs cannot go on."
            )
        self._current_time_step = time_step

    def _reset(self) -> ts.TimeStep:
        self._seedings += 1
        return self._start_games(np.arange(self.batch_size))

    def _step(self, action: np.ndarray) -> ts.TimeStep:
        due = np.flatnonzero(self._due())
        time_step = self._advance(action)
        if due.size:
            self._seedings[due] += 1
            time_step = _replace(time_step, due, self._start_games(due))
        return time_step

    def _due(self) -> np.ndarray:
        """Whether each game is over and to be seeded anew, bool `(B,)`."""
        due = self._over.copy()
        for index in np.flatnonzero(due):
            due[index] = (
                len(self._actions_since_seeding[index]) >= self.games.reseed_period_env_steps
            )
        return due

    def _start_games(self, indices: np.ndarray) -> ts.TimeStep:
        """Seeds some games anew; only their rows of the returned `time_step` have a meaning."""
        seeds = np.array(
            [
                seeding.stream_key(
                    self._seed, f"{self._stream}/game {index}/seeding {self._seedings[index]}"
                )
                for index in indices
            ],
            np.int64,
        )
        step = self.games.reset(indices, seeds)
        for index in indices:
            self._actions_since_seeding[index] = []
        self._lives[indices] = step.lives[indices]
        self._over[indices] = False
        self._press_fire[indices] = self._fire is not None
        count = self.batch_size
        return ts.TimeStep(
            step_type=np.full(count, ts.StepType.FIRST, np.int32),
            reward=np.zeros(count, np.float32),
            discount=np.ones(count, np.float32),
            observation=step.observations,
        )

    def _advance(self, action: np.ndarray) -> ts.TimeStep:
        if self._fire is not None:
            action = np.where(self._press_fire, self._fire, action)
        for log, taken in zip(self._actions_since_seeding, action.tolist(), strict=True):
            log.append(taken)
        starting = self._over
        return self._to_time_step(starting, self.games.step(action))

    def _to_time_step(self, starting: np.ndarray, step: GamesStep) -> ts.TimeStep:
        over = step.terminated | step.truncated
        life_lost = (step.lives < self._lives) & ~starting & ~over
        terminal = step.terminated | (life_lost & self._terminal_on_life_loss)
        self._lives = step.lives.astype(np.int32)
        self._over = over
        if self._fire is not None:
            self._press_fire = starting | (life_lost & self._terminal_on_life_loss)
        step_type = np.full(self.batch_size, ts.StepType.MID, np.int32)
        step_type[starting] = ts.StepType.FIRST
        step_type[over] = ts.StepType.LAST
        return ts.TimeStep(
            step_type=step_type,
            reward=step.rewards,
            discount=np.where(terminal, 0, 1).astype(np.float32),
            observation=step.observations,
        )


def _replace(time_step: ts.TimeStep, rows: np.ndarray, source: ts.TimeStep) -> ts.TimeStep:
    """`time_step` with some rows taken from `source`."""

    def replace(old: np.ndarray, new: np.ndarray) -> np.ndarray:
        mixed = old.copy()
        mixed[rows] = new[rows]
        return mixed

    return ts.TimeStep(*map(replace, time_step, source))
