"""Tests of dqn_breakout.config: gin files in, configuration or one clear sentence out."""

from __future__ import annotations

import enum
import errno
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gin
import gin.config
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dqn_breakout import config, limits, used_config
from dqn_breakout.errors import UserError
from tests.configurables import BASE, Agent, network, outer

# --- Configurables to configure -------------------------------------------------------------------


@gin.configurable("config_test_required")
def required(rate=gin.REQUIRED, decay=gin.REQUIRED):
    return rate, decay


@gin.configurable("config_test_options")
def options(**anything):
    return anything


@gin.configurable("config_test_allowed", allowlist=["open"])
def allowed(open=1, closed=2):  # noqa: A002
    return open, closed


@gin.configurable("config_test_building")
def building(builder: Callable[[], Any] = gin.REQUIRED):
    return builder


@gin.configurable("config_test_nothing")
class Nothing:
    pass


@gin.register("ConfigTestRegistered")
class Registered:
    def __init__(self, size):
        self.size = size


@gin.register("ConfigTestWithMethod")
class WithMethod:
    @gin.register("config_test_method")
    def method(self, size=1):
        return size


@gin.configurable("ConfigTestFinal")
class Final:
    def __init__(self, size=1):
        self.size = size

    def __init_subclass__(cls):
        raise TypeError("Final has no subclasses.")


@gin.configurable("twin", module="config_test_one")
def twin_one(size=1):
    return size


@gin.configurable("twin", module="config_test_two")
def twin_two(size=2):
    return size


class Colour(enum.Enum):
    RED = 1


gin.constant("config_test.COLOUR", Colour.RED)
gin.constant("config_test_one.SIZE", 1)
gin.constant("config_test_two.SIZE", 2)


pytestmark = pytest.mark.usefixtures("clean_gin")


@pytest.fixture
def gin_directory(tmp_path, monkeypatch):
    """A directory of gin files in place of the repository's, and another one to work in."""
    directory = tmp_path / "gin"
    directory.mkdir()
    (directory / "base.gin").write_text(BASE)
    (directory / "pong.gin").write_text("include 'base.gin'\nGAME = 'Pong'\n")
    (directory / "notes.txt").write_text("not gin")
    monkeypatch.setattr(config, "GIN_DIRECTORY", directory)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    return directory


def message_of(gin_files=(), gin_bindings=()) -> str:
    """Parses what must be refused; returns the one line that the user sees."""
    with pytest.raises(UserError) as caught:
        config.parse(gin_files, gin_bindings)
    assert_one_printable_line(caught.value.message)
    assert not gin.config_is_locked()
    assert gin.config_str() == ""
    return caught.value.message


def message_of_text(directory: Path, text: str) -> str:
    (directory / "given.gin").write_text(text)
    return message_of(["given.gin"])


def assert_one_printable_line(message: str) -> None:
    assert message
    assert message.isprintable()


# --- Finding gin files ----------------------------------------------------------------------------


def test_gin_directory_stands_beside_the_package():
    assert Path(__file__).resolve().parent.parent / "gin" == config.GIN_DIRECTORY


def test_available_names_gin_files_only(gin_directory):
    (gin_directory / "folder.gin").mkdir()
    assert config.available() == ["base.gin", "pong.gin"]


def test_available_without_a_directory_is_empty(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "GIN_DIRECTORY", tmp_path / "missing")
    assert config.available() == []
    with pytest.raises(UserError, match=r"There is no gin file 'base'; gin files in .*: none\."):
        config.resolve("base")


@pytest.mark.parametrize("name", ["base", "base.gin"])
def test_resolve_finds_names_in_the_gin_directory(gin_directory, name):
    assert config.resolve(name) == gin_directory / "base.gin"


def test_resolve_prefers_a_path_that_exists_as_given(gin_directory, tmp_path):
    own = tmp_path / "elsewhere" / "base.gin"
    own.write_text("")
    assert config.resolve("base.gin").resolve() == own
    assert config.resolve(str(own)) == own
    assert config.resolve(str(own.with_suffix(""))) == own
    assert config.resolve("base") == gin_directory / "base.gin"


def test_resolve_prefers_a_gin_file_to_a_directory_of_that_name(gin_directory, tmp_path):
    (tmp_path / "elsewhere" / "base").mkdir()
    assert config.resolve("base") == gin_directory / "base.gin"


def test_resolve_does_not_leave_the_gin_directory_by_a_name(gin_directory, tmp_path):
    (tmp_path / "secret.gin").write_text("")
    with pytest.raises(UserError, match="There is no gin file"):
        config.resolve("../../x/../secret.gin")


