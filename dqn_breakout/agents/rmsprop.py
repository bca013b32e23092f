"""RMSprop as DQN uses it."""

from __future__ import annotations

import gin
import tf_keras

from dqn_breakout import limits


@gin.configurable
def create_optimizer(
    *,
    learning_rate: float = gin.REQUIRED,
    rho: float = gin.REQUIRED,
    momentum: float = gin.REQUIRED,
    epsilon: float = gin.REQUIRED,
    centered: bool = gin.REQUIRED,
) -> tf_keras.optimizers.legacy.RMSprop:
    """Builds the optimizer: `v -= learning_rate * g / sqrt(E[g^2] - E[g]^2 + epsilon)`.

    This is the centred RMSprop of Mnih et al. 2015 (Extended Data Table 1), with epsilon inside the
    root; the legacy Keras class runs it as one fused operation per variable.

    Args:
        learning_rate: Step size.
        rho: Decay of the two running means; the paper's "gradient momentum" and "squared gradient
            momentum".
        momentum: Momentum of the update itself; 0 in DQN.
        epsilon: Added inside the root; the paper's "min squared gradient".
        centered: Whether the mean of the gradient is taken off its variance.

    Raises:
        UserError: A value is out of range.
    """
    name = "create_optimizer"
    limits.positive_float(f"{name}.learning_rate", learning_rate)
    limits.fraction(f"{name}.rho", rho)
    limits.fraction(f"{name}.momentum", momentum)
    limits.positive_float(f"{name}.epsilon", epsilon)
    return tf_keras.optimizers.legacy.RMSprop(
        learning_rate=learning_rate, rho=rho, momentum=momentum, epsilon=epsilon, centered=centered
    )
