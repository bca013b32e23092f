"""This project as a contestant: a gin file's experiment and its training loop, without a run.

All that benchmarks know of how `dqn_breakout` is built stands here. What `experiment.train` does
between turns is left out, as peers are timed without theirs: files (metrics, checkpoints and the
rows written ahead for them, TensorBoard), console lines, evaluations, signals. The numbers of each
turn are read as in a run, and dropped.
"""

from __future__ import annotations

import gc
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import psutil

from benchmarks import contestant, floor
from benchmarks.processes import ROOT
from dqn_breakout.errors import UserError

# Enough where memory is not what is measured.
SMALL_REPLAY = (
    "create_replay_buffer.capacity_transitions = 20000",
    "create_collector.random_fill_env_steps = 10000",
)
# What breakout.gin is without each choice made for speed.
LEVERS_OFF: dict[str, tuple[str, ...]] = {
    "games in C++": ("create_environment.games = @python_games",),
    "sixteen games": ("create_environment.num_environments = 1",),
    "overlapped collection": ("create_collector.overlapped = False",),
    "compiled optimizer": ("create_optimizer.compiled = False",),
    "targets ahead": ("create_learner.targets_ahead = False",),
    "groups of four batches": ("create_learner.train_steps_per_group = 1",),
}
LEVERS_OFF |= {
    "any of these": tuple(binding for (binding,) in LEVERS_OFF.values()),
    # A lever for memory, which may cost speed.
    "plain replay": ("create_replay_buffer.frame_table = @compressed_frames",),
}
# `train.py`, but for the segments written beside training.
TRAIN_WITHOUT_WRITING_AHEAD = (
    "import runpy; from dqn_breakout.runs.checkpoint import RunCheckpointer; "
    "RunCheckpointer.write_ahead = lambda self: None; "
    "runpy.run_path('train.py', run_name='__main__')"
)
# Read and written at a time while the replay buffer is filled: small beside what is measured.
_ROWS_IN_A_PIECE = 64
_ENV_STEPS_IN_A_PIECE = 1_000
_SAMPLINGS = 200


def configured(gin_files: list[str], gin_bindings: list[str], name: str) -> Any:
    """What a configuration binds to a name such as `train.keep_checkpoints`."""
    from dqn_breakout import config

    config.parse(gin_files, gin_bindings)
    return config.value(name)


class Part(NamedTuple):
    """A part of a training iteration: does it once, for so many train steps."""

    name: str
    call: Callable[[], Any]
    train_steps: float