def test_resolve_unknown_names_the_nearest_and_lists_all(gin_directory):
    with pytest.raises(UserError) as caught:
        config.resolve("pogn.gin")
    assert caught.value.message == (
        "There is no gin file 'pogn.gin'; did you mean pong.gin? "
        f"gin files in {gin_directory}: base.gin, pong.gin."
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "The name of a gin file is empty"),
        ("zzzzzz", "There is no gin file 'zzzzzz'; gin files in"),
        (".", "'.' is a directory, not a gin file"),
        ("/dev/null", "'/dev/null' is a special file, not a gin file"),
        ("a\0b", r"There is no gin file 'a\x00b'"),
        ("\ud800", r"There is no gin file '\ud800'"),
        ("\udcff", r"There is no gin file '\udcff'"),
        ("n" * 5000, "There is no gin file 'nnnn"),
        ("/", "'/' is a directory"),
    ],
)
def test_resolve_refuses(gin_directory, name, said):
    with pytest.raises(UserError) as caught:
        config.resolve(name)
    assert said in caught.value.message
    assert caught.value.message.endswith("base.gin, pong.gin.")
    assert_one_printable_line(caught.value.message)


# --- Parsing what is right ------------------------------------------------------------------------


def test_parse_binds_and_locks(gin_directory):
    config.parse(["base"])
    agent = Agent()
    assert (agent.gamma, agent.epsilon) == (0.99, 0.1)
    assert agent.network == ((32, 64), "Breakout", None)
    assert gin.config_is_locked()


def test_later_files_win_over_earlier_and_bindings_over_files(gin_directory):
    (gin_directory / "fast.gin").write_text("ConfigTestAgent.gamma = 0.5\nGAME = 'Fast'\n")
    config.parse(["base", "fast"], ["ConfigTestAgent.gamma = 0.25"])
    agent = Agent()
    assert agent.gamma == 0.25
    assert agent.network[1] == "Fast"


def test_parse_replaces_what_was_parsed_before(gin_directory):
    config.parse(["base"], ["ConfigTestAgent.batch_size = 7"])
    config.parse(["base"])
    assert Agent().batch_size == 32


def test_parse_of_nothing_leaves_an_empty_locked_configuration(gin_directory):
    (gin_directory / "empty.gin").write_text("# Nothing but a comment.\n")
    config.parse(["empty"])
    assert gin.config_str() == ""
    assert gin.config_is_locked()


def test_includes_resolve_in_the_gin_directory_from_anywhere(gin_directory, tmp_path):
    own = tmp_path / "own.gin"
    own.write_text("include 'base.gin'\nConfigTestAgent.gamma = 0.5\n")
    config.parse([str(own)])
    assert Agent().gamma == 0.5


def test_includes_resolve_beside_the_including_file_first(gin_directory, tmp_path):
    (tmp_path / "base.gin").write_text("ConfigTestAgent.gamma = 0.1\n")
    (tmp_path / "own.gin").write_text("include 'base.gin'\n")
    config.parse([str(tmp_path / "own.gin")], ["ConfigTestAgent.epsilon = 0"])
    assert Agent().gamma == 0.1


def test_the_working_directory_does_not_shadow_an_include(gin_directory, tmp_path):
    (tmp_path / "elsewhere" / "base.gin").write_text("ConfigTestAgent.gamma = 0.1\n")
    config.parse(["pong"])
    assert Agent().network[1] == "Pong"


def test_an_include_takes_effect_where_it_stands(gin_directory):
    (gin_directory / "before.gin").write_text("GAME = 'Early'\ninclude 'base'\n")
    config.parse(["before"])
    assert network()[1] == "Breakout"


def test_one_file_may_be_included_twice(gin_directory):
    (gin_directory / "twice.gin").write_text("include 'base'\ninclude 'pong'\n")
    config.parse(["twice", "base"])
    assert network()[1] == "Breakout"


def test_blocks_scopes_and_every_kind_of_value(gin_directory):
    (gin_directory / "all.gin").write_text(
        "config_test_options:\n"
        "    # A block.\n"
        "    nothing = None\n"
        "    yes = True\n"
        "    negative = -3\n"
        "    small = 2.5e-4\n"
        "    text = 'one ' \"two\"\n"
        "    raw = b'\\x00'\n"
        "    nested = {'a': [1, (2, 3)], 4: ()}\n"
        "    function = @config_test_network\n"
        "    constant = %COLOUR\n"
        "\n"
        "train/config_test_options.scope = \\\n"
        "    'train'\n"
    )
    config.parse(["all"])
    values = options()
    assert values.pop("function")() == ((32, 64), "relu", None)
    assert values == {
        "nothing": None,
        "yes": True,
        "negative": -3,
        "small": 0.00025,
        "text": "one two",
        "raw": b"\0",
        "nested": {"a": [1, (2, 3)], 4: ()},
        "constant": Colour.RED,
    }
    with gin.config_scope("train"):
        assert options()["scope"] == "train"


def test_windows_line_ends_and_byte_order_mark(gin_directory):
    (gin_directory / "windows.gin").write_bytes(
        b"\xef\xbb\xbf" + BASE.encode().replace(b"\n", b"\r\n")
    )
    config.parse(["windows"])
    assert Agent().gamma == 0.99


