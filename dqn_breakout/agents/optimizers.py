"""Optimizers: RMSprop as DQN uses it, in the two forms that the literature means, and Adam."""

from __future__ import annotations

from typing import Any

import gin
import tensorflow as tf
import tf_keras

from dqn_breakout.configurable import Fraction, PositiveFloat, PositiveInt, configurable


@configurable(name="create_optimizer")
class RMSprop(tf_keras.optimizers.legacy.RMSprop):
    """Keras's RMSprop with epsilon where it is wanted, and no square root of less than nothing.

    Bind `create_agent.optimizer = @create_optimizer`. With running means `m` of the gradient and
    `s` of its square, a step is

        v -= learning_rate * g / (sqrt(s - m^2) + epsilon)     epsilon_inside_root = False
        v -= learning_rate * g / sqrt(s - m^2 + epsilon)       epsilon_inside_root = True

    where `m` is 0 unless `centered`. Keras takes the first form without momentum and the second
    with it, and says so nowhere; the code of Mnih et al. 2015 takes the second. In the first,
    rounding can make `s - m^2` negative while a gradient stays constant, and Keras's weights become
    NaN: here it counts as 0.
    """

    def __init__(
        self,
        *,
        learning_rate: PositiveFloat = gin.REQUIRED,
        rho: Fraction = gin.REQUIRED,
        momentum: Fraction = gin.REQUIRED,
        epsilon: PositiveFloat = gin.REQUIRED,
        epsilon_inside_root: bool = gin.REQUIRED,
        centered: bool = gin.REQUIRED,
        compiled: bool = gin.REQUIRED,
    ):
        """Builds the optimizer.

        Args:
            learning_rate: Step size.
            rho: Decay of the two running means; the paper's "gradient momentum" and "squared
                gradient momentum" (Mnih et al. 2015, Extended Data Table 1).
            momentum: Momentum of the update itself; 0 in DQN.
            epsilon: Keeps steps bounded where the gradient hardly varies.
            epsilon_inside_root: Whether epsilon is added to the variance (the paper's "min squared
                gradient") or to its root (Keras, and so the book).
            centered: Whether the variance of the gradient is taken, or its mean square.
            compiled: Whether XLA compiles the update; the same but for rounding.
        """
        super().__init__(learning_rate, rho, momentum, epsilon, centered, name="RMSprop")
        self._epsilon_inside_root = epsilon_inside_root
        self._compiled = compiled
        # Traced and compiled once, however many train steps a graph holds: the places of the
        # variables that are updated together, and their update.
        self._updates: list[tuple[list[int], Any]] = []

    def apply_gradients(self, grads_and_vars: Any, *arguments: Any, **named: Any) -> Any:
        """See Keras; compiled, one pass over weights and running means instead of a dozen."""
        if not self._compiled:
            return super().apply_gradients(grads_and_vars, *arguments, **named)
        gradients, variables = zip(*grads_and_vars, strict=True)
        if not self._updates:
            self._create_all_weights(variables)
            # Most weights are those of one layer, whose gradient is known long before those of the
            # layers below it: updated alone, it need not wait for them.
            sizes = [variable.shape.num_elements() for variable in variables]
            largest = sizes.index(max(sizes))
            rest = [place for place in range(len(sizes)) if place != largest]
            self._updates = [
                (places, self._compiled_update([variables[place] for place in places]))
                for places in ([largest], rest)
                if places
            ]
        for places, update in self._updates:
            update(*(gradients[place] for place in places))
        return self.iterations.assign_add(1)

    def _compiled_update(self, variables: list[tf.Variable]) -> Any:
        def update(*gradients: Any) -> None:
            state = self._prepare(variables)
            for gradient, variable in zip(gradients, variables, strict=True):
                self._resource_apply_dense(gradient, variable, apply_state=state)

        return tf.function(update, jit_compile=True, autograph=False)

    def _resource_apply_dense(self, grad: Any, var: Any, apply_state: Any = None) -> Any:
        coefficients = (apply_state or {})[(var.device, var.dtype.base_dtype)]
        rho, fresh = coefficients["rho"], coefficients["one_minus_rho"]
        mean_square = self.get_slot(var, "rms")
        variance = rho * mean_square + fresh * tf.square(grad)
        mean_square.assign(variance)
        if self.centered:
            mean = self.get_slot(var, "mg")
            new_mean = rho * mean + fresh * grad
            mean.assign(new_mean)
            variance -= tf.square(new_mean)
        variance = tf.maximum(variance, 0.0)
        epsilon = coefficients["epsilon"]
        deviation = (
            tf.sqrt(variance + epsilon)
            if self._epsilon_inside_root
            else tf.sqrt(variance) + epsilon
        )
        step = coefficients["lr_t"] * grad / deviation
        if self._momentum:
            velocity = self.get_slot(var, "momentum")
            step += coefficients["momentum"] * velocity
            velocity.assign(step)
        return var.assign_sub(step).op


@configurable
def create_adam(
    *,
    learning_rate: PositiveFloat = gin.REQUIRED,
    beta_1: Fraction = 0.9,
    beta_2: Fraction = 0.999,
    epsilon: PositiveFloat = gin.REQUIRED,
    decay_train_steps: PositiveInt | None = None,
) -> tf_keras.optimizers.legacy.Adam:
    """Keras's Adam (Kingma and Ba 2015, Algorithm 1, whose betas are the defaults).

    Bind `create_agent.optimizer = @create_adam`.

    Args:
        learning_rate: Step size.
        beta_1: Decay of the running mean of the gradient.
        beta_2: Decay of the running mean of its square.
        epsilon: Is added to the root of that mean.
        decay_train_steps: Train steps in which the step size falls to 0 in a straight line; None
            where it stays.
    """
    rate: Any = learning_rate
    if decay_train_steps is not None:
        schedules = tf_keras.optimizers.schedules
        rate = schedules.PolynomialDecay(learning_rate, decay_train_steps, end_learning_rate=0.0)
    return tf_keras.optimizers.legacy.Adam(rate, beta_1, beta_2, epsilon)
