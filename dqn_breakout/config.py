"""Configuration: gin files and bindings in; the run's settings, or one clear sentence, out.

gin's own parser reads and binds, but setting by setting, and never by `gin.parse_config_file`,
which runs code: `import` loads any module, and an `include` that names no file imports a package.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import itertools
import os
import pprint
import re
import sys
import tokenize
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import gin
from gin import config as gin_config
from gin import config_parser

from dqn_breakout import errors
from dqn_breakout.errors import UserError

GIN_DIRECTORY: Path = Path(__file__).resolve().parent.parent / "gin"

# Imports all that a configuration may name. By its name, when it is needed: imports point down.
_COMPOSITION = "dqn_breakout.experiment"
# Private: gin has no other list of what is registered.
_REGISTRY = gin_config._REGISTRY
# Who registers configurables that are not for users to set.
_OTHERS = ("gin.", "tf_agents.")
_REFERENCE = re.compile(r"@(?:\w+/)*([\w.]+)")
# What a binding was called once -> what it is called now.
_MOVED = {
    "build.q_network": "create_agent.q_network",
    "build.replay_buffer": "ReplayLearning.replay_buffer",
}
_LACKING = (
    "The configuration sets no value for {}; give a whole file such as --gin_file=breakout.gin "
    "before it, or bind what is missing."
)


def available() -> list[str]:
    """Returns the names of the gin files in `GIN_DIRECTORY`, sorted."""
    return sorted(path.name for path in GIN_DIRECTORY.glob("*.gin"))


def listing() -> str:
    """Each gin file in `GIN_DIRECTORY` with the first line that it says of itself."""
    names = available()
    firsts = [(GIN_DIRECTORY / name).read_text().partition("\n")[0].lstrip("# ") for name in names]
    width = max(map(len, names), default=0)
    return "\n".join(f"{name:{width}}  {first}" for name, first in zip(names, firsts, strict=True))


def resolve(name: str) -> Path:
    """Finds a gin file by its path, or by its name in `GIN_DIRECTORY`, with or without `.gin`.

    Raises:
        UserError: There is no such file.
    """
    own = GIN_DIRECTORY / name
    for path in (Path(os.path.expanduser(name)), own, Path(f"{own}.gin"), Path(f"{name}.gin")):
        if os.path.isfile(path):  # Path.is_file raises where a name is too long.
            return path.resolve()
    near = errors.nearest(Path(name).stem, [Path(each).stem for each in available()])
    hint = f"; did you mean {near}.gin?" if near else "."
    raise UserError(
        f"There is no gin file {errors.shown(name)}{hint} gin files in {GIN_DIRECTORY}: "
        f"{', '.join(available()) or 'none'}."
    )


# --- Reading and binding --------------------------------------------------------------------------


class _Reference(str):
    __slots__ = ()
    __repr__ = str.__str__


class _AsWritten(config_parser.ParserDelegate):
    """Has gin's parser keep references as they are written, and notes the macros."""

    def __init__(self) -> None:
        self.macros: set[str] = set()

    def configurable_reference(self, name: str, evaluate: bool) -> _Reference:
        if evaluate:
            raise UserError(f"write @{name} without brackets: it is called where it is needed.")
        return _Reference(f"@{name}")

    def macro(self, name: str) -> _Reference:
        self.macros.add(name)
        return _Reference(f"%{name}")


def _settings(
    source: Path | str, delegate: _AsWritten, files: tuple[Path, ...] = (), title: str = ""
) -> Iterator[tuple[str, str, str]]:
    """Yields what a file, or a text itself, sets: names, values as text, and places.

    A name is `scope/create_agent.gamma`, or a macro's; a value is in one spelling on one line; a
    place is as `own.gin line 3`, where `title` is what messages call a text. `files` are those that
    it may not include, itself last; none where it may not include any.
    """
    text, parser, statement = "", None, None
    if isinstance(source, Path):
        own = source.parent == GIN_DIRECTORY.resolve()
        title = source.name if own else errors.printable(str(source))

    def place(line: int) -> str:
        return f"{title} line {line}" if "\n" in text else title

    try:
        text = source if isinstance(source, str) else source.read_text(encoding="utf-8-sig")
        parser = config_parser.ConfigParser(text, delegate)
        while statement := parser.parse_statement():
            if isinstance(statement, config_parser.BindingStatement):
                scope = f"{statement.scope}/" if statement.scope else ""
                parameter = f".{statement.arg_name}" if statement.arg_name else ""
                value = pprint.pformat(statement.value, width=sys.maxsize)
                name = f"{scope}{statement.selector}{parameter}"
                yield name, value, place(statement.location.line_num)
            elif isinstance(statement, config_parser.IncludeStatement) and files:
                beside = files[-1].parent / statement.filename
                included = resolve(str(beside) if beside.is_file() else statement.filename)
                if included in files:
                    raise UserError(f"{included.name} includes itself.")
                yield from _settings(included, delegate, (*files, included))
            elif not isinstance(statement, config_parser.BlockDeclaration):
                raise UserError("only settings are allowed here, no include and no import.")
            statement = None
    except Exception as error:  # gin's parser does not say what it raises.
        line = parser.current_token.start[0] if parser else 1
        line = statement.location.line_num if statement else getattr(error, "lineno", None) or line
        raise UserError(f"{place(line)}: {_said(error)}") from error