def test_required_values_that_a_later_file_sets(gin_directory):
    (gin_directory / "open.gin").write_text("ConfigTestAgent.gamma = %gin.REQUIRED\n")
    config.parse(["open"], ["ConfigTestAgent.gamma = 0.5"])
    with pytest.raises(TypeError, match="epsilon"):
        Agent()


def test_a_macro_that_only_an_overridden_binding_refers_to_is_fine(gin_directory):
    config.parse(["base"], ["config_test_network.activation = 'tanh'"])
    assert network()[1] == "tanh"


def test_scoped_self_reference_is_no_circle():
    config.parse(
        [],
        [
            "config_test_network.inner = @small/config_test_network()",
            "small/config_test_network.inner = None",
        ],
    )
    assert network()[2] == ((32, 64), "relu", None)


# --- Parsing what is wrong: files -----------------------------------------------------------------


def test_unknown_file(gin_directory):
    assert message_of(["bsae"]).startswith("There is no gin file 'bsae'; did you mean base.gin?")


def test_unknown_include(gin_directory):
    message = message_of_text(gin_directory, "\ninclude 'bass.gin'\n")
    assert message.startswith(
        "given.gin line 2: There is no gin file 'bass.gin'; did you mean base.gin? gin files in "
    )


def test_an_include_that_names_a_package_does_not_import_it(gin_directory, monkeypatch):
    """gin itself would import the package `config_test_package` to look for the file in it."""
    package = gin_directory.parent / "config_test_package"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(gin_directory.parent))
    message = message_of_text(gin_directory, "include 'config_test_package/inner/x.gin'")
    assert "There is no gin file" in message
    assert "config_test_package" not in sys.modules


def test_directory(gin_directory, tmp_path):
    assert message_of([str(tmp_path)]).startswith(f"'{tmp_path}' is a directory, not a gin file")


def test_include_of_a_directory(gin_directory):
    message = message_of_text(gin_directory, "include '/'")
    assert message.startswith("given.gin line 1: '/' is a directory, not a gin file")


def test_unreadable_file(gin_directory, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    path = gin_directory / "base.gin"
    assert message_of(["base"]) == f"Cannot read the gin file '{path}': Permission denied."


def test_binary_file(gin_directory):
    path = gin_directory / "picture.gin"
    path.write_bytes(b"GAME = '\x89PNG'")
    assert message_of(["picture"]) == (
        f"'{path}' is no gin file: byte 8 is not UTF-8 text; save it as UTF-8."
    )


def test_zero_byte(gin_directory):
    path = gin_directory / "zero.gin"
    path.write_bytes(b"GAME = 'a\0b'")
    assert message_of(["zero"]) == f"'{path}' is no gin file: it holds binary data (a zero byte)."


def test_file_far_too_large(gin_directory):
    path = gin_directory / "large.gin"
    path.write_bytes(b"#" * 1_000_001)
    assert message_of(["large"]) == f"'{path}' is no gin file: it holds over 1,000,000 bytes."


def test_include_circle(gin_directory):
    (gin_directory / "one.gin").write_text("include 'two.gin'")
    (gin_directory / "two.gin").write_text("\ninclude 'one.gin'")
    assert message_of(["one"]) == (
        "two.gin line 2: gin files include one another in a circle: one.gin -> two.gin -> one.gin."
    )


def test_file_that_includes_itself(gin_directory):
    message = message_of_text(gin_directory, "include 'given'")
    assert message.endswith("in a circle: given.gin -> given.gin.")


def test_includes_that_multiply(gin_directory):
    for i in range(40):
        (gin_directory / f"f{i}.gin").write_text(f"include 'f{i + 1}'\ninclude 'f{i + 1}'\n")
    (gin_directory / "f40.gin").write_text("")
    assert message_of(["f0"]).endswith("is one gin file too many: 100 were read before it.")


# --- Parsing what is wrong: text ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("config_test_network.activation =", "a value is missing or malformed"),
        ("config_test_network.activation == 'a'", "'=' was expected after the name"),
        ("config_test_network.activation = $", "a value is missing or malformed"),
        ("config_test_network.activation 'a'", "'=' was expected after the name"),
        ("config_test_network.activation = [1, 2", "a bracket that is opened here is never closed"),
        ("config_test_network.activation = '''a", "a string that is opened here is never closed"),
        ("config_test_network.activation = {[1]: 2}", "the key of a dictionary must be a number"),
        ("config_test_network.activation = 1; GAME = 2", "something follows where the line should"),
        ("config_test_network.activation = relu", "'relu' is not a value; put text in quotes,"),
        ("config_test_network.activation = -relu", "'relu' is not a value; put text in quotes,"),
        ("config_test_network.activation = true", "'true' is not a value; write True"),
        ("config_test_network.activation = null", "'null' is not a value; write None"),
        ("config_test_network.activation = [1 2]", "expected ',' or ']'"),
        (r"config_test_network.activation = 'C:\data'", r"invalid escape sequence '\d'"),
        ("config_test_network.activation = f'x'", "a value is missing or malformed"),
        ("config_test_network.activation = @", "a name is missing"),
        ("config_test_network.activation = %", "a name is missing"),
        ("config_test_network. activation = 1", "a name is malformed"),
        ("include base.gin", "include needs the name of a file in quotes"),
        ("= 3", "a name is missing"),
        (f"config_test_network.activation = {'9' * 5000}", "a whole number does not fit into 64"),
        (f"config_test_network.activation = {'[' * 3000}", "its brackets are nested too deeply"),
    ],
)
def test_syntax_errors_name_file_and_line_and_show_it(gin_directory, text, said):
    message = message_of_text(gin_directory, f"# A comment.\n\n{text}\n")
    assert message.startswith(f"given.gin line 3 is not valid gin: {said}")
    assert message.endswith(f", in {repr(text)[:77]}...." if len(text) > 78 else f", in {text!r}.")


