"""Tests of dqn_breakout.config: gin files in, configuration or one clear sentence out."""

from __future__ import annotations

import subprocess
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


@gin.configurable("ConfigTestAgent", denylist=["train_step"])
class Agent:
    def __init__(self, *, gamma=gin.REQUIRED, epsilon=gin.REQUIRED, network=None, train_step=0):
        self.gamma = gamma
        self.epsilon = epsilon
        self.network = network


@gin.configurable("config_test_network")
def network(layers=(32, 64), activation="relu", inner=None):
    return layers, activation, inner


@configurable(name="config_test_program")
def program(given, *, size: PositiveInt = 1):
    return given, size


# As TF-Agents registers its own, and as this project does.
@gin.configurable("ConfigTestForeign", module="tf_agents.agents")
def foreign(glow=1.0, clipping=None):
    return glow, clipping


@gin.configurable("config_test_create_foreign", module="dqn_breakout.agents")
def create_foreign(glow):
    return foreign(glow)


for module in ("config_test_one", "config_test_two"):
    gin.configurable("twin", module=module)(lambda size=1: size)

BASE = """\
# The base.
GAME = 'Breakout'
ConfigTestAgent.gamma = 0.99
ConfigTestAgent.epsilon = 0.1
ConfigTestAgent.network = @config_test_network
config_test_network.activation = %GAME
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
    message = caught.value.message
    assert message.isprintable()
    assert not gin.config_is_locked()
    assert gin.config_str() == ""
    return message


# --- Files ----------------------------------------------------------------------------------------


def test_names_and_paths_of_gin_files(folder):
    own = Path("base.gin")
    assert config.available() == ["base.gin", "pong.gin"]
    assert config.resolve("base") == config.resolve("base.gin") == folder / "base.gin"
    own.write_text("")
    assert config.resolve("base.gin") == config.resolve(str(own.absolute())) == own.absolute()
    assert config.resolve("base") == folder / "base.gin"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pogn.gin", "'pogn.gin'; did you mean pong.gin? gin files in "),
        *[(name, ". gin files in ") for name in ("", "zzz", ".", "/dev/null", "a\0b", "\ud800")],
        ("n" * 5000, "nnn.... gin files in "),
    ],
)
def test_a_gin_file_that_is_not_there(folder, name, said):
    message = message_of([name])
    assert message.startswith("There is no gin file ")
    assert said in message
    assert message.endswith(": base.gin, pong.gin.")


def test_later_files_win_and_bindings_win_over_files(folder):
    (folder / "fast.gin").write_text("ConfigTestAgent.gamma = 0.5\nGAME = 'Fast'\n")
    config.parse(["base"], ["ConfigTestAgent.epsilon = 3"])
    config.parse(["base", "fast"], ["ConfigTestAgent.gamma = 0.25"])
    agent = Agent()
    assert (agent.gamma, agent.epsilon) == (0.25, 0.1)
    assert agent.network()[1] == "Fast"
    assert gin.config_is_locked()


def test_includes_take_effect_where_they_stand_and_are_looked_for_beside_first(folder, tmp_path):
    (tmp_path / "here" / "base.gin").write_text("ConfigTestAgent.gamma = 0.3\n")
    config.parse(["pong"])
    assert network()[1] == "Pong"
    (tmp_path / "base.gin").write_text("ConfigTestAgent.gamma = 0.7\n")
    (tmp_path / "own.gin").write_text("include 'base.gin'\nConfigTestAgent.epsilon = 0\n")
    config.parse([str(tmp_path / "own")])
    assert Agent().gamma == 0.7
    (folder / "early.gin").write_text("GAME = 'Early'\ninclude 'base'\ninclude 'base'\n")
    config.parse(["early"])
    assert network()[1] == "Breakout"


def test_windows_text_blocks_scopes_and_every_kind_of_value(folder):
    text = (
        "config_test_network:\n    # A block.\n    layers = {'a': [1, (2.5e-4, -3)], 4: ()}\n"
        "train/config_test_network.activation = \\\n    b'\\x00'\n"
        "config_test_network.inner = [None, True, 'one ' \"two\", @config_test_network]\n"
    )
    (folder / "all.gin").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    config.parse(["all"])
    with gin.config_scope("train"):
        layers, activation, inner = network()
    assert layers == {"a": [1, (0.00025, -3)], 4: ()}
    assert activation == b"\0"
    assert inner[:3] == [None, True, "one two"]
    assert inner[3]()[0] == layers


# One table for all that can be wrong in a text: the file, or the binding where it is one line that
# begins with "Binding", and what is said of it.
WRONG = {
    # gin's language.
    "no equals sign": ("\nConfigTestAgent.gamma 3", "given.gin line 2: Couldn't parse statement"),
    "no value": ("ConfigTestAgent.gamma =", "given.gin line 1: Unable to parse value."),
    "no quotes": (
        "\n\nGAME = Pong\n",
        "given.gin line 3: Failed to parse token 'Pong'; put text in quotes.",
    ),
    "an open bracket": ("GAME = [1,\n2", "EOF in multi-line statement."),
    "an unhashable key": ("GAME = {[1]: 2}", "given.gin line 1: unhashable type: 'list'."),
    "uneven indentation": ("a:\n    b = 1\n  c = 2\n", "given.gin line 3: unindent does not"),
    "endless brackets": (f"GAME = {'[' * 3000}", "given.gin line 1: maximum recursion depth"),
    "an endless number": (f"GAME = {'9' * 5000}", "given.gin line 1: "),
    "another endless number": (f"GAME = 0x{'f' * 5000}", "given.gin line 1: Exceeds the limit"),
    "binary data": ("GAME = '\udc89PNG'", "given.gin line 1: 'utf-8' codec can't decode byte"),
    "infinity": ("\nSIZE = [1e999]", "line 2: Failed to parse token 'inf'"),
    "a complex number": ("twin.size = -2j", "given.gin line 1: "),
    # Names.
    "unknown configurable": (
        "ConfigTestAgnet.gamma = 1",
        "No configurable matching 'ConfigTestAgnet'; did you mean ConfigTestAgent.gamma?",
    ),
    "unknown parameter": (
        "ConfigTestAgent.gama = 1",
        "'ConfigTestAgent' doesn't have a parameter named 'gama'; did you mean "
        "ConfigTestAgent.gamma?",
    ),
    "unknown everything": ("qqqqqqq.x = 1", "line 1: No configurable matching 'qqqqqqq'."),
    "unknown in a block": ("\nqqqqqqq:\n  x = 1\n", "line 3: No configurable matching 'qqqqqqq'."),
    "unknown reference": (
        "ConfigTestAgent.network = [{1: @small/config_test_netwrk}]",
        "reference '@config_test_netwrk'; did you mean config_test_network?",
    ),
    "ambiguous": ("twin.size = 3", "Ambiguous selector 'twin'"),
    "a moved binding": ("build.q_network = 1", "it is create_agent.q_network now."),
    "the program's parameter": ("ConfigTestAgent.train_step = 1", "has denylisted kwarg"),
    "TF-Agents', once ours": (
        "x/ConfigTestForeign.glow = 0.5",
        "given.gin line 1: ConfigTestForeign.glow is TF-Agents' own, and this project sets "
        "ConfigTestForeign up itself; write config_test_create_foreign.glow instead.",
    ),
    "TF-Agents'": ("agents.ConfigTestForeign.clipping = 1", "up itself; remove it."),
    "gin's": ("macro.value = 1", "up itself; remove it."),
    "a builder that is called": (
        "ConfigTestAgent.network = @small/config_test_network()",
        "write @small/config_test_network without brackets: it is called where it is needed.",
    ),
    # Macros.
    "undefined macro": (BASE + "SIZE = %GMAE", "%GMAE is not defined; did you mean GAME?"),
    "a macro for a binding": (
        BASE + "glow = 1",
        "nothing refers to a macro %glow; did you mean config_test_create_foreign.glow?",
    ),
    "a misspelt macro": (BASE + "GAEM = 1", "nothing refers to a macro %GAEM; did you mean GAME?"),
    "left open": ("ConfigTestAgent.gamma = %gin.REQUIRED", "but not subsequently overridden."),
    # What runs code, or reads what it should not.
    "import": ("import os", "only settings are allowed here, no include and no import."),
    "import from": ("from __gin__ import dynamic_registration", "no include and no import."),
    "unknown include": (
        "\ninclude 'bse.gin'",
        "line 2: There is no gin file 'bse.gin'; did you mean b",
    ),
    "an included directory": ("include '/'", "line 1: There is no gin file '/'"),
    "a circle": ("include 'round'", "given.gin line 1: round.gin line 2: given.gin includes itse"),
    "a package": ("include 'config_test_package/inner/x.gin'", "There is no gin file"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_text_is_refused_with_one_sentence(folder, monkeypatch, name):
    package = folder.parent / "config_test_package"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(folder.parent))
    (folder / "round.gin").write_text("\ninclude 'given'\n")
    text, said = WRONG[name]
    # An unused macro of the project's own files would be none of the user's faults.
    given = (folder.parent if "nothing refers" in said else folder) / "given.gin"
    given.write_text(text, errors="surrogateescape")
    message = message_of([str(given)])
    assert said in message
    assert message.endswith((".", "?"))
    assert len(message) < 500
    assert "config_test_package" not in sys.modules  # gin itself would import it.
    if "\n" not in text.strip() and "include" not in text and "\udc89" not in text:
        assert message_of([], [text.strip()]).startswith(("Binding ", "The "))


@pytest.mark.parametrize("options", [{"gin_bindings": ["include 'base'"]}, {"includes": False}])
def test_bindings_and_saved_configurations_include_nothing(folder, options):
    message = message_of(["pong"] if "includes" in options else [], **options)
    assert message.endswith(" line 1: only settings are allowed here, no include and no import.")


def test_a_macro_that_nothing_uses_is_fine_in_the_projects_own_files_only(folder):
    (folder / "sizes.gin").write_text("SIZE = 3\n")
    config.parse(["base", "sizes"], ["config_test_network.activation = 'tanh'"])
    Agent().network()
    assert config.unused_bindings() == []
    assert "nothing refers to a macro %SIZE" in message_of(["base", "sizes"], ["SIZE = 4"])
    config.parse(["sizes"], ["config_test_network.layers = %SIZE"])
    assert network()[0] == 3


# --- Nothing but UserError ------------------------------------------------------------------------

PIECES = [
    *("ConfigTestAgent", "config_test_network", "twin", "gamma", "inner", "layers", "GAME", "A"),
    *(".", "=", " = ", " ", "\n", "\n", "\t", "    ", "\r\n", "\\\n", "\\", "/", ":", ",", ";"),
    *("1", "-", "0.5", "1e999", "0x", "1_0", "2j", "True", "none", "'", '"', "'''", "'text'"),
    *("b'x'", "f'{1}'", r"'\d'", "(", ")", "[", "]", "{", "}", "[" * 50, "#", "\0", "\f", "é", "€"),
    *("%", "@", "%GAME", "%A", "%gin.REQUIRED", "@config_test_network()", "@twin", "@a/b/macro"),
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
    st.binary(max_size=50).map(lambda content: content.decode(errors="surrogateescape")),
)


@settings(max_examples=300, deadline=None, database=None)
@given(files=st.lists(TEXTS, max_size=1), texts=st.lists(TEXTS, max_size=2))
@example([BASE], BASE.splitlines())
def test_any_text_is_taken_whole_or_refused_with_one_sentence(tmp_path_factory, files, texts):
    given = tmp_path_factory.getbasetemp() / "given.gin"
    given.write_text("".join(files), errors="surrogatepass")
    refused = None
    try:
        config.differences("".join(files), BASE)
        config.parse([str(given)], texts)
    except UserError as error:
        refused = error.message
    assert refused is None or (refused and refused.isprintable())
    written = gin.config_str()
    assert len(config.bindings(written)) == sum(map(len, gin.config._CONFIG.values()))
    assert config.differences(written, written) == []


# --- While builders run ---------------------------------------------------------------------------


@gin.configurable("config_test_many")
def many(a=gin.REQUIRED, b=gin.REQUIRED, c=gin.REQUIRED):
    return a, b, c


@gin.configurable("config_test_faulty")
def faulty():
    plain: Any = lambda gamma: gamma  # noqa: E731
    return plain()


@pytest.mark.parametrize(
    ("bound", "build", "said"),
    [
        ("ConfigTestAgent.gamma = 1", Agent, "no value for ConfigTestAgent.epsilon; give"),
        ("", Agent, "no value for ConfigTestAgent.gamma and ConfigTestAgent.epsilon; give a"),
        ("", many, "no value for config_test_many.a and 2 more; give a whole file such as"),
        ("", lambda: config.value("ConfigTestAgent.gamma"), "no value for ConfigTestAgent.gamma; "),
        ("config_test_network.inner = @config_test_program", lambda: network()[2](), "missing 1"),
        ("config_test_network.inner = @config_test_program", lambda: network()[2](1, 2), "too"),
        ("config_test_network.inner = @config_test_program", lambda: network()[2](a=1), "'a'; bi"),
        ("config_test_network.inner = %A\nA = %B\nB = [%A]", network, "Macros of the config"),
        ("config_test_program.size = 0", lambda: program(1), "must be a whole number of 1 or"),
    ],
)
def test_what_a_configuration_lacks_or_confuses_is_one_sentence(bound, build, said):
    config.parse([], [bound] if bound else [])
    with pytest.raises(UserError) as caught, config.building():
        build()
    assert said in caught.value.message
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("error", [RuntimeError("no"), TypeError("no"), ValueError("no")])
def test_faults_of_the_code_pass_through_untouched(error):
    with pytest.raises(type(error)) as caught, config.building():
        raise error
    assert caught.value is error
    with pytest.raises(TypeError, match="missing 1 required"), config.building():
        faulty()


def test_values(folder):
    config.parse(["base"])
    assert config.value("config_test_network.activation") == "Breakout"
    assert config.value("config_test_network.layers", 7) == 7


# --- What was used --------------------------------------------------------------------------------


def test_the_operative_config_holds_what_was_used_and_nothing_of_tf_agents():
    layers = [(32, 8, 4), (64, 4, 2)] * 5
    config.parse([], [*BASE.splitlines(), f"config_test_network.layers = {layers}"])
    Agent(epsilon=0.5).network()
    create_foreign(2.0)
    text = config.operative_config()
    assert "ConfigTestForeign" in gin.operative_config_str()
    assert "ConfigTestForeign" not in text
    assert "\\\n" in text
    assert config.bindings(text) == {
        "ConfigTestAgent.gamma": "0.99",
        "ConfigTestAgent.network": "@config_test_network",
        "config_test_network.layers": repr(layers),
        "config_test_network.activation": "%GAME",
        "config_test_network.inner": "None",
        "GAME": "'Breakout'",
    }


def test_bindings_are_spelt_in_one_way():
    text = """
    GAME = "Breakout"  # A comment.
    small.rate = 2.5e-4
    small.rate = 3.5e-4
    scope/deep.module.small.items = {'b': [1,
        2], 'a': (3,)}
    small.part = [%GAME, @scope/thing]
    """
    assert config.bindings(text + "other:\n        text = ('a '\n 'b')\n") == {
        "GAME": "'Breakout'",
        "small.rate": "0.00035",
        "scope/deep.module.small.items": "{'a': (3,), 'b': [1, 2]}",
        "small.part": "[%GAME, @scope/thing]",
        "other.text": "'a b'",
    }


@pytest.mark.parametrize("line", ["include 'base.gin'", "import os", "a.c = (1, 2"])
def test_bindings_of_what_is_more_or_less_than_bindings(line):
    with pytest.raises(UserError, match=r"The configuration line \d: \w"):
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
    names = ["network.activation", "network.layers", "many.a"]
    config.parse([], [f"config_test_{name} = 1" for name in names])
    assert config.unused_bindings() == sorted(f"config_test_{name}" for name in names)
    network(layers=1)
    assert config.unused_bindings() == ["config_test_many.a", "config_test_network.layers"]
    network()
    many(b=1, c=1)
    assert config.unused_bindings() == []


def test_bindings_of_scopes_are_used_in_these_scopes():
    config.parse([], ["config_test_network.layers = 1", "train/config_test_network.layers = 2"])
    with gin.config_scope("other"):
        network()
    assert config.unused_bindings() == ["train/config_test_network.layers"]
    config.parse([], ["config_test_network.layers = 1", "train/config_test_network.layers = 2"])
    with gin.config_scope("train"):
        network()
    assert config.unused_bindings() == ["config_test_network.layers"]


def test_importing_config_does_not_import_tensorflow():
    code = "import sys, dqn_breakout.config; sys.exit('tensorflow' in sys.modules)"
    root = Path(__file__).resolve().parent.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