def _said(error: Exception) -> str:
    """What an error says, as one sentence."""
    if isinstance(error, UserError):
        return error.message
    plain = isinstance(error, (SyntaxError, tokenize.TokenError, KeyError)) and error.args
    text = str(error.args[0] if plain else error)
    # gin writes the word that it cannot read below the cause, which holds an address.
    word = re.search(r"Failed to parse token .*", text)
    text = f"{word[0]}; put text in quotes" if word else text.partition("\n")[0].rstrip(".")
    return f"{errors.shortened(errors.printable(text)) or type(error).__name__}."


def parse(
    gin_files: Sequence[str], gin_bindings: Sequence[str] = (), *, includes: bool = True
) -> None:
    """Replaces gin's configuration by that of the files and bindings, and locks it.

    A module of one's own that defines configurables must be imported before. Later settings win:
    files in order, as `resolve` finds them, each `include` (beside the file that includes, else as
    `resolve` does) where it stands, then bindings. With a builder that is replaced go the settings
    it had. Without `includes` there may be none: what a run saved never has any, and may come from
    a stranger.

    Raises:
        UserError: Something is not found, not gin, not known, TF-Agents' own, an `import`, an
            undefined macro, or one that nothing refers to (unless a file in `GIN_DIRECTORY` sets
            it). gin's configuration is then empty.
    """
    importlib.import_module(_COMPOSITION)
    gin.clear_config()
    read = _AsWritten()
    files = map(resolve, gin_files)
    sources = [_settings(file, read, (file,) if includes else ()) for file in files]
    sources += [_settings(each, read, (), f"Binding {errors.shown(each)}") for each in gin_bindings]
    macros = {}
    try:
        for name, text, place in _in_force(list(itertools.chain(*sources))):
            _bind(name, text, place)
            if "." not in name:
                macros[name] = place
        _check_macros(macros, read.macros - {"gin.REQUIRED"})
        gin.finalize()
    except Exception as error:  # Also what gin's finalize hooks refuse.
        gin.clear_config()
        raise UserError(_said(error)) from error