def test_a_block_without_indented_lines(gin_directory):
    message = message_of_text(gin_directory, "config_test_network:\nGAME = 1\n")
    assert message == (
        "given.gin line 2 is not valid gin: the block has no indented lines, in 'GAME = 1'."
    )


def test_lines_indented_unevenly(gin_directory):
    message = message_of_text(gin_directory, "config_test_network:\n    inner = 1\n  layers = 2\n")
    assert message == (
        "given.gin line 3 is not valid gin: unindent does not match any outer indentation level, "
        "in 'layers = 2'."
    )


def test_the_line_shown_is_where_the_open_bracket_stands(gin_directory):
    text = "GAME = 1\n# Now.\n\nconfig_test_network.layers = [\n    1,\n    2,\n\nGAME = 2\n"
    assert message_of_text(gin_directory, text).startswith("given.gin line ")
    text = "GAME = 1\n# Now.\n\nconfig_test_network.layers = [\n    1,\n    2,\n\n"
    assert message_of_text(gin_directory, text) == (
        "given.gin line 4 is not valid gin: a bracket that is opened here is never closed, in "
        "'config_test_network.layers = ['."
    )


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("1e999", "inf is not a number that a configuration can hold."),
        ("-1e999", "-inf is not a number that a configuration can hold."),
        ("2j", "2j is not a number that a configuration can hold."),
        ("[1, (1e999,)]", "inf is not a number that a configuration can hold."),
        ("{1e999: 1}", "inf is not a number that a configuration can hold."),
        ("{1: 1e999}", "inf is not a number that a configuration can hold."),
        (str(2**63), "a whole number does not fit into 64 bits."),
        ("0x" + "f" * 5000, "a whole number does not fit into 64 bits."),
        ("[" * 22 + "]" * 22, "a value is nested deeper than 20 levels."),
    ],
)
def test_values_that_the_operative_configuration_would_lose(gin_directory, value, said):
    message = message_of_text(gin_directory, f"\nconfig_test_network.layers = {value}\n")
    assert message == f"given.gin line 2: {said}"


def test_values_at_the_limits_are_taken():
    config.parse(
        [],
        [
            f"config_test_network.layers = ({2**63 - 1}, {-(2**63)})",
            f"config_test_network.inner = {'[' * 21 + ']' * 21}",
        ],
    )
    assert network()[0] == (2**63 - 1, -(2**63))


@pytest.mark.parametrize(
    "statement",
    [
        "import os",
        "import os.path as p",
        "from os import path",
        "import no_such_module",
        "from __gin__ import dynamic_registration",
    ],
)
def test_import_statements_are_refused(gin_directory, statement):
    assert message_of_text(gin_directory, f"GAME = 1\n{statement}\n") == (
        "given.gin line 2: import statements are refused here, because they run code; every "
        "configurable of this project is there without them, so remove the line."
    )


def test_a_refused_import_does_not_run(gin_directory, monkeypatch):
    (gin_directory / "config_test_evil.py").write_text("raise SystemExit('ran')")
    monkeypatch.syspath_prepend(str(gin_directory))
    assert "refused" in message_of_text(gin_directory, "import config_test_evil")
    assert "config_test_evil" not in sys.modules


# --- Parsing what is wrong: names -----------------------------------------------------------------


def test_unknown_configurable_names_the_nearest(gin_directory):
    assert message_of_text(gin_directory, "\n\nConfigTestAgnet.gamma = 1") == (
        "given.gin line 3: no configurable is called 'ConfigTestAgnet'; "
        "did you mean ConfigTestAgent?"
    )


def test_unknown_configurable_in_another_case():
    message = message_of([], ["configtestagent.gamma = 1"])
    assert message.endswith("'configtestagent'; did you mean ConfigTestAgent?")


def test_unknown_configurable_far_from_all():
    assert message_of([], ["qqqqqqqqqqqqqqq.gamma = 1"]) == (
        "Binding 'qqqqqqqqqqqqqqq.gamma = 1': no configurable is called 'qqqqqqqqqqqqqqq'."
    )


