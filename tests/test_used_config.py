"""Tests of dqn_breakout.used_config: what was used, and how two configurations differ."""

from __future__ import annotations

import gin
import pytest

from dqn_breakout import config, used_config
from dqn_breakout.errors import UserError
from tests.configurables import BASE, Agent, caller_passes, create_foreign, network

BASE_BINDINGS = BASE.splitlines()[1:]


pytestmark = pytest.mark.usefixtures("clean_gin")


def test_operative_config_holds_what_was_used():
    config.parse([], [*BASE_BINDINGS, "config_test_outer.part = 1"])
    Agent(epsilon=0.5)
    assert used_config.bindings(used_config.operative_config()) == {
        "ConfigTestAgent.gamma": "0.99",
        "ConfigTestAgent.batch_size": "32",
        "ConfigTestAgent.network": "@config_test_network()",
        "config_test_network.layers": "(32, 64)",
        "config_test_network.activation": "%GAME",
        "config_test_network.inner": "None",
        "GAME": "'Breakout'",
    }


def test_operative_config_leaves_out_what_is_tf_agents_own():
    config.parse([], ["config_test_create_foreign.glow = 0.5"])
    create_foreign()
    text = used_config.operative_config()
    assert "ConfigTestForeign" in gin.operative_config_str()
    assert "ConfigTestForeign" not in text
    assert used_config.bindings(text) == {"config_test_create_foreign.glow": "0.5"}


def test_tf_agents_own_are_no_difference():
    old = "ConfigTestForeign.glow = 1.0\nscope/ConfigTestForeign.clipping = None\nsmall.rate = 1"
    assert used_config.differences(old, "small.rate = 1") == []
    assert used_config.differences(old, "small.rate = 2") == ["small.rate: 1 there, 2 here"]


def test_bindings_are_spelt_in_one_way():
    text = """
    # A comment.
    GAME = "Breakout"  # Another.
    small.rate = 2.5e-4
    small.text = \\
        ('long '
         'text')
    scope/deep.module.small.items = {'b': [1,
        2], 'a': (3,)}
    small.part = @scope/thing()
    small.game = [%GAME, @thing]
    """
    assert used_config.bindings(text) == {
        "GAME": "'Breakout'",
        "small.rate": "0.00025",
        "small.text": "'long text'",
        "scope/deep.module.small.items": "{'a': (3,), 'b': [1, 2]}",
        "small.part": "@scope/thing()",
        "small.game": "[%GAME, @thing]",
    }


def test_bindings_of_blocks_and_the_last_of_several():
    text = "small:\n    rate = 1\n    size = 2\nsmall.rate = 3\n"
    assert used_config.bindings(text) == {"small.rate": "3", "small.size": "2"}


def test_bindings_read_back_long_values_of_the_operative_config():
    layers = [(32, 8, 4), (64, 4, 2), (64, 3, 1)] * 5
    words = "many words " * 30
    config.parse(
        [],
        [f"config_test_network.layers = {layers}", f"config_test_network.activation = {words!r}"],
    )
    network()
    text = used_config.operative_config()
    assert "\\\n" in text
    read = used_config.bindings(text)
    assert read["config_test_network.layers"] == repr(layers)
    assert read["config_test_network.activation"] == repr(words)


@pytest.mark.parametrize("statement", ["include 'base.gin'", "import os"])
def test_bindings_take_no_includes_and_imports(statement):
    with pytest.raises(UserError) as caught:
        used_config.bindings(f"GAME = 1\n{statement}\n")
    assert caught.value.message == (
        "The configuration line 2: only bindings are allowed, no include and no import."
    )


def test_bindings_of_a_damaged_text():
    with pytest.raises(UserError, match="The configuration line 2 is not valid gin: a bracket"):
        used_config.bindings("a.b = 1\na.c = (1, 2\n")