def _in_force(settings: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """The settings without those of a builder whose place another takes afterwards.

    So that a file may include another and replace a part: `create_agent.q_network = @create_other`
    lets go of what `create_q_network` was given before, unless something else refers to it. What
    it is given after that stays, and is found to be unused.
    """
    replaced: dict[str, int] = {}
    latest: dict[str, str] = {}
    for place, (name, text, _) in enumerate(settings):
        replaced |= dict.fromkeys(_REFERENCE.findall(latest.get(name, "")), place)
        latest[name] = text
    for each in _REFERENCE.findall(" ".join(latest.values())):
        replaced.pop(each, None)
    builders = (name.rpartition("/")[2].rpartition(".")[0] for name, *_ in settings)
    return [
        setting
        for place, (builder, setting) in enumerate(zip(builders, settings, strict=True))
        if place >= replaced.get(builder, 0)
    ]


def _bind(name: str, text: str, place: str) -> None:
    setting = name.rpartition("/")[2]
    references = _REFERENCE.findall(text)
    try:
        for each in (setting.rpartition(".")[0], *references):
            found = _REGISTRY.get_match(each)
            if found and found.selector.startswith(_OTHERS):
                own = "TF-Agents' own, and this project sets it up itself"
                raise UserError(f"{each} is {own}{_hint(setting, _own_names())}")
        gin.parse_config(f"{name} = {text}")
    except Exception as error:  # gin does not say what it raises.
        said = _said(error)
        if "denylisted" in said:
            said = f"{said[:-1]}: it is not for gin to set."
        elif said.startswith(("No configurable", "Configurable")):
            wrong = next((each for each in references if f"'@{each}'" in said), setting)
            said = said[:-1] + _hint(wrong, _own_names())
        raise UserError(f"{place}: {said}") from error


def _own_names() -> list[str]:
    """This project's configurables, and what can be bound: `create_agent`, `create_agent.gamma`."""
    names = []
    for selector, each in _REGISTRY.items():
        if selector.startswith("dqn_breakout."):
            parameters = inspect.signature(each.wrapped).parameters.keys() - (each.denylist or ())
            names += [each.name, *(f"{each.name}.{parameter}" for parameter in sorted(parameters))]
    return names


def _hint(wrong: str, names: Collection[str]) -> str:
    """Ends the sentence that a name is wrong, by the name that was meant.

    In this order: its new name, a like parameter of the same builder, that parameter of another, a
    like name.
    """
    if wrong in _MOVED:
        return f"; it is {_MOVED[wrong]} now."
    builder, _, parameter = wrong.rpartition(".")
    own = [name.removeprefix(f"{builder}.") for name in names if name.startswith(f"{builder}.")]
    same = [name for name in names if name.endswith(f".{parameter}")]
    if near := errors.nearest(parameter, own):
        return f"; did you mean {builder}.{near}?"
    meant = errors.nearest(wrong, same or names) or next(iter(same), None)
    return f"; did you mean {meant}?" if meant else "."


def _check_macros(places: dict[str, str], referred_to: set[str]) -> None:
    """Refuses undefined macros, and `learning_rate = 0.1`, which gin takes for a macro."""
    for name in referred_to - places.keys():
        raise UserError(f"The macro %{name} is not defined{_hint(name, places)}")
    for name in places.keys() - referred_to:
        if places[name].partition(" line ")[0] not in available():
            hint = _hint(name, [*_own_names(), *referred_to])
            raise UserError(f"{places[name]}: nothing refers to a macro %{name}{hint}")


# --- Building -------------------------------------------------------------------------------------


def value(parameter: str, *default: Any) -> Any:
    """What the parsed configuration binds to `configurable.parameter`, macros resolved.

    Raises:
        UserError: Nothing is bound to it, and no default is given.
    """
    configurable, _, name = parameter.rpartition(".")
    with building():
        found = gin.get_bindings(configurable)
    if name not in found and not default:
        raise UserError(_LACKING.format(parameter))
    return found.get(name, *default)


@contextlib.contextmanager
def building() -> Iterator[None]:
    """While builders run: what gin lacks, and a builder that does not fit, is a UserError."""
    try:
        yield
    except RecursionError as error:
        raise UserError("Macros of the configuration run in a circle, as in A = %A.") from error
    except (RuntimeError, TypeError) as error:
        text = str(error)
        lacking = re.match(r"Required bindings for `(.*?)` not provided in config: (.*)", text)
        if lacking:
            names = [f"{lacking[1]}.{name}" for name in re.findall(r"'(\w+)'", lacking[2])]
            raise UserError(_LACKING.format(", ".join(names))) from error
        call = r"(?:(\S+?)(?:\.__init__)?\(\) )?(?:missing|takes|got|too many|multiple) "
        misfit = re.match(rf"{call}(?s:.*?)\n  In call to configurable '(\w+)'", text)
        # A plain function that a builder calls wrongly is a fault of the code.
        if not misfit or misfit[1] not in (None, gin.get_configurable(misfit[2]).__qualname__):
            raise
        said = errors.first_line(error)
        raise UserError(f"{said}; bind what {misfit[2]} lacks, or another builder.") from error


# --- What was used --------------------------------------------------------------------------------


def operative_config() -> str:
    """Returns the settings that configurables were really called with so far, as a gin text.

    It holds Python defaults of configurables too, and leaves out what callers passed themselves,
    and TF-Agents' own configurables, which nothing but this project's builders sets up.
    """
    kept, *parts = re.split(r"(?m)^# Parameters for (?=.*:$)", gin.operative_config_str())
    for part in parts:
        selector = part.partition(":\n")[0].rpartition("/")[2]
        if not _REGISTRY.get_match(selector).selector.startswith(_OTHERS):
            kept += f"# Parameters for {part}"
    return str(kept)


def bindings(text: str) -> dict[str, str]:
    """Reads a gin text: `scope/create_agent.gamma` -> its value as text, macros replaced.

    Values are on one line and in one spelling: `2.5e-4` is `0.00025`, dictionaries are sorted.
    Raises UserError where the text is not gin, includes or imports.
    """
    settings = _settings(text, _AsWritten(), title="The configuration")
    found = {name: value for name, value, _ in settings}
    macros = {name: value for name, value in found.items() if "." not in name}
    for _ in macros:  # One may stand for another.
        for name, value in found.items():
            found[name] = re.sub(r"%([\w/]+)", lambda it: macros.get(it[1], it[0]), value)
    return {name: value for name, value in found.items() if name not in macros}


def differences(old: str, new: str) -> list[str]:
    """Says how two configurations differ.

    Returns one such as `create_agent.gamma: 0.99 there, 0.5 here` for each parameter that differs,
    sorted by its name. Raises UserError where a text is not gin.
    """
    there, here = bindings(old), bindings(new)
    return [
        f"{name}: {there.get(name, 'not set')} there, {here.get(name, 'not set')} here"
        for name in sorted(there.keys() | here.keys())
        if there.get(name) != here.get(name)
    ]


def unused_bindings() -> list[str]:
    """Returns the bindings that no configurable has used so far, sorted.

    A binding is used once its configurable was called in its scope and received its value: not
    overridden by an inner scope, and not passed by the caller, who wins over gin without a word.
    """
    used = set()
    for name, value in bindings(gin.operative_config_str()).items():
        *scopes, setting = name.split("/")
        used |= {("/".join([*scopes[:n], setting]), value) for n in range(len(scopes) + 1)}
    given = bindings(gin.config_str()).items()
    return sorted(name for name, value in given if (name, value) not in used)
