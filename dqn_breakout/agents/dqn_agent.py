"""Deep Q-learning as in Mnih et al. 2015, Algorithm 1, on TF-Agents' DqnAgent."""

from __future__ import annotations

from typing import Any, NamedTuple

import gin
import tensorflow as tf
from tf_agents.agents import data_converter, tf_agent
from tf_agents.agents.dqn import dqn_agent
from tf_agents.policies import greedy_policy, q_policy
from tf_agents.trajectories import time_step as ts
from tf_agents.utils import common

from dqn_breakout import limits
from dqn_breakout.agents.exploration import EpsilonGreedyPolicy, linear_epsilon
from dqn_breakout.agents.rmsprop import create_optimizer

# In the message of the error that a loss or an action value out of bounds raises.
DIVERGED = "training has diverged"


class DqnTrainInfo(NamedTuple):
    """What one training step saw, beside its loss.

    Attributes:
        td_loss: Huber loss of each sample, float32 `(B,)`.
        td_error: Target minus estimate of each sample, float32 `(B,)`.
        mean_q: Mean over the batch of the value of the action taken, float32 scalar.
        gradient_norm: Global norm of the gradient before any clipping, float32 scalar.
    """

    td_loss: tf.Tensor
    td_error: tf.Tensor
    mean_q: tf.Tensor
    gradient_norm: tf.Tensor


class ClippedDqnAgent(dqn_agent.DqnAgent):
    """TF-Agents' DqnAgent that also clips rewards, explores repeatably and reports more.

    - Rewards are clipped to [-reward_clip, reward_clip] here, where they become targets, so that
      the environment, the replay buffer and every metric keep the true score.
    - One forward pass of the target network gives a target; DqnAgent makes two.
    - The collect policy draws from a counted random stream.
    """

    def __init__(
        self,
        time_step_spec: ts.TimeStep,
        action_spec: Any,
        *,
        reward_clip: float | None,
        q_value_limit: float,
        epsilon_greedy: Any,
        seed: int,
        **arguments: Any,
    ):
        """Builds the agent.

        Args:
            time_step_spec: Spec of the environment's time steps.
            action_spec: Spec of one action.
            reward_clip: Largest magnitude of a reward in a target; None leaves rewards alone.
            q_value_limit: Magnitude of an action value beyond which training has failed.
            epsilon_greedy: Gives the current epsilon, float32 scalar.
            seed: The run's seed.
            **arguments: The rest of DqnAgent's.
        """
        self._reward_clip = reward_clip
        self._q_value_limit = q_value_limit
        self._seed = seed
        super().__init__(time_step_spec, action_spec, epsilon_greedy=epsilon_greedy, **arguments)
        # One-step transitions need none of the folding that n-step returns do.
        self._as_transition = data_converter.AsTransition(self.data_context, squeeze_time_dim=True)

    def _setup_policy(
        self,
        time_step_spec: ts.TimeStep,
        action_spec: Any,
        boltzmann_temperature: Any,
        emit_log_probability: bool,
    ) -> tuple[Any, Any]:
        del boltzmann_temperature, emit_log_probability
        policy = greedy_policy.GreedyPolicy(
            q_policy.QPolicy(time_step_spec, action_spec, q_network=self._q_network)
        )
        collect_policy = EpsilonGreedyPolicy(
            time_step_spec,
            action_spec,
            self._q_network,
            self._epsilon_greedy,
            self._seed,
            "collection/exploration",
        )
        return policy, collect_policy

    def _get_target_updater(self, tau: float = 1.0, period: int = 1) -> Any:
        """Copies to the target network by the train step counter; TF-Agents hides a counter."""
        self._target_update_period = period

        def update() -> None:
            common.soft_variables_update(
                self._q_network.variables, self._target_q_network.variables, tau
            )

        def update_when_due() -> None:
            if self.train_step_counter % period == 0:
                update()

        return tf.function(update_when_due)

    def td_targets(self, next_time_steps: ts.TimeStep) -> tf.Tensor:
        """Algorithm 1's `y`: clipped reward plus gamma times the target network's best value.

        Args:
            next_time_steps: The steps after the actions, batch first.

        Returns:
            float32 `(B,)`, with no gradient.
        """
        reward = next_time_steps.reward
        if self._reward_clip is not None:
            reward = tf.clip_by_value(reward, -self._reward_clip, self._reward_clip)
        q_values, _ = self._target_q_network(
            next_time_steps.observation, step_type=next_time_steps.step_type
        )
        best = tf.reduce_max(q_values, axis=-1)
        return tf.stop_gradient(reward + self._gamma * next_time_steps.discount * best)

    @property
    def q_network(self) -> Any:
        """The network that is trained."""
        return self._q_network

    @property
    def target_update_period_train_steps(self) -> int:
        """Train steps between copies to the target network."""
        return self._target_update_period

    @property
    def epsilon(self) -> float:
        """Epsilon now."""
        return float(self._epsilon_greedy().numpy())

    def state_variables(self) -> dict[str, tf.Variable]:
        """Everything that learning goes on from, by name, but for the Q-network itself."""
        # Keras makes an optimizer's variables at its first step; a fresh agent may be restored.
        self._optimizer._create_all_weights(self._q_network.trainable_variables)
        named = {"train_step": self.train_step_counter}
        for place, variable in enumerate(self._target_q_network.variables):
            named[f"target/{place:03d}"] = variable
        for place, variable in enumerate(self._optimizer.variables()):
            named[f"optimizer/{place:03d}"] = variable
        return named

    def transition(self, experience: Any) -> tuple[ts.TimeStep, tf.Tensor, ts.TimeStep]:
        """Splits a Trajectory shaped `(B, 2, ...)` into time steps, actions, next time steps."""
        time_steps, policy_steps, next_time_steps = self._as_transition(experience)
        return time_steps, policy_steps.action, next_time_steps

    def _train(self, experience: Any, weights: Any) -> tf_agent.LossInfo:
        """One step of gradient descent; see TFAgent.train.

        Args:
            experience: Trajectory shaped `(B, 2, ...)`.
            weights: Importance weights, float32 `(B,)`, or None.
        """
        time_steps, actions, next_time_steps = self.transition(experience)
        return self.train_on_targets(time_steps, actions, self.td_targets(next_time_steps), weights)

    def train_on_targets(
        self, time_steps: ts.TimeStep, actions: tf.Tensor, targets: tf.Tensor, weights: Any = None
    ) -> tf_agent.LossInfo:
        """One step of gradient descent towards targets that are known already.

        Args:
            time_steps: Where the actions were taken, batch first.
            actions: int32 `(B,)`.
            targets: What `td_targets` gave, float32 `(B,)`.
            weights: Importance weights, float32 `(B,)`, or None.

        Returns:
            The loss, and a `DqnTrainInfo`.

        Raises:
            InvalidArgumentError: The loss is not a finite number, or an action value beyond
                `q_value_limit`; the message holds `DIVERGED`, and nothing was changed.
        """
        # The step after LAST starts a new game: no transition, and no part of the loss.
        valid = tf.cast(~time_steps.is_last(), tf.float32)
        with tf.GradientTape() as tape:
            q_values = self._compute_q_values(time_steps, actions, training=True)
            td_loss = valid * self._td_errors_loss_fn(targets, q_values)
            loss = common.aggregate_losses(
                per_example_loss=td_loss,
                sample_weight=weights,
                regularization_loss=self._q_network.losses,
            ).total_loss
        variables = self._q_network.trainable_weights
        sound = tf.math.is_finite(loss) & (tf.reduce_max(tf.abs(q_values)) <= self._q_value_limit)
        gradients = tape.gradient(loss, variables)
        with tf.control_dependencies([tf.debugging.Assert(sound, [DIVERGED])]):
            gradients = [tf.identity(gradient) for gradient in gradients]
            self._optimizer.apply_gradients(zip(gradients, variables, strict=True))
            self.train_step_counter.assign_add(1)
            self._update_target()
        return tf_agent.LossInfo(
            loss,
            DqnTrainInfo(
                td_loss=td_loss,
                td_error=valid * (targets - q_values),
                mean_q=tf.reduce_mean(q_values),
                gradient_norm=tf.linalg.global_norm(gradients),
            ),
        )


