"""Tests of dqn_breakout.config: gin files in, configuration or one clear sentence out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gin
import gin.config
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dqn_breakout import config
from dqn_breakout.configurable import PositiveInt, configurable
from dqn_breakout.errors import UserError

pytestmark = pytest.mark.usefixtures("clean_gin")


@gin.configurable("Agent_", module="dqn_breakout.x", denylist=["train_step"])
class Agent:
    def __init__(self, *, gain=gin.REQUIRED, decay_=gin.REQUIRED, network=None, train_step=0):
        self.gain, self.decay_, self.network = gain, decay_, network


@gin.configurable("network_", module="dqn_breakout.x")
def network(layers=(32, 64), activation="relu", inner=None):
    return layers, activation, inner


@configurable(name="program_")
def program(given, *, size: PositiveInt = 1):
    plain: Any = lambda missing: missing  # noqa: E731
    return plain() if given == "a fault" else size


@gin.configurable("many_")
def many(a=gin.REQUIRED, b=gin.REQUIRED, c=gin.REQUIRED):
    return a, b, c


# As TF-Agents registers its own, and as this project does.
@gin.configurable("Foreign_", module="tf_agents.agents")
def foreign(glow=1.0, clipping=None):
    return glow, clipping


@gin.configurable("create_foreign_", module="dqn_breakout.agents")
def create_foreign(glow):
    return foreign(glow)


gin.configurable("twin", module="config_test_one")(lambda size=1: size)
gin.configurable("twin", module="config_test_two")(lambda size=1: size)

BASE = """\
# The base.
GAME = 'Breakout'
Agent_.gain = 0.99
Agent_.decay_ = 0.1
Agent_.network = @network_
network_.activation = %GAME
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A directory of gin files in place of the repository's, and another one to work in."""
    folder = tmp_path / "gin"
    folder.mkdir()
    (folder / "base.gin").write_text(BASE)
    (folder / "pong.gin").write_text("include 'base.gin'\nGAME = 'Pong'\n")
    (tmp_path / "here").mkdir()
    monkeypatch.setattr(config, "GIN_DIRECTORY", folder)
    monkeypatch.chdir(tmp_path / "here")
    return folder


def message_of(gin_files=(), gin_bindings=(), **options) -> str:
    """Parses what must be refused; returns the one line that the user sees."""
    with pytest.raises(UserError) as caught:
        config.parse(gin_files, gin_bindings, **options)
    assert not gin.config_is_locked()
    assert gin.config_str() == ""
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 600
    return caught.value.message


# --- Files ----------------------------------------------------------------------------------------


def test_gin_files_are_found_by_path_then_by_name(folder, monkeypatch):
    assert config.available() == ["base.gin", "pong.gin"]
    assert config.resolve("base") == config.resolve("base.gin") == folder / "base.gin"
    own = Path("base.gin").absolute()
    own.write_text("")
    assert config.resolve("base.gin") == config.resolve(str(own.with_suffix(""))) == own
    assert config.resolve("base") == folder / "base.gin"
    monkeypatch.setenv("HOME", str(own.parent))
    assert config.resolve("~/base.gin") == own


@pytest.mark.parametrize("name", ["", "zzz", ".", "/dev/null", "a\0b", "\ud800", "n" * 5000])
def test_a_gin_file_that_is_not_there(folder, name):
    message = message_of([name])
    assert message.startswith("There is no gin file '")
    assert message.endswith(f". gin files in {folder}: base.gin, pong.gin.")
    assert "'pogn'; did you mean pong.gin? gin files in" in message_of(["pogn"])


def test_later_files_win_and_bindings_win_over_files(folder):
    (folder / "fast.gin").write_text("Agent_.gain = 0.5\nGAME = 'Fast'\n")
    config.parse(["base"], ["Agent_.decay_ = 3"])
    config.parse(["base", "fast"], ["Agent_.gain = 0.25"])
    agent = Agent()
    assert (agent.gain, agent.decay_, agent.network()[1]) == (0.25, 0.1, "Fast")
    assert gin.config_is_locked()
    assert config.value("network_.activation") == "Fast"
    assert config.value("network_.layers", 7) == 7


