"""Configurables to configure, and a configuration of some of them."""

from __future__ import annotations

from typing import Any

import gin


class _Agent:
    def __init__(self, gamma, batch_size=32, *, epsilon, network=None, train_step=0):
        self.gamma = gamma
        self.batch_size = batch_size
        self.epsilon = epsilon
        self.network = network
        self.train_step = train_step


Agent: Any = gin.configurable("ConfigTestAgent", denylist=["train_step"])(_Agent)


@gin.configurable("config_test_network")
def network(layers=(32, 64), activation="relu", inner=None):
    return layers, activation, inner


@gin.configurable("config_test_outer")
def outer(part=None):
    return part() if callable(part) else part


# As TF-Agents registers its own, and as this project does.
@gin.configurable("ConfigTestForeign", module="tf_agents.agents")
def foreign(glow=1.0, clipping=None, rates=(1, 2), required=gin.REQUIRED):
    return glow, clipping, rates


# `glow` is no parameter of the project: whole test runs register all of its configurables too.
@gin.configurable("config_test_create_foreign", module="dqn_breakout.agents")
def create_foreign(glow):
    return foreign(glow, required=1)


@gin.configurable("config_test_caller_passes")
def caller_passes(size=1):
    return size


BASE = """\
# The base.
GAME = 'Breakout'
ConfigTestAgent.gamma = 0.99
ConfigTestAgent.epsilon = 0.1
ConfigTestAgent.network = @config_test_network()
config_test_network.activation = %GAME
"""