def test_unknown_configurable_of_a_block(gin_directory):
    message = message_of_text(gin_directory, "config_test_netwrk:\n    layers = 1\n")
    assert message == (
        "given.gin line 1: no configurable is called 'config_test_netwrk'; "
        "did you mean config_test_network?"
    )


@pytest.mark.parametrize("reference", ["@config_test_netwrk", "@small/config_test_netwrk()"])
def test_unknown_reference(gin_directory, reference):
    message = message_of_text(gin_directory, f"config_test_network.inner = [{{1: {reference}}}]")
    assert message == (
        f"given.gin line 1: no configurable is called 'config_test_netwrk' ({reference}); "
        "did you mean config_test_network?"
    )


def test_a_reference_that_gin_cannot_make():
    config.parse([], ["config_test_network.inner = @ConfigTestFinal()"])
    assert message_of([], ["config_test_network.inner = @scope/ConfigTestFinal()"]) == (
        "Binding 'config_test_network.inner = @scope/ConfigTestFinal()': "
        "gin cannot use @scope/ConfigTestFinal(): Final has no subclasses."
    )


def test_ambiguous_configurable():
    assert message_of([], ["twin.size = 3"]) == (
        "Binding 'twin.size = 3': 'twin' could be any of config_test_one.twin, "
        "config_test_two.twin; write more of its name."
    )


def test_ambiguous_reference():
    message = message_of([], ["config_test_network.inner = @twin"])
    assert message.endswith("config_test_two.twin; write more of its name.")


def test_ambiguous_constant():
    assert message_of([], ["config_test_network.inner = %SIZE"]).endswith(
        "%SIZE could be any of config_test_one.SIZE, config_test_two.SIZE; write more of its name."
    )


def test_misspelt_parameter_names_the_nearest_and_lists_all():
    assert message_of([], ["ConfigTestAgent.gama = 1"]) == (
        "Binding 'ConfigTestAgent.gama = 1': ConfigTestAgent has no parameter 'gama'; "
        "did you mean gamma? Its parameters are: gamma, batch_size, epsilon, network."
    )


def test_misspelt_parameter_of_a_registered_class():
    assert message_of([], ["ConfigTestRegistered.sizzle = 1"]).endswith(
        "has no parameter 'sizzle'; did you mean size? Its parameters are: size."
    )


def test_misspelt_parameter_of_a_method():
    message = message_of([], ["ConfigTestWithMethod.config_test_method.sizzle = 1"])
    assert message.endswith(
        "has no parameter 'sizzle'; did you mean size? Its parameters are: size."
    )


def test_misspelt_parameter_far_from_all():
    assert message_of([], ["config_test_network.qqqq = 1"]).endswith(
        "has no parameter 'qqqq'; its parameters are: layers, activation, inner."
    )


def test_parameter_of_a_class_without_any():
    assert message_of([], ["config_test_nothing.size = 1"]).endswith("its parameters are: none.")


def test_a_builder_that_is_called_too_early():
    assert message_of([], ["config_test_building.builder = @small/ConfigTestRegistered()"]) == (
        "Binding 'config_test_building.builder = @small/ConfigTestRegistered()': builder takes a "
        "builder; write @small/ConfigTestRegistered, without brackets."
    )


def test_self_is_no_parameter():
    """gin would take it and ignore it."""
    assert "has no parameter 'self'" in message_of([], ["ConfigTestAgent.self = 1"])


@pytest.mark.parametrize("parameter", ["ConfigTestAgent.train_step", "config_test_allowed.closed"])
def test_parameters_of_the_program_are_not_the_users(parameter):
    assert message_of([], [f"{parameter} = 1"]).endswith(
        f"{parameter} is set by the program, not by gin; remove it."
    )


@pytest.mark.parametrize(
    "binding",
    [
        "macro.value = 1",
        "GAME/gin.macro.value = 1",
        "config_test_network.inner = @GAME/macro()",
        "config_test_network.inner = @gin.constant()",
    ],
)
def test_the_machinery_of_macros_is_not_the_users(binding):
    assert message_of([], [binding]).endswith("is gin's own; write NAME = value and %NAME instead.")


def test_undefined_macro_names_the_nearest(gin_directory):
    (gin_directory / "given.gin").write_text("include 'base'\nconfig_test_network.inner = %GMAE\n")
    assert message_of(["given"]) == (
        "given.gin line 2: the macro %GMAE is not defined; did you mean %GAME?"
    )


def test_undefined_macro_names_the_nearest_constant():
    message = message_of([], ["config_test_network.inner = [(1, %COLUR)]"])
    assert message.endswith("the macro %COLUR is not defined; did you mean %COLOUR?")


def test_undefined_macro_far_from_all():
    message = message_of([], ["config_test_network.inner = %qqqqqq"])
    assert message.endswith("the macro %qqqqqq is not defined; add a line qqqqqq = value.")