def test_with_a_builder_that_is_replaced_go_the_settings_it_had(folder):
    (folder / "other.gin").write_text("include 'base'\nAgent_.network = @program_\n")
    config.parse(["other"], ["program_.size = 3"])
    assert config.bindings(gin.config_str()) == {
        "Agent_.gain": "0.99",
        "Agent_.decay_": "0.1",
        "Agent_.network": "@program_",
        "program_.size": "3",
    }
    # What is set afterwards is the user's, to be found unused.
    config.parse(["other"], ["network_.layers = 3"])
    Agent().network("given")
    assert config.unused_bindings() == ["network_.layers"]
    # It has its settings still where it is put back, or something else refers to it.
    for another in ("Agent_.network = @network_", "other/many_.a = @t/network_"):
        config.parse(["other"], [another])
        assert config.value("network_.activation") == "Breakout"


def test_includes_take_effect_where_they_stand_and_are_looked_for_beside_first(folder, tmp_path):
    Path("base.gin").write_text("GAME = 'in the working directory'\n")
    (folder / "early.gin").write_text("GAME = 'Early'\ninclude 'base'\ninclude 'base'\n")
    for name, game in [("pong", "Pong"), ("early", "Breakout")]:
        config.parse([name])
        assert network()[1] == game
    (tmp_path / "base.gin").write_text("network_.activation = 'beside'\n")
    (tmp_path / "own.gin").write_text("include 'base.gin'\n")
    config.parse([str(tmp_path / "own")])
    assert network()[1] == "beside"


def test_windows_text_blocks_and_scopes(folder):
    text = f"{BASE}train/network_:\n    # A block.\n    layers = \\\n        {{'a': [1, -3]}}\n"
    (folder / "all.gin").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    config.parse(["all"])
    with gin.config_scope("train"):
        assert network()[:2] == ({"a": [1, -3]}, "Breakout")


# What is said of a text that is wrong; "given.gin line" is left out before a number.
WRONG = [
    ("\nAgent_.gain 3\n", "2: Couldn't parse statement, expected ':' or '='."),
    ("Agent_.gain =", "1: Unable to parse value."),
    ("\n\nGAME = Pong\n", "3: Failed to parse token 'Pong'; put text in quotes."),
    (f"GAME = {'[' * 3000}", "1: maximum recursion depth"),
    (f"GAME = {'9' * 5000}", "1: "),
    (f"GAME = 0x{'f' * 5000}", "1: Exceeds the limit"),
    ("GAME = '\udc89PNG'", "given.gin: 'utf-8' codec can't decode byte 0x89"),
    ("\nnetwork_.inner = [1e999]", "2: Failed to parse token 'inf'; put text in quotes."),
    ("Agnet_.gain = 1", "1: No configurable matching 'Agnet_'; did you mean Agent_.gain?"),
    ("Agent_.gian = 1", "doesn't have a parameter named 'gian'; did you mean Agent_.gain?"),
    ("qqqqqqq.x = 1", "1: No configurable matching 'qqqqqqq'."),
    ("Agent_.network = [{1: @s/netwrk_}]", "reference '@netwrk_'; did you mean network_?"),
    ("twin.size = 3", "1: Ambiguous selector 'twin', matches ["),
    ("network_.decay_ = 1", "; did you mean Agent_.decay_?"),
    (
        "Agent_.train_step = 1",
        "1: Configurable 'Agent_' has denylisted kwarg 'train_step': it is not",
    ),
    ("x/Foreign_.glow = 0.5", "1: Foreign_ is TF-Agents' own, and this project sets it up itself;"),
    ("agents.Foreign_.glow = 0.5", "itself; did you mean create_foreign_.glow?"),
    ("macro.value = 1", "1: macro is TF-Agents' own, and this project sets it up itself"),
    ("network_.inner = [@x/Foreign_]", "1: Foreign_ is TF-Agents' own, and this project sets it"),
    ("Agent_.network = @s/network_()", "1: write @s/network_ without brackets: it is called where"),
    ("network_.inner = %GMAE\nGAME = 1", "The macro %GMAE is not defined; did you mean GAME?"),
    ("\nglow = 1", "2: nothing refers to a macro %glow; did you mean create_foreign_.glow?"),
    (BASE + "GAEM = 1", "7: nothing refers to a macro %GAEM; did you mean GAME?"),
    ("Agent_.gain = %gin.REQUIRED", "Agent_.gain set to `%gin.REQUIRED` but not subsequently"),
    ("import os", "1: only settings are allowed here, no include and no import."),
    ("\ninclude 'bse.gin'", "2: There is no gin file 'bse.gin'; did you mean base.gin?"),
    ("include 'round'", "1: round.gin line 2: given.gin includes itself."),
    ("include 'config_test_package/inner/x.gin'", "1: There is no gin file"),
]


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_wrong_text_is_refused_with_one_sentence(folder, monkeypatch, text, said):
    # To look for a file in it, gin itself would import the package.
    package = folder.parent / "config_test_package"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(folder.parent))
    (folder / "round.gin").write_text("\ninclude 'given'\n")
    # An unused macro of the project's own files would be none of the user's faults.
    given = (folder.parent if "nothing refers" in said else folder) / "given.gin"
    given.write_text(f"{text}\n", errors="surrogateescape")
    message = message_of([str(given)])
    assert (f"given.gin line {said}" if said[0].isdigit() else said) in message
    assert message.endswith((".", "?"))
    assert "config_test_package" not in sys.modules
    assert message_of([], [text])