class ThisProject(contestant.Contestant):
    """A configuration's experiment and training loop, and the numbers that others ask for."""

    def __init__(
        self, gin_files: list[str], gin_bindings: list[str], seed: int = 1, share: bool = True
    ):
        """Builds the experiment, as train.py does.

        TensorFlow shares the processors as in a run, if `share`, which can be said only before it
        computes anything.

        Raises:
            UserError: The gin files or bindings are wrong.
        """
        from dqn_breakout import config, experiment, machine

        config.parse(gin_files, gin_bindings)
        if share:
            machine.share_threads()
        with config.building():
            parts = experiment.build(seed)
        self._environment, self._agent = parts.environment, parts.agent
        self._learning, self._replay = parts.learning, parts.learning.replay
        self._overlapped = config.value("create_collector.overlapped")
        self._train_steps_per_group = config.value("create_learner.train_steps_per_group")
        self._targets_ahead = config.value("create_learner.targets_ahead")
        self.env_steps_per_iteration = config.value("create_collector.env_steps_per_iteration")
        self.env_steps_per_train_step = config.value("create_learner.env_steps_per_train_step")
        self.batch_size = config.value("create_learner.batch_size")
        self.num_environments = self._environment.batch_size
        self.observation_shape = tuple(self._environment.observation_spec().shape)
        self.layers = floor.layers(self._agent.q_network, self.observation_shape)

    def turn(self) -> None:
        """One turn of the training loop, a piece of the random fill at first."""
        for value in self._learning.turn().metrics.values():
            float(value)

    def fill(self) -> dict[str, Any]:
        """Plays the random fill; its first piece, which compiles, is left out of the speed."""
        self.turn()
        env_steps, started = self._learning.env_steps, time.perf_counter()
        while self._learning.env_steps < self._learning.random_fill_env_steps:
            self.turn()
        steps, seconds = self._learning.env_steps - env_steps, time.perf_counter() - started
        return {
            "num_environments": self.num_environments,
            "replay_capacity_transitions": self._replay.capacity_transitions,
            "flops_per_sample": floor.flops_per_sample(self.layers),
            "random_fill_env_steps_per_second": steps / seconds if steps else None,
        }

    def train_until(self, deadline: float) -> None:
        """See `contestant.Contestant`."""
        while time.perf_counter() < deadline:
            self.turn()

    def counts(self) -> tuple[int, int]:
        """See `contestant.Contestant`."""
        return self._learning.env_steps, int(self._agent.train_step_counter.numpy())

    def close(self) -> None:
        """Ends the games and their thread."""
        self._learning.close()

    # --- Replay memory filled to a level ----------------------------------------------------------

    def play(self, env_steps: int) -> None:
        """Plays without training, with the network of `pretrained/breakout` at the run's epsilon.

        Frames of random play compress better than those of a game that is going well. What is
        played here, in games of its own, goes into the replay buffer and into no count.
        """
        import tensorflow as tf
        from tf_agents.drivers.dynamic_step_driver import DynamicStepDriver

        from dqn_breakout.environments.builder import create_environment
        from dqn_breakout.evaluation.saved_network import load_network

        games = create_environment(2, "collection")
        trained = load_network(ROOT / "pretrained" / "breakout").agent.network_variables()
        for name, variable in self._agent.network_variables().items():
            variable.assign(trained[name])
        driver = DynamicStepDriver(
            games,
            self._agent.collect_policy,
            [self._replay.add_batch],
            num_steps=_ENV_STEPS_IN_A_PIECE,
        )
        run = tf.function(driver.run, autograph=False)
        time_step, first = games.reset(), self._replay.rows_added
        for _ in range(0, env_steps, _ENV_STEPS_IN_A_PIECE):
            time_step, _ = run(time_step, ())
        self._rows_played = self._replay.rows_added - first
        games.close()

    def level(self, transitions: int) -> dict[str, int]:
        """Stores played rows again until so many transitions were stored, overwritten ones too."""
        replay = self._replay
        wanted = transitions // self.num_environments
        while (there := replay.rows_added) < wanted:
            first = there - self._rows_played
            rows = replay.read_rows(first, first + min(_ROWS_IN_A_PIECE, wanted - there))
            replay.write_rows(there, rows)
        self.train_until(time.perf_counter() + 1.0)
        return self.memory()

    def memory(self) -> dict[str, int]:
        """Memory of this process in bytes, now and at most so far, and what is stored."""
        gc.collect()
        stored = min(self._replay.rows_added, self._replay.max_length)
        return {
            "transitions": stored * self.num_environments,
            "resident_bytes": int(psutil.Process().memory_info().rss),
            "peak_bytes": _peak_bytes(),
        }

    def sampling(self) -> dict[str, float]:
        """Milliseconds of one group's sampling by itself, a median, and its transitions."""
        sample, number = self._sample()
        seconds = statistics.median(floor.timed(sample)[0] for _ in range(_SAMPLINGS))
        return {"milliseconds": seconds * 1e3, "transitions": number}

    def _sample(self) -> tuple[Callable[[], Any], int]:
        """Samples a group's transitions; and how many these are."""
        import tensorflow as tf

        number = self.batch_size * self._train_steps_per_group
        return tf.function(lambda: self._replay.sample(number), autograph=False), number

    # --- The parts of a training iteration, see `profile` -----------------------------------------

    def parts(self) -> list[Part]:
        """Every part, called once each."""
        found = [*self._parts_of_playing(), *self._parts_of_learning()]
        for part in found:
            part.call()
        return found

    def _parts_of_playing(self) -> list[Part]:
        """In games of their own: those of the training loop go on undisturbed."""
        import tensorflow as tf
        from tf_agents.trajectories import trajectory as trajectory_lib

        from dqn_breakout.environments.builder import create_environment

        games, policy, found = create_environment(2, "collection"), self._agent.collect_policy, []
        if self._overlapped:
            policy = policy.detached()
            turn = self.env_steps_per_iteration / self.env_steps_per_train_step
            found = [Part("policy, synchronised", policy.synchronise, turn)]
        last = int(games.action_spec().maximum)
        shape = [1000, self.num_environments]
        drawn = tf.random.stateless_uniform(shape, (1, 2), 0, last + 1, tf.int32)
        actions = itertools.cycle(tf.unstack(drawn))
        step = tf.function(lambda action: games.step(action).observation, autograph=False)
        time_step = games.reset()
        act = tf.function(lambda: policy.action(time_step), autograph=False)
        chosen = act()
        next_time_step = games.step(chosen.action)
        trajectory = trajectory_lib.from_transition(time_step, chosen, next_time_step)

        @tf.function(autograph=False)
        def write() -> None:
            self._replay.add_batch(trajectory)

        # Train steps that one step of all games is for.
        all_games = self.num_environments / self.env_steps_per_train_step
        return [
            Part("environment", lambda: step(next(actions)), all_games),
            Part("policy", act, all_games),
            *found,
            Part("replay, writing", write, all_games),
        ]

    def _parts_of_learning(self) -> list[Part]:
        import tensorflow as tf

        from dqn_breakout import config

        def first(train_steps: int) -> Any:
            count = self.batch_size * train_steps
            return tf.nest.map_structure(lambda values: values[:count], transitions)

        agent = self._agent
        sample, _ = self._sample()
        transitions = sample()
        # The learner asks for targets of a batch or of a whole group.
        train_steps = 1 if self._targets_ahead else self._train_steps_per_group
        asked, batch = first(train_steps), first(1)
        targets = tf.function(lambda: agent.targets(asked), autograph=False)
        batch_targets = targets()[: self.batch_size]
        weights = agent.q_network.trainable_weights

        @tf.function(autograph=False)
        def gradient() -> Any:
            with tf.GradientTape() as tape:
                loss = agent.objective.loss(
                    lambda observation: agent.q_network(observation, training=True)[0],
                    batch,
                    batch_targets,
                )
                mean = tf.reduce_mean(loss.per_sample)
            return tape.gradient(mean, weights)

        gradients = gradient()
        # The same gradient a hundred times leaves no network worth training.
        copies = [tf.Variable(each) for each in weights]
        optimizer = config.value("create_agent.optimizer")()

        @tf.function(autograph=False)
        def update() -> None:
            optimizer.apply_gradients(zip(gradients, copies, strict=True))

        return [
            Part("replay, sampling", sample, self._train_steps_per_group),
            Part("targets", targets, train_steps),
            Part("gradient", gradient, 1),
            Part("optimizer", update, 1),
        ]


if __name__ == "__main__":
    try:
        contestant.serve(lambda settings: ThisProject(**settings))
    except UserError as error:
        sys.exit(error.message)


def _peak_bytes() -> int:
    """The most memory that this process has had so far."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
