"""The optimizers against their formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from dqn_breakout.agents.optimizers import RMSprop, create_adam
from dqn_breakout.errors import UserError

ARGUMENTS: dict[str, Any] = {
    "learning_rate": 0.1,
    "rho": 0.95,
    "momentum": 0.0,
    "epsilon": 0.01,
    "epsilon_inside_root": True,
    "centered": True,
    "compiled": False,
}


def test_the_first_update_worked_out_by_hand() -> None:
    """Gradient 2: E[g^2] = 0.05 * 4 = 0.2, E[g] = 0.05 * 2 = 0.1; 0.2 - 0.1 * 0.1 + 0.01 = 0.2."""
    weight = tf.Variable(1.0)
    RMSprop(**ARGUMENTS).apply_gradients([(tf.constant(2.0), weight)])
    assert float(weight) == pytest.approx(0.5527864, rel=1e-6)


@pytest.mark.parametrize("centered", [True, False])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("compiled", [True, False])
def test_many_updates_follow_the_formula(
    centered: bool, momentum: float, inside: bool, compiled: bool
) -> None:
    changes = {"compiled": compiled, "centered": centered, "momentum": momentum}
    optimizer = RMSprop(**{**ARGUMENTS, **changes, "epsilon_inside_root": inside})
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(3, 2))
    variable = tf.Variable(weights, dtype=tf.float32)
    mean_square = mean = velocity = np.zeros((3, 2))
    for _ in range(40):
        gradient = rng.normal(size=(3, 2)) * 10.0 ** rng.integers(-3, 2)
        optimizer.apply_gradients([(tf.constant(gradient, tf.float32), variable)])
        mean_square = 0.95 * mean_square + 0.05 * gradient**2
        mean = 0.95 * mean + 0.05 * gradient
        variance = mean_square - mean**2 if centered else mean_square
        deviation = np.sqrt(variance + 0.01) if inside else np.sqrt(variance) + 0.01
        velocity = momentum * velocity + 0.1 * gradient / deviation
        weights = weights - velocity
        np.testing.assert_allclose(variable.numpy(), weights, rtol=2e-4, atol=2e-5)


def test_outside_the_root_it_is_keras_to_the_last_bit() -> None:
    ours, theirs = tf.Variable([0.5, -1.0]), tf.Variable([0.5, -1.0])
    optimizer = RMSprop(**{**ARGUMENTS, "epsilon_inside_root": False})
    own = ("epsilon_inside_root", "compiled")
    arguments = {name: value for name, value in ARGUMENTS.items() if name not in own}
    keras = tf_keras.optimizers.legacy.RMSprop(**arguments)
    rng = np.random.default_rng(1)
    for _ in range(50):
        gradient = tf.constant(rng.normal(size=2), tf.float32)
        optimizer.apply_gradients([(gradient, ours)])
        keras.apply_gradients([(gradient, theirs)])
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


def test_a_constant_gradient_never_gives_nan() -> None:
    """The variance of a constant is 0, and rounds to less; Keras's weights are NaN after 255."""
    weight = tf.Variable([1.0, 1.0])
    optimizer = RMSprop(**{**ARGUMENTS, "epsilon_inside_root": False})

    @tf.function
    def updates() -> None:
        for _ in tf.range(400):
            optimizer.apply_gradients([(tf.constant([0.1, -0.3]), weight)])

    updates()
    assert np.isfinite(weight.numpy()).all()


def test_compiled_in_a_graph_with_several_variables_it_is_the_plain_update() -> None:
    rng = np.random.default_rng(2)
    start = [rng.normal(size=shape).astype(np.float32) for shape in ((3, 4), (4,), ())]
    gradients = [[rng.normal(size=value.shape) for value in start] for _ in range(12)]
    ended = []
    for compiled in (True, False):
        variables = [tf.Variable(value) for value in start]
        optimizer = RMSprop(**{**ARGUMENTS, "compiled": compiled})

        @tf.function
        def twice(first: Any, second: Any, to: Any = optimizer, on: Any = variables) -> None:
            to.apply_gradients(zip(first, on, strict=True))
            to.apply_gradients(zip(second, on, strict=True))

        for first, second in zip(gradients[::2], gradients[1::2], strict=True):
            twice(*([tf.constant(g, tf.float32) for g in values] for values in (first, second)))
        ended.append([variable.numpy() for variable in variables])
        assert int(optimizer.iterations) == 12
    for one, other in zip(*ended, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_a_value_out_of_range_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"^create_optimizer\.rho must be a number from 0 to 1"):
        RMSprop(**{**ARGUMENTS, "rho": 1.5})


@pytest.mark.parametrize(("decay", "rates"), [(4, [0.4, 0.3, 0.2, 0.1, 0, 0]), (None, [0.4] * 6)])
def test_adams_step_size_falls_to_nothing_in_a_straight_line(
    decay: int | None, rates: list[float]
) -> None:
    """A gradient that stays has the running means 1 and 1: each step is the step size."""
    optimizer = create_adam(learning_rate=0.4, epsilon=1e-9, decay_train_steps=decay)
    weight = tf.Variable(0.0)
    places = [0.0]
    for _ in rates:
        optimizer.apply_gradients([(tf.constant(1.0), weight)])
        places.append(float(weight))
    np.testing.assert_allclose(-np.diff(places), rates, atol=1e-5)