@pytest.mark.parametrize("options", [{"gin_bindings": ["include 'base'"]}, {"includes": False}])
def test_bindings_and_saved_configurations_include_nothing(folder, options):
    message = message_of(["pong"] if "includes" in options else [], **options)
    assert message.endswith("only settings are allowed here, no include and no import.")


def test_a_macro_that_nothing_uses_is_fine_in_the_projects_own_files_only(folder):
    (folder / "sizes.gin").write_text("SIZE = 3\n")
    config.parse(["base", "sizes"], ["network_.activation = 'tanh'"])
    Agent().network()
    assert config.unused_bindings() == []
    assert "nothing refers to a macro %SIZE" in message_of(["base", "sizes"], ["SIZE = 4"])
    config.parse(["sizes"], ["network_.layers = %SIZE"])
    assert network()[0] == 3


PIECES = [
    *("Agent_", "network_", "twin", "gain", "inner", "layers", "GAME", "A", "include 'base'"),
    *(".", "=", " = ", " ", "\n", "\n", "\t", "    ", "\r\n", "\\\n", "\\", "/", ":", ",", ";"),
    *("1", "-", "0.5", "1e999", "0x", "1_0", "2j", "True", "none", "'", '"', "'''", "'text'"),
    *("b'x'", "f'{1}'", r"'\\d'", "(", ")", "[", "]", "{", "}", "[" * 50, "#", "\0", "\f", "é"),
    *("%", "@", "%GAME", "%A", "%gin.REQUIRED", "@network_()", "@twin", "@a/b/macro", "\ud800"),
    *("include ", "import os", "$", "?", "network_.inner = ", "Agent_.gain = ", "\nA = ", "x/"),
]


@st.composite
def damaged_configurations(draw):
    """A sound configuration in which some spans are replaced by others."""
    text = BASE + "network_:\n    layers = (1, [2.5], {'a': -3})\n    inner = %GAME\n"
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 8)))
        text = text[:start] + draw(st.sampled_from(["", *PIECES])) + text[end:]
    return text


PARTS = st.lists(st.sampled_from(PIECES), max_size=20).map("".join)
TEXTS = st.one_of(PARTS, damaged_configurations(), st.text(max_size=50))


@settings(max_examples=300, deadline=None, database=None)
@given(text=TEXTS, bindings=st.lists(TEXTS, max_size=2))
@example(BASE, BASE.splitlines())
def test_any_text_is_taken_whole_or_refused_with_one_sentence(tmp_path_factory, text, bindings):
    file = tmp_path_factory.getbasetemp() / "given.gin"
    file.write_text(text, errors="surrogatepass")
    refused = None
    try:
        config.differences(text, BASE)
        config.parse([str(file)], bindings)
    except UserError as error:
        refused = error.message
    assert refused is None or (refused and refused.isprintable())
    written = gin.config_str()
    parameters = {key: bound for key, bound in gin.config._CONFIG.items() if "macro" not in key[1]}
    assert len(config.bindings(written)) == sum(map(len, parameters.values()))
    assert config.differences(written, written) == []


