"""Deep Q-learning as in Mnih et al. 2015, Algorithm 1, on TF-Agents' DqnAgent."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import gin
import tensorflow as tf
from tf_agents.agents import data_converter, tf_agent
from tf_agents.agents.dqn import dqn_agent
from tf_agents.trajectories import time_step as ts
from tf_agents.utils import common

from dqn_breakout.agents.exploration import Clock, EpsilonGreedyPolicy, epsilon_schedule
from dqn_breakout.agents.network_agent import NetworkAgent
from dqn_breakout.agents.objective import Objective
from dqn_breakout.configurable import Builder, Fraction, PositiveFloat, PositiveInt, configurable
from dqn_breakout.replay.transitions import Transitions

# In the message of the error that a loss or an action value out of bounds raises.
DIVERGED = "training has diverged"


class TrainInfo(NamedTuple):
    """What one train step saw, beside its loss.

    Attributes:
        td_loss: Weighted loss of each sample, float32 `(B,)`.
        td_error: Target minus estimate of each sample, unweighted; 0 where it weighs nothing,
            float32 `(B,)`.
        metrics: Those of the objective, and `gradient_norm`: the gradient's global norm before any
            clipping. float32 scalars.
    """

    td_loss: tf.Tensor
    td_error: tf.Tensor
    metrics: dict[str, tf.Tensor]


@configurable(name="create_agent")
class DeepQAgent(NetworkAgent, dqn_agent.DqnAgent):
    """TF-Agents' DqnAgent with its objective handed in, repeatable exploration, and more to report.

    - Rewards are clipped to [-reward_clip, reward_clip] here, where they become targets, so that
      the environment, the replay buffer and every metric keep the true score.
    - The objective makes targets and loss; DqnAgent's own runs the target network twice.
    - The policies draw from counted random streams.

    Attributes:
        q_network: The network that is trained.
        target_q_network: Its copy of some train steps ago, for targets.
        objective: Makes targets and the loss towards them.
        final_epsilon: Epsilon once it has decayed.
        target_update_period_train_steps: Train steps between copies to the target network.
    """

    def __init__(
        self,
        time_step_spec: ts.TimeStep,
        action_spec: Any,
        clock: Clock,
        seed: int,
        *,
        q_network: Builder = gin.REQUIRED,
        objective: Builder = gin.REQUIRED,
        optimizer: Builder = gin.REQUIRED,
        gamma: Fraction = gin.REQUIRED,
        target_update_period_train_steps: PositiveInt = gin.REQUIRED,
        reward_clip: PositiveFloat | None = gin.REQUIRED,
        q_value_limit: PositiveFloat = gin.REQUIRED,
        epsilon_initial: Fraction = gin.REQUIRED,
        epsilon_final: Fraction = gin.REQUIRED,
        epsilon_decay_env_steps: PositiveInt | None = gin.REQUIRED,
        epsilon_decay_episodes: PositiveInt | None = None,
    ):
        """Builds the agent.

        Args:
            time_step_spec: Spec of the environment's time steps.
            action_spec: Spec of one action.
            clock: Times exploration.
            seed: The run's seed.
            q_network: Such as `@create_q_network`; the target network is made as a copy.
            objective: Such as `@QLearning`.
            optimizer: Such as `@create_optimizer`, a legacy Keras optimizer.
            gamma: Discount factor.
            target_update_period_train_steps: See the class.
            reward_clip: Largest magnitude of a reward in a target; None for no clipping.
            q_value_limit: Training stops when the value of an action is larger, one way or the
                other.
            epsilon_initial: Epsilon at the first step after the random fill.
            epsilon_final: Epsilon at the end of its decay and from then on.
            epsilon_decay_env_steps: Environment steps that the linear decay takes; None where it is
                counted in episodes.
            epsilon_decay_episodes: Episodes that it takes instead, counted from the run's first.

        Raises:
            UserError: A value is out of range.
        """
        self.q_network = q_network(time_step_spec.observation, action_spec, seed)
        self.target_q_network = self.q_network.copy(name="TargetQNetwork")
        self.objective: Objective = objective()
        self.final_epsilon = epsilon_final
        self.target_update_period_train_steps = target_update_period_train_steps
        self._optimizer = optimizer()
        self._discount_factor = gamma
        self._reward_clip = reward_clip
        self._q_value_limit = q_value_limit
        self._current_epsilon = epsilon_schedule(
            clock, epsilon_initial, epsilon_final, epsilon_decay_env_steps, epsilon_decay_episodes
        )
        self._seed = seed
        super().__init__(
            time_step_spec,
            action_spec,
            q_network=self.q_network,
            target_q_network=self.target_q_network,
            optimizer=self._optimizer,
            epsilon_greedy=self._current_epsilon,
            gamma=gamma,
            train_step_counter=tf.Variable(0, dtype=tf.int64, name="train_step"),
        )
        self.initialize()

    @property
    def metric_names(self) -> tuple[str, ...]:
        """What a train step is watched by: its loss and its `TrainInfo.metrics`."""
        return ("loss", *self.objective.metric_names, "gradient_norm")

    def _values(self, outputs: tf.Tensor) -> tf.Tensor:
        return self.objective.action_values(outputs)

    def state_variables(self) -> dict[str, tf.Variable]:
        """Everything that learning goes on from, by name, but for the Q-network itself."""
        named = super().state_variables()
        for place, variable in enumerate(self.target_q_network.variables):
            named[f"target/{place:03d}"] = variable
        return named

    def targets(self, transitions: Transitions) -> tf.Tensor:
        """What the objective is to reach on a batch, float32, batch first, with no gradient."""
        return self.objective.targets(
            functools.partial(_outputs, self.q_network),
            functools.partial(_outputs, self.target_q_network),
            self._of_update(transitions),
        )

    def train_on_targets(self, transitions: Transitions, targets: tf.Tensor) -> tf_agent.LossInfo:
        """One step of gradient descent towards targets that are known already.

        Args:
            transitions: A batch.
            targets: What `targets` gave for it.

        Returns:
            The loss, and a `TrainInfo`.

        Raises:
            InvalidArgumentError: The loss is not a finite number, or an action value beyond
                `q_value_limit`; the message holds `DIVERGED`, and nothing was changed.
        """
        with tf.GradientTape() as tape:
            online = functools.partial(_outputs, self.q_network, training=True)
            of_batch = self.objective.loss(online, self._of_update(transitions), targets)
            td_loss = transitions.weight * of_batch.per_sample
            loss = common.aggregate_losses(
                per_example_loss=td_loss, regularization_loss=self.q_network.losses
            ).total_loss
        variables = self.q_network.trainable_weights
        largest = tf.reduce_max(tf.abs(of_batch.q_values))
        sound = tf.math.is_finite(loss) & (largest <= self._q_value_limit)
        gradients = tape.gradient(loss, variables)
        with tf.control_dependencies([tf.debugging.Assert(sound, [DIVERGED])]):
            gradients = [tf.identity(gradient) for gradient in gradients]
            self._optimizer.apply_gradients(zip(gradients, variables, strict=True))
            self.train_step_counter.assign_add(1)
            self._update_target_when_due()
        return tf_agent.LossInfo(
            loss,
            TrainInfo(
                td_loss=td_loss,
                td_error=tf.where(transitions.weight > 0, of_batch.td_error, 0.0),
                metrics={
                    **of_batch.metrics,
                    "gradient_norm": tf.linalg.global_norm(gradients),
                },
            ),
        )

    def _of_update(self, transitions: Transitions) -> Transitions:
        """The transitions as an objective takes them: rewards clipped, gamma in discounts."""
        reward, discount = transitions.reward, self._discount_factor * transitions.discount
        if self._reward_clip is not None:
            reward = tf.clip_by_value(reward, -self._reward_clip, self._reward_clip)
        return transitions._replace(reward=reward, discount=discount)

    @tf.function
    def _update_target_when_due(self) -> None:
        """Copies by the train step counter, which a checkpoint holds; TF-Agents hides another."""
        if self.train_step_counter % self.target_update_period_train_steps == 0:
            common.soft_variables_update(self.q_network.variables, self.target_q_network.variables)

    # The methods that TFAgent and DqnAgent have subclasses override.

    def _train(self, experience: Any, weights: Any) -> tf_agent.LossInfo:
        """`agent.train` of a Trajectory shaped `(B, 2, ...)`; see TFAgent.train."""
        to_transition = data_converter.AsTransition(self.data_context, squeeze_time_dim=True)
        time_steps, policy_steps, next_time_steps = to_transition(experience)
        # The step after LAST starts a new game: no transition, and no part of the loss.
        weight = tf.cast(~time_steps.is_last(), tf.float32) * (1.0 if weights is None else weights)
        transitions = Transitions(
            observation=time_steps.observation,
            action=policy_steps.action,
            reward=next_time_steps.reward,
            discount=next_time_steps.discount,
            next_observation=next_time_steps.observation,
            weight=weight,
            key=tf.range(tf.size(weight, tf.int64)),
        )
        return self.train_on_targets(transitions, self.targets(transitions))

    def _setup_policy(self, time_step_spec: Any, action_spec: Any, *_: Any) -> tuple[Any, Any]:
        specs = time_step_spec, action_spec
        acting = self.q_network, self._values
        stream = "collection/exploration"
        return (
            EpsilonGreedyPolicy(*specs, *acting, lambda: tf.constant(0.0), self._seed, "greedy"),
            EpsilonGreedyPolicy(*specs, *acting, self._current_epsilon, self._seed, stream),
        )

    def _check_network_output(self, net: Any, label: str) -> None:
        """What a network gives is its objective's business; DqnAgent wants action values."""


def _outputs(network: Any, observation: Any, training: bool = False) -> tf.Tensor:
    return network(observation, training=training)[0]