def test_undefined_macro_points_at_the_last_binding(gin_directory):
    (gin_directory / "one.gin").write_text("config_test_network.inner = 1\n")
    (gin_directory / "two.gin").write_text("\nconfig_test_network.inner = %qqqqqq\n")
    assert message_of(["one", "two"]).startswith("two.gin line 2: ")


@pytest.mark.parametrize(
    ("macro", "hint"),
    [
        ("gama = 1", "did you mean ConfigTestAgent.gamma?"),
        ("GMAE = 1", "did you mean GAME?"),
        ("qqqqqq = 1", "write Configurable.parameter = value."),
    ],
)
def test_a_macro_that_nothing_refers_to(gin_directory, macro, hint):
    name = macro.split()[0]
    assert message_of(["base"], [macro]) == (
        f"Binding '{macro}': {name} would be a macro, but nothing refers to %{name}; {hint}"
    )


@pytest.mark.parametrize("value", ["%gin.REQUIRED", "%REQUIRED", "[%gin.REQUIRED]"])
def test_required_values_that_nothing_sets(gin_directory, value):
    assert message_of_text(gin_directory, f"config_test_network.inner = {value}") == (
        "given.gin line 1: config_test_network.inner is left open (%gin.REQUIRED); "
        "set it in a later gin file or with --gin_bindings."
    )


@pytest.mark.parametrize(
    ("text", "circle"),
    [
        ("A = %A", "%A -> %A"),
        ("A = %B\nB = [%A]", "%A -> %B -> %A"),
        ("config_test_network.inner = @config_test_network()", "@config_test_network()"),
        (
            "config_test_network.inner = {1: (@a/config_test_network(),)}",
            "@a/config_test_network()",
        ),
        (
            "config_test_network.inner = @config_test_outer()\n"
            "config_test_outer.part = @config_test_network()",
            "@config_test_network() -> @config_test_outer() -> @config_test_network()",
        ),
    ],
)
def test_circular_references(gin_directory, text, circle):
    message = message_of_text(gin_directory, text)
    assert re.match(r"given\.gin line \d: references run in a circle: ", message)
    assert circle in message


def test_a_very_long_chain_of_macros(gin_directory):
    chain = [f"M{i} = %M{i + 1}" for i in range(3000)]
    text = "\n".join([*chain, "M3000 = 1", "config_test_network.inner = %M0"])
    assert message_of_text(gin_directory, text).endswith(
        "is part of a chain of over 20 references."
    )


def test_a_chain_of_macros_that_is_as_long_as_allowed():
    chain = [f"M{i} = %M{i + 1}" for i in range(18)]
    config.parse([], [*chain, "M18 = 5", "config_test_network.inner = %M0"])
    assert network()[2] == 5


def test_hooks_of_other_libraries_that_refuse_the_configuration(monkeypatch):
    def refuse(_):
        raise LookupError("Too small.\nBy far.")

    monkeypatch.setattr(gin.config, "_FINALIZE_HOOKS", [refuse])
    assert message_of([], ["config_test_network.inner = 1"]) == (
        "The configuration is refused: Too small."
    )


# --- Parsing what is wrong: bindings --------------------------------------------------------------


@pytest.mark.parametrize(
    ("binding", "said"),
    [
        ("", "A gin binding is empty; write Configurable.parameter = value, or MACRO = value."),
        (" \n", "A gin binding is empty; write Configurable.parameter = value, or MACRO = value."),
        ("ConfigTestAgent.gamma", "Binding 'ConfigTestAgent.gamma' has no '='; write Config"),
        ("pong.gin", "Binding 'pong.gin' has no '='; write Configurable.parameter = value, or"),
        ("# gamma = 1", "Binding '# gamma = 1' is only a comment; write Configurable.parameter"),
        ("include 'a=b.gin'", "is an include; give files with --gin_file."),
        ("import os # = 1", "import statements are refused here"),
        ("GAME = Pong", "Binding 'GAME = Pong' is not valid gin: 'Pong' is not a value; put text"),
        ("ConfigTestAgent.gamma = ", "is not valid gin: a value is missing or malformed."),
        ("\x1b[31m = 1", r"Binding '\x1b[31m = 1' is not valid gin: "),
        ("\0=\0", r"Binding '\x00=\x00' is not valid gin: "),
        ("\udcff = 1", r"Binding '\udcff = 1' is not valid gin: "),
        ("ConfigTestAgent.gamma = '\udcff'", r"codec can't encode character '\udcff'"),
        ("ConfigTestAgent.gamma = 1\r\n2 = 3", "is not valid gin: a name is missing."),
    ],
)
def test_bindings_that_are_none(binding, said):
    assert said in message_of([], [binding])


def test_long_bindings_are_cut_in_messages():
    assert len(message_of([], ["ConfigTestAgent.gama = " + "1" * 100_000])) < 400