# --- While builders run ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bound", "build", "said"),
    [
        ("Agent_.gain = 1", Agent, "no value for Agent_.decay_; give a whole file such as"),
        ("network_.inner = 1", Agent, "no value for Agent_.gain, Agent_.decay_; give"),
        ("many_.a = 1", lambda: many(d := gin.REQUIRED, d), "no value for many_.b, many_.c;"),
        ("network_.inner = 1", many, "no value for many_.a, many_.b, many_.c; give"),
        ("many_.b = 1", lambda: config.value("many_.a"), "no value for many_.a; give"),
        ("network_.inner = @program_", lambda: network()[2](), "missing 1 required positional"),
        ("network_.inner = @program_", lambda: network()[2](1, 2), "too many positional"),
        ("network_.inner = @program_", lambda: network()[2](a=1), "'a'; bind what program_ lacks"),
        ("network_.inner = %A\nA = %B\nB = [%A]", network, "Macros of the configuration run in a"),
        ("program_.size = 0", lambda: program(1), "program_.size must be a whole number of 1 or"),
    ],
)
def test_what_a_configuration_lacks_or_confuses_is_one_sentence(bound, build, said):
    config.parse([], [bound])
    with pytest.raises(UserError) as caught, config.building():
        build()
    assert said in caught.value.message
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("error", [RuntimeError("no"), TypeError("f() missing 1"), ValueError()])
def test_faults_of_the_code_pass_through_untouched(error):
    with pytest.raises(type(error)) as caught, config.building():
        raise error
    assert caught.value is error
    with pytest.raises(TypeError, match="missing 1 required"), config.building():
        program("a fault")


# --- What was used --------------------------------------------------------------------------------


def test_the_operative_config_holds_what_was_used_and_nothing_of_tf_agents():
    layers = [(32, 8, 4), (64, 4, 2)] * 5
    config.parse([], [*BASE.splitlines(), f"network_.layers = {layers}"])
    Agent(decay_=0.5).network()
    create_foreign(2.0)
    text = config.operative_config()
    assert "Foreign_" in gin.operative_config_str()
    assert "Foreign_" not in text
    assert config.bindings(text) == {
        "Agent_.gain": "0.99",
        "Agent_.network": "@network_",
        "network_.layers": repr(layers),
        "network_.activation": "'Breakout'",
        "network_.inner": "None",
    }


def test_bindings_are_spelt_in_one_way():
    text = "A = \"b\"  # C.\ns.rate = 1\ns.rate = 2.5e-4\nx/m.s.d = {'b': [1,\n 2], 'a': (3,)}\n"
    assert config.bindings(text + "s:\n  part = [%A, @x/y]\n  text = ('a '\n 'b')\n") == {
        "s.rate": "0.00025",
        "x/m.s.d": "{'a': (3,), 'b': [1, 2]}",
        "s.part": "['b', @x/y]",
        "s.text": "'a b'",
    }
    for line in ("include 'base.gin'", "import os", "a.c = (1, 2"):
        with pytest.raises(UserError, match=r"^The configuration line \d: \w.*\.$"):
            config.bindings(f"GAME = 1\n{line}\n")


@pytest.mark.parametrize(
    ("there", "here", "found"),
    [
        ("a.b = [1,\n  2]  # C.\na.c = 'x'\n", 'a:\n    c = "x"\n    b = [1, 2]\n', []),
        ("a.x = 2.5e-4", "a.x = 0.001", ["a.x: 0.00025 there, 0.001 here"]),
        ("a.x = 1", "s/a.x = 1", ["a.x: 1 there, not set here", "s/a.x: not set there, 1 here"]),
        ("a.x = 1", "a.x = True", ["a.x: 1 there, True here"]),
        ("A = 'x'\nB = %A\na.x = [%A, {1: %B}]", "a.x = ['x', {1: 'x'}]", []),
        ("A = 1\na.x = %A", "A = 2\na.x = %A", ["a.x: 1 there, 2 here"]),
        ("A = %B\nB = %A\na.x = %C", "a.x = %C", []),
    ],
)
def test_differences(there, here, found):
    assert config.differences(there, here) == found


def test_bindings_are_unused_until_what_they_configure_was_called_with_them():
    config.parse([], ["network_.layers = 1", "t/network_.layers = 2", "many_.a = 1"])
    assert config.unused_bindings() == ["many_.a", "network_.layers", "t/network_.layers"]
    with gin.config_scope("t"):
        network()
        network(layers=1)
    assert config.unused_bindings() == ["many_.a", "network_.layers"]
    with gin.config_scope("other"):
        network()
    many(b=1, c=1)
    assert config.unused_bindings() == []