def test_differences():
    there = "RMSprop.learning_rate = 2.5e-4\nRMSprop.momentum = 0.0\nsame.x = 1\n"
    here = "same.x = 1\nRMSprop.learning_rate = 0.001\nscope/agent.gamma = 0.9\n"
    assert used_config.differences(there, here) == [
        "RMSprop.learning_rate: 0.00025 there, 0.001 here",
        "RMSprop.momentum: 0.0 there, not set here",
        "scope/agent.gamma: not set there, 0.9 here",
    ]


def test_no_differences_but_in_layout():
    old = "a.b = [1,\n  2]  # Comment.\na.c = 'x'\n"
    assert used_config.differences(old, 'a:\n    c = "x"\n    b = [1, 2]\n') == []


def test_differences_compare_what_macros_stand_for():
    there = (
        "GAME = 'Breakout'\nsuite.game = %GAME\nsuite.names = [%GAME, {'a': %OTHER}]\nOTHER = %GAME"
    )
    assert (
        used_config.differences(
            there, "suite.game = 'Breakout'\nsuite.names = ['Breakout', {'a': 'Breakout'}]\n"
        )
        == []
    )
    assert used_config.differences(there, there.replace("Breakout", "Pong")) == [
        "suite.game: 'Breakout' there, 'Pong' here",
        "suite.names: ['Breakout', {'a': 'Breakout'}] there, ['Pong', {'a': 'Pong'}] here",
    ]


def test_differences_survive_undefined_and_circular_macros():
    text = "A = %B\nB = %A\nx.a = %A\nx.b = %C\n"
    assert used_config.differences(text, text) == []
    assert used_config.differences(text, "x.b = %C\nx.a = 1") == ["x.a: %A there, 1 here"]


def test_differences_tell_types_apart():
    assert used_config.differences("x.a = 1", "x.a = True") == ["x.a: 1 there, True here"]
    assert used_config.differences("x.a = '1'", "x.a = 1") == ["x.a: '1' there, 1 here"]


def test_every_binding_that_is_used_counts_as_used():
    config.parse([], BASE_BINDINGS)
    Agent()
    assert used_config.unused_bindings() == []


def test_bindings_are_unused_until_their_configurable_is_called():
    config.parse([], [*BASE_BINDINGS, "config_test_outer.part = 1"])
    assert used_config.unused_bindings() == [
        "ConfigTestAgent.epsilon",
        "ConfigTestAgent.gamma",
        "ConfigTestAgent.network",
        "GAME",
        "config_test_network.activation",
        "config_test_outer.part",
    ]
    Agent()
    assert used_config.unused_bindings() == ["config_test_outer.part"]


def test_a_binding_that_the_caller_overrides_is_unused():
    config.parse([], ["config_test_caller_passes.size = 3"])
    caller_passes(4)
    assert used_config.unused_bindings() == ["config_test_caller_passes.size"]
    caller_passes(size=4)
    assert used_config.unused_bindings() == ["config_test_caller_passes.size"]
    caller_passes()
    assert used_config.unused_bindings() == []


def test_a_binding_equal_to_the_default_that_the_caller_overrides_is_unused():
    config.parse([], ["config_test_caller_passes.size = 1"])
    caller_passes(4)
    assert used_config.unused_bindings() == ["config_test_caller_passes.size"]


def test_an_outer_binding_counts_in_an_inner_scope():
    config.parse([], ["config_test_network.layers = 1"])
    with gin.config_scope("train"):
        network()
    assert used_config.unused_bindings() == []


def test_a_binding_that_an_inner_scope_overrides_is_unused():
    config.parse([], ["config_test_network.layers = 1", "train/config_test_network.layers = 1"])
    with gin.config_scope("train"):
        network()
    assert used_config.unused_bindings() == ["config_test_network.layers"]
    network()
    assert used_config.unused_bindings() == []


def test_a_binding_of_a_scope_that_is_never_entered_is_unused():
    config.parse([], ["config_test_network.layers = 1", "tarin/config_test_network.layers = 2"])
    network()
    assert used_config.unused_bindings() == ["tarin/config_test_network.layers"]