@pytest.mark.parametrize(
    ("binding", "said"),
    [
        (
            "ConfigTestForeign.glow = 0.5",
            "ConfigTestForeign.glow is TF-Agents' own, and this project sets ConfigTestForeign up "
            "itself; write config_test_create_foreign.glow instead.",
        ),
        ("ConfigTestForeign.clipping = 10.0", "up itself; remove it."),
        ("scope/agents.ConfigTestForeign.rates = (1, 3)", "up itself; remove it."),
        ("ConfigTestForeign.clipping = %GAME", "up itself; remove it."),
        ("ConfigTestForeign.required = 1", "up itself; remove it."),
        ("ConfigTestForeign.glow = True", "up itself; write config_test_create_foreign.glow"),
        ("ConfigTestForeign.clip = 1", "has no parameter 'clip'"),
    ],
)
def test_bindings_of_tf_agents_own_are_refused(binding, said):
    with pytest.raises(UserError) as caught:
        config.parse([], [binding])
    assert said in caught.value.message
    assert caught.value.message.startswith(f"Binding {binding!r}: ")


def test_older_saved_configurations_with_tf_agents_defaults_are_read():
    defaults = [
        "ConfigTestForeign.glow = 1.0",
        "ConfigTestForeign.clipping = None",
        "ConfigTestForeign.rates = \\\n    (1,\n     2)",
    ]
    config.parse([], [*defaults, "config_test_create_foreign.glow = 0.5"])
    assert used_config.bindings(gin.config_str()) == {"config_test_create_foreign.glow": "0.5"}


# --- Nothing but UserError ------------------------------------------------------------------------

PIECES = [
    *("ConfigTestAgent", "config_test_network", "twin", "gamma", "inner", "layers", "GAME", "A"),
    *(".", "=", " = ", " ", "\n", "\n", "\t", "    ", "\r\n", "\\\n", "\\", "/", ":", ",", ";"),
    *("1", "-", "0.5", "1e999", "0x", "1_0", "2j", "True", "none", "'", '"', "'''", "'text'"),
    *("b'x'", "f'{1}'", r"'\d'", "(", ")", "[", "]", "{", "}", "[" * 50, "#", "\0", "\f", "é", "€"),
    *("%", "@", "%GAME", "%A", "%gin.REQUIRED", "@config_test_network()", "@twin", "@a/b/macro()"),
    *("include 'base'", "include 'given'", "include ", "import os", "from a import b", "$", "?"),
    *("config_test_network.inner = ", "ConfigTestAgent.gamma = ", "\nA = ", "x/", "\ud800"),
]


@st.composite
def damaged_configurations(draw):
    """A sound configuration in which some spans are replaced by others."""
    text = BASE + "config_test_network:\n    layers = (1, [2.5], {'a': -3})\n    inner = %GAME\n"
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 8)))
        text = text[:start] + draw(st.sampled_from(["", *PIECES])) + text[end:]
    return text


TEXTS = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=20).map("".join),
    damaged_configurations(),
    st.text(max_size=50),
)


def check_only_user_errors(gin_files, gin_bindings) -> None:
    """Parses anything; whatever is accepted can be written out and read back whole."""
    try:
        config.parse(gin_files, gin_bindings)
    except UserError as error:
        assert_one_printable_line(error.message)
        assert not gin.config_is_locked()
        return
    assert gin.config_is_locked()
    written = gin.config_str()
    count = sum(len(parameters) for parameters in gin.config._CONFIG.values())
    assert len(used_config.bindings(written)) == count
    assert used_config.differences(written, written) == []


@pytest.fixture(scope="module")
def malformed_directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("malformed")
    (directory / "base.gin").write_text(BASE)
    return directory


@settings(max_examples=200, deadline=None, database=None)
@given(
    content=st.one_of(TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")), st.binary())
)
@example(BASE.encode())
def test_malformed_files_give_one_user_error_each(malformed_directory, content):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "GIN_DIRECTORY", malformed_directory)
        (malformed_directory / "given.gin").write_bytes(content)
        check_only_user_errors(["given"], [])


@settings(max_examples=200, deadline=None, database=None)
@given(texts=st.lists(TEXTS, max_size=3))
@example(BASE.splitlines()[1:])
def test_malformed_bindings_give_one_user_error_each(texts):
    check_only_user_errors([], texts)


@settings(max_examples=200, deadline=None, database=None)
@given(name=st.one_of(st.text(), st.sampled_from(PIECES)))
def test_malformed_file_names_give_one_user_error_each(malformed_directory, name):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "GIN_DIRECTORY", malformed_directory)
        check_only_user_errors([name], [])


@settings(max_examples=200, deadline=None, database=None)
@given(text=TEXTS)
def test_malformed_configurations_to_compare_give_one_user_error_each(text):
    try:
        used_config.differences(text, BASE)
    except UserError as error:
        assert_one_printable_line(error.message)


# --- While builders run ---------------------------------------------------------------------------


def missing_message(build) -> str:
    with pytest.raises(UserError) as caught, config.building():
        build()
    assert_one_printable_line(caught.value.message)
    return caught.value.message