@gin.configurable
def create_agent(
    time_step_spec: ts.TimeStep,
    action_spec: Any,
    q_network: Any,
    explored_env_steps: Any,
    seed: int,
    *,
    gamma: float = gin.REQUIRED,
    target_update_period_train_steps: int = gin.REQUIRED,
    reward_clip: float | None = gin.REQUIRED,
    q_value_limit: float = gin.REQUIRED,
    epsilon_initial: float = gin.REQUIRED,
    epsilon_final: float = gin.REQUIRED,
    epsilon_decay_env_steps: int = gin.REQUIRED,
) -> ClippedDqnAgent:
    """Builds the agent that gin describes.

    The loss is Huber's with threshold 1: Mnih et al. 2015 (Methods, "Training algorithm") clip the
    error term of the update to [-1, 1].

    Args:
        time_step_spec: Spec of the environment's time steps.
        action_spec: Spec of one action.
        q_network: The Q-network; the target network is made as its copy.
        explored_env_steps: Callable giving the environment steps since the random fill.
        seed: The run's seed.
        gamma: Discount factor.
        target_update_period_train_steps: Train steps between copies to the target network.
        reward_clip: Largest magnitude of a reward in a target; None for no clipping.
        q_value_limit: Training stops when the value of an action is larger, one way or the other.
        epsilon_initial: Epsilon at the first step after the random fill.
        epsilon_final: Epsilon at the end of its decay and from then on.
        epsilon_decay_env_steps: Environment steps that the linear decay takes.

    Raises:
        UserError: A value is out of range.
    """
    name = "create_agent"
    limits.fraction(f"{name}.gamma", gamma)
    limits.positive_int(
        f"{name}.target_update_period_train_steps", target_update_period_train_steps
    )
    if reward_clip is not None:
        limits.positive_float(f"{name}.reward_clip", reward_clip)
    limits.positive_float(f"{name}.q_value_limit", q_value_limit)
    limits.fraction(f"{name}.epsilon_initial", epsilon_initial)
    limits.fraction(f"{name}.epsilon_final", epsilon_final)
    limits.positive_int(f"{name}.epsilon_decay_env_steps", epsilon_decay_env_steps)
    agent = ClippedDqnAgent(
        time_step_spec,
        action_spec,
        q_network=q_network,
        optimizer=create_optimizer(),
        epsilon_greedy=lambda: linear_epsilon(
            explored_env_steps(), epsilon_initial, epsilon_final, epsilon_decay_env_steps
        ),
        target_update_period=target_update_period_train_steps,
        td_errors_loss_fn=common.element_wise_huber_loss,
        gamma=gamma,
        reward_clip=reward_clip,
        q_value_limit=q_value_limit,
        train_step_counter=tf.Variable(0, dtype=tf.int64, name="train_step"),
        seed=seed,
    )
    agent.initialize()
    return agent
