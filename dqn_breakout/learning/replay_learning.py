"""Learning from replay: a random fill, then collection and train steps in turn."""

from __future__ import annotations

import contextlib
from typing import Any

import gin
from tf_agents.environments.tf_py_environment import TFPyEnvironment

from dqn_breakout import machine
from dqn_breakout.agents.exploration import RandomPolicy
from dqn_breakout.collection.collector import Collector
from dqn_breakout.collection.metrics import CollectionMetrics
from dqn_breakout.configurable import Builder, configurable
from dqn_breakout.learning.learner import Learner
from dqn_breakout.learning.learning import Turn
from dqn_breakout.networks.flops import forward_flops
from dqn_breakout.runs.stateful import Stateful, Variables

# A train step costs each sample two forward passes (network and target) and a backward pass of
# about one and two thirds of one, as the first layer needs no gradient of its input.
_FORWARD_PASSES_OF_A_TRAIN_STEP = 3.64


@configurable
class ReplayLearning:
    """A turn of playing, then train steps on what is kept: Mnih et al. 2015, Algorithm 1.

    Attributes:
        replay: Where experience is kept.
        collector: Plays.
        learner: Takes train steps.
    """

    def __init__(
        self,
        environment: TFPyEnvironment,
        agent: Any,
        metrics: CollectionMetrics,
        seed: int,
        ignore_memory: bool,
        *,
        replay_buffer: Builder = gin.REQUIRED,
    ):
        """Builds replay, collector and learner around an agent.

        Args:
            environment: The environment to play.
            agent: Acts, and is trained.
            metrics: Observe what is played.
            seed: The run's seed.
            ignore_memory: Whether to go on even if replay cannot fit this machine's memory.
            replay_buffer: Such as `@create_replay_buffer`.

        Raises:
            UserError: A binding is missing or out of range, or memory is too small.
        """
        self._environment = environment
        self._agent = agent
        self._metrics = metrics
        self.metric_names = agent.metric_names
        self.replay = self.rows = replay_buffer(
            agent.collect_data_spec,
            environment.batch_size,
            seed,
            environment.pyenv.spec.stacked,
            ignore_memory,
        )
        random_policy = RandomPolicy(
            agent.time_step_spec, agent.action_spec, seed, "collection/random fill"
        )
        self.collector = Collector(
            environment,
            random_policy,
            agent.collect_policy,
            self.replay.add_batch,
            metrics.observers,
        )
        self.random_fill_env_steps = self.collector.random_fill_env_steps
        self.learner = Learner(agent, self.replay)
        self.parts: dict[str, Stateful] = {
            "network": Variables(agent.network_variables()),
            "learner": Variables(agent.state_variables()),
            "metrics": Variables(metrics.variables()),
            "collection": Variables(self.collector.variables()),
            "replay": self.replay,
            "environment": self.collector,
        }

    @property
    def env_steps(self) -> int:
        """Environment steps so far."""
        return self._metrics.env_steps

    def turn(self) -> Turn:
        """A piece of the random fill, or a turn of playing and the train steps that are due."""
        env_steps, fill = self.env_steps, self.random_fill_env_steps
        if env_steps < fill:
            self.collector.fill(env_steps)
            return Turn(self.env_steps, 0, {})
        overlapped = self.collector.overlapped
        if not overlapped:
            self.collector.collect()
            env_steps = self.env_steps
        # Overlapped, the steps of this very turn come to replay, and are trained for, in the next.
        due = self.learner.train_steps_due(env_steps - fill, self._metrics.episodes)
        with self.collector.playing() if overlapped else contextlib.nullcontext():
            metrics = self.learner.train(due) if due else {}
        return Turn(self.env_steps, due, metrics)

    def status(self) -> dict[str, Any]:
        """Train steps, epsilon (1 during the random fill), transitions stored."""
        filled = self.env_steps >= self.random_fill_env_steps
        return {
            "train_steps": int(self._agent.train_step_counter.numpy()),
            "epsilon": self._agent.epsilon if filled else 1.0,
            "replay_transitions": int(self.replay.num_frames().numpy()),
        }

    def plan(self) -> dict[str, str]:
        """The memory that replay takes."""
        transitions, size = self.replay.capacity_transitions, self.replay.capacity_bytes
        return {
            "replay buffer": f"{transitions:,} transitions, about {size / 1e9:.2f} GB when full; "
            f"this machine has {machine.memory_bytes() / 1e9:.1f} GB"
        }

    def result(self) -> str:
        """Nothing that fits a screen: the network."""
        return ""

    def flops_per_env_step(self) -> float | None:
        """An action, and the env step's share of a train step; None where episodes are counted."""
        forward = forward_flops(self._agent.q_network, self._environment.observation_spec())
        if self.learner.env_steps_per_train_step is None:
            return None
        samples = self.learner.batch_size / self.learner.env_steps_per_train_step
        return forward * (1 + _FORWARD_PASSES_OF_A_TRAIN_STEP * samples)

    def close(self) -> None:
        """Ends the thread that plays, and the games."""
        self.collector.close()