def test_missing_positional_argument_of_a_configurable():
    config.parse([], ["ConfigTestAgent.epsilon = 0.1"])
    assert missing_message(Agent) == (
        "The configuration sets no value for ConfigTestAgent.gamma; add "
        "ConfigTestAgent.gamma = ... to a gin file, or pass it with --gin_bindings."
    )


def test_missing_keyword_only_argument_of_a_configurable():
    config.parse([], ["ConfigTestAgent.gamma = 1"])
    assert "sets no value for ConfigTestAgent.epsilon; add" in missing_message(Agent)


def test_missing_argument_of_a_registered_class():
    assert "no value for ConfigTestRegistered.size; add" in missing_message(
        gin.get_configurable("ConfigTestRegistered")
    )


def test_missing_required_bindings():
    assert missing_message(required) == (
        "The configuration sets no value for config_test_required.rate and "
        "config_test_required.decay; add config_test_required.rate = ... and "
        "config_test_required.decay = ... to a gin file, or pass it with --gin_bindings."
    )


def test_missing_binding_that_the_caller_requires():
    assert "no value for config_test_network.layers; add" in missing_message(
        lambda: network(gin.REQUIRED)
    )


def test_where_many_values_are_missing_a_whole_file_is_asked_for():
    @gin.configurable("config_test_many")
    def many(a=gin.REQUIRED, b=gin.REQUIRED, c=gin.REQUIRED, d=gin.REQUIRED):
        return a, b, c, d

    assert missing_message(many) == (
        "The configuration sets no value for config_test_many.a and 3 more; gin files such as "
        "short.gin only change a config: give it after one, such as --gin_file=breakout.gin "
        "--gin_file=short.gin."
    )


@pytest.mark.parametrize("reference", ["@config_test_required", "@config_test_required()"])
def test_missing_required_bindings_of_a_nested_configurable(reference):
    config.parse([], [f"config_test_outer.part = {reference}"])
    assert "no value for config_test_required.rate and" in missing_message(outer)


@pytest.mark.parametrize("reference", ["@ConfigTestAgent", "@scope/ConfigTestAgent()"])
def test_missing_arguments_of_a_nested_configurable(reference):
    config.parse([], [f"config_test_outer.part = {reference}", "ConfigTestAgent.epsilon = 1"])
    assert "no value for ConfigTestAgent.gamma; add" in missing_message(outer)


def test_the_name_to_bind_is_unique():
    @gin.configurable("twin", module="config_test_three")
    def twin_three(length):
        return length

    assert "no value for config_test_three.twin.length; add" in missing_message(twin_three)


def test_what_the_binding_mends():
    message = missing_message(lambda: Agent(0.9))
    (name,) = re.findall(r"no value for (\S+);", message)
    config.parse([], [f"{name} = 0.5"])
    with config.building():
        assert Agent(0.9).epsilon == 0.5


def test_arguments_that_only_the_program_can_pass_are_a_fault_of_the_code():
    @gin.configurable("config_test_runtime", denylist=["time_step_spec"])
    def runtime(time_step_spec):
        return time_step_spec

    with pytest.raises(TypeError, match="time_step_spec"), config.building():
        runtime()


def test_wrong_calls_inside_a_configurable_are_a_fault_of_the_code():
    def needs_gamma(gamma):
        return gamma

    plain: Any = needs_gamma

    @gin.configurable("config_test_wrong_call")
    def wrong_call(gamma=1):
        return plain()

    with pytest.raises(TypeError, match="needs_gamma"), config.building():
        wrong_call()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("no"),
        TypeError("no"),
        TypeError("f() missing 1 required positional argument: 'x'"),
        ValueError("no"),
        UserError("no"),
        KeyboardInterrupt(),
    ],
)
def test_other_errors_pass_through_untouched(error):
    with pytest.raises(type(error)) as caught, config.building():
        raise error
    assert caught.value is error


def test_user_errors_from_inside_configurables_keep_a_clean_message():
    @gin.configurable("config_test_refusing")
    def refusing():
        limits.positive_int("config_test_refusing.size", 0)

    config.parse([], ["config_test_outer.part = @config_test_refusing"])
    with pytest.raises(UserError) as caught, config.building():
        outer()
    expected = "config_test_refusing.size must be a whole number of 1 or more, but is 0."
    assert caught.value.message == expected
    assert caught.value.EXIT_CODE == 2
    assert "In call to configurable 'config_test_outer'" in str(caught.value)


def test_building_returns_when_all_is_well(gin_directory):
    config.parse(["base"])
    with config.building():
        agent = Agent()
    assert agent.gamma == 0.99


# --- The module -----------------------------------------------------------------------------------


def test_importing_config_does_not_import_tensorflow():
    code = "import sys, dqn_breakout.config; sys.exit('tensorflow' in sys.modules)"
    root = Path(__file__).resolve().parent.parent
    result = subprocess.run([sys.executable, "-c", code], cwd=root, check=False, timeout=120)
    assert result.returncode == 0
