"""Configuration: reads gin files and bindings, and says what was really used.

This is the only module that parses gin. It owns three things: where gin files are found, how their
text becomes gin's configuration, and the comparison of one configuration with another. Whatever is
wrong in a user's text becomes a `UserError`.

gin's own `parse_config_files_and_bindings` is not called, for two reasons. It runs code: `import`
loads any module, and an `include` that names no file imports the Python package of that name. And
it raises whatever comes up (`SyntaxError`, `TokenError`, `KeyError`, `RecursionError` and more).
So this module walks the statements of gin's parser itself, binds them with `gin.bind_parameter`,
and refuses `import`.

Every module that defines configurables must be imported before `parse` is called: gin knows only
what is registered, and a locked configuration takes no new configurables.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import math
import pprint
import re
import stat
import sys
import tokenize
import types
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gin
from gin import config as gin_config
from gin import config_parser

from dqn_breakout import words
from dqn_breakout.errors import UserError

GIN_DIRECTORY: Path = Path(__file__).resolve().parent.parent / "gin"

# TF-Agents registers its classes with gin too; this project's builders set those up themselves.
_TF_AGENTS = "tf_agents."
_OWN = "dqn_breakout."

_MACRO = "gin.macro"
_CONSTANT = "gin.constant"

# Far above any sane configuration, far below what exhausts memory or Python's stack.
_LARGEST_FILE_BYTES = 1_000_000
_MOST_FILES = 100
_DEEPEST_NESTING = 20
_DEEPEST_REFERENCES = 20

# Where more values are missing, a whole file is.
_MOST_MISSING_NAMED = 2

_TOO_LARGE = "a whole number does not fit into 64 bits"

_INCLUDE_FORM = "include needs the name of a file in quotes"

# gin's parser's words -> plainer ones.
_PLAIN_WORDS = {
    "Couldn't parse statement, expected ':' or '='.": "'=' was expected after the name",
    "Expected file path as string.": _INCLUDE_FORM,
    "Expected indentation.": "the block has no indented lines",
    "Expected newline.": "something follows where the line should end",
    "Malformatted scope or selector.": "a name is malformed",
    "Unable to parse value.": "a value is missing or malformed",
    "malformed node or string": "a value is missing or malformed",
    "Unexpected token.": "a name is missing",
}

_Key = tuple[str, str, str]  # scope, complete selector, parameter
_Call = tuple[tuple[str, ...], str]  # scope components, complete selector


# --- Finding gin files ----------------------------------------------------------------------------


def available() -> list[str]:
    """Returns the names of the gin files in `GIN_DIRECTORY`, sorted."""
    return sorted(path.name for path in GIN_DIRECTORY.glob("*.gin") if path.is_file())


def resolve(name: str) -> Path:
    """Finds a gin file.

    Args:
        name: A path to a file, or the name of a file in `GIN_DIRECTORY`, with or without `.gin`.

    Returns:
        The path of the file. A path that exists as given wins over a name in `GIN_DIRECTORY`.

    Raises:
        UserError: There is no such file, or it is a directory.
    """
    names = available()
    listing = f"gin files in {GIN_DIRECTORY}: {', '.join(names) or 'none'}."
    if not name:
        raise UserError(f"The name of a gin file is empty; {listing}")
    kind = _kind(Path(name))
    if kind == "file":
        return Path(name)
    for candidate in (name, f"{name}.gin"):
        if candidate in names:
            return GIN_DIRECTORY / candidate
    if _kind(Path(f"{name}.gin")) == "file":
        return Path(f"{name}.gin")
    if kind:
        raise UserError(f"{words.shown(name)} is a {kind}, not a gin file; {listing}")
    stems = {stem: file for file in names for stem in (file, file.removesuffix(".gin"))}
    near = words.nearest(Path(name).name, stems)
    hint = f"; did you mean {stems[near]}?" if near else ";"
    raise UserError(f"There is no gin file {words.shown(name)}{hint} {listing}")


def _kind(path: Path) -> str | None:
    """Returns "file", "directory" or "special file"; None where nothing can be reached."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # ValueError: a zero byte in the name.
        return None
    if stat.S_ISREG(mode):
        return "file"
    return "directory" if stat.S_ISDIR(mode) else "special file"


# --- Parsing --------------------------------------------------------------------------------------


def parse(gin_files: Sequence[str], gin_bindings: Sequence[str] = ()) -> None:
    """Replaces gin's configuration by that of the files and bindings, and locks it.

    Settings of TF-Agents' own configurables are refused; one that only repeats a default, as saved
    configurations once did, is left out. Later settings win over earlier ones: files in order, each
    include where it stands, then the bindings. `include` looks beside the including file, then
    wherever `resolve` looks.

    Args:
        gin_files: Names or paths, as `resolve` takes them.
        gin_bindings: Settings such as `DqnAgent.gamma = 0.99` or `GAME = 'Pong'`.

    Raises:
        UserError: Anything in the files or bindings is wrong: not found, not readable, not gin,
            names that nothing registered or that are TF-Agents' own, macros that are undefined,
            circular or used by nothing, `import` statements, numbers that a configuration cannot
            hold. gin's configuration is then empty and unlocked.
    """
    gin.clear_config()
    reading = _Reading()
    try:
        for name in gin_files:
            reading.read_file(resolve(name))
        for binding in gin_bindings:
            reading.read_binding(binding)
        reading.check()
        try:
            gin.finalize()
        except Exception as error:  # Hooks that other libraries registered raise what they like.
            raise UserError(f"The configuration is refused: {words.first_line(error)}.") from error
    except UserError:
        gin.clear_config()
        raise


@dataclasses.dataclass(frozen=True, repr=False)
class _Reference:
    """`@scope/name`, `@scope/name()` or `%scope/name` as written, before anything is looked up."""

    name: str
    kind: str  # One of "@", "@()" and "%".

    def __repr__(self) -> str:
        return f"{self.kind[0]}{self.name}{self.kind[1:]}"


class _AsWritten:
    """What gin's parser builds references with: they are kept as text, nothing is looked up."""

    def configurable_reference(self, name: str, evaluate: bool) -> _Reference:
        return _Reference(name, "@()" if evaluate else "@")

    def macro(self, name: str) -> _Reference:
        return _Reference(name, "%")


@dataclasses.dataclass(frozen=True)
class _Source:
    """A text in gin's language, and what messages call it."""

    text: str
    name: str | None  # None: a single binding, which its own text names.

    def place(self, line: int) -> str:
        return f"{self.name} line {line}" if self.name else f"Binding {words.shown(self.text)}"

    def statements(self) -> Iterator[Any]:
        """Yields gin's statements, with references as `_Reference`.

        Raises:
            UserError: The text is not gin, or holds a value that no configuration can hold.
        """
        parser = None
        while True:
            line = parser.current_token.start[0] if parser else 1
            try:
                with warnings.catch_warnings():
                    # Python warns of '\d' in a string and keeps it; a configuration must not guess.
                    warnings.simplefilter("error", SyntaxWarning)
                    warnings.simplefilter("error", DeprecationWarning)
                    if parser is None:
                        parser = config_parser.ConfigParser(self.text, _AsWritten())
                    statement = parser.parse_statement()
            except Exception as error:  # gin's parser documents none, and raises many.
                raise UserError(self._syntax_message(error, line)) from error
            if statement is None:
                return
            if isinstance(statement, config_parser.BindingStatement):
                problem = _problem(statement.value)
                if problem:
                    raise UserError(f"{self.place(statement.location.line_num)}: {problem}")
            yield statement

    def _syntax_message(self, error: Exception, line: int) -> str:
        """Says what is wrong in the statement that starts at `line` or below it."""
        lines = self.text.split("\n")
        while line < len(lines) and re.match(r"\s*(#|$)", lines[line - 1]):
            line += 1
        found = error.lineno if isinstance(error, SyntaxError) and error.lineno else line
        if found <= len(lines) and lines[found - 1].strip():
            line = found
        text = lines[line - 1].strip() if line <= len(lines) else ""
        where = f", in {words.shown(text)}" if self.name and text else ""
        unquoted = re.match(r"include\s+\w", text)
        detail = _INCLUDE_FORM if unquoted else _syntax_detail(error)
        return f"{self.place(line)} is not valid gin: {detail}{where}."


def _syntax_detail(error: Exception) -> str:
    """Says in plain words what gin's parser or Python's tokenizer found wrong."""
    message = str(error.msg if isinstance(error, SyntaxError) else error)
    if isinstance(error, tokenize.TokenError):
        message = str(error.args[0])
        if "string" in message:
            return "a string that is opened here is never closed"
        if "EOF in multi-line statement" in message:
            return "a bracket that is opened here is never closed"
    if isinstance(error, RecursionError) or message.startswith("too many nested"):
        return "its brackets are nested too deeply"
    if isinstance(error, TypeError):
        return "the key of a dictionary must be a number or text"
    if message.startswith("Exceeds the limit"):
        return _TOO_LARGE
    word = re.search(r"Failed to parse token '-?([^\W\d]\w*)'$", message)
    if word:
        literals = {"true": "True", "false": "False", "none": "None", "null": "None"}
        meant = literals.get(word[1].lower())
        if meant:
            return f"{words.shown(word[1])} is not a value; write {meant}"
        return (
            f"{words.shown(word[1])} is not a value; put text in quotes, and write % before a "
            "macro and @ before a configurable"
        )
    message = re.sub(r"(\n +Failed to parse token|  Got ).*", "", message, flags=re.DOTALL)
    message = re.sub(r" \(<\w+>, line \d+\)| on line \d+: <.*>", "", message)
    plain = words.printable(" ".join(message.split()).rstrip("."))
    plain = _PLAIN_WORDS.get(message, plain[:1].lower() + plain[1:])
    return plain or type(error).__name__


def _problem(value: Any, depth: int = 0) -> str | None:
    """Says why gin could not write `value` back to a configuration; None where it could.

    gin leaves such values out of the operative configuration without a word (infinity, complex
    numbers), or fails there (integers that Python refuses to print).
    """
    if depth > _DEEPEST_NESTING:
        return f"a value is nested deeper than {_DEEPEST_NESTING} levels."
    if isinstance(value, complex) or (isinstance(value, float) and not math.isfinite(value)):
        return f"{value} is not a number that a configuration can hold."
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return f"{_TOO_LARGE}."
    for item in _items(value):
        problem = _problem(item, depth + 1)
        if problem:
            return problem
    return None


def _items(value: Any) -> Iterator[Any]:
    """Yields what a container holds, keys and values alike; nothing for any other value."""
    if isinstance(value, Mapping):
        yield from value.keys()
        yield from value.values()
    elif isinstance(value, (list, tuple)):
        yield from value


class _Reading:
    """One call of `parse`: binds statement after statement, remembering where each one stood."""

    def __init__(self) -> None:
        self._places: dict[_Key, str] = {}  # Where each binding was last set.
        self._macros_referred_to: set[str] = set()  # Even by bindings that were overridden since.
        self._files_read = 0

    def read_file(self, path: Path, includers: tuple[Path, ...] = ()) -> None:
        """Binds what a file and its includes say.

        Args:
            path: The file.
            includers: The files that led here by `include`, outermost first.

        Raises:
            UserError: The file cannot be read, or something in it is wrong.
        """
        name = path.name if path.parent == GIN_DIRECTORY else words.printable(str(path))
        self._files_read += 1
        if self._files_read > _MOST_FILES:
            raise UserError(f"{name} is one gin file too many: {_MOST_FILES} were read before it.")
        source = _Source(_read_text(path), name)
        for statement in source.statements():
            place = source.place(statement.location.line_num)
            if not isinstance(statement, config_parser.IncludeStatement):
                self._read_statement(statement, place)
                continue
            chain = (*includers, path.resolve())
            try:
                included = _resolve_include(statement.filename, path)
            except UserError as error:
                raise UserError(f"{place}: {error.message}") from error
            if included.resolve() in chain:
                circle = " -> ".join(words.printable(file.name) for file in (*chain, included))
                raise UserError(f"{place}: gin files include one another in a circle: {circle}.")
            self.read_file(included, chain)

    def read_binding(self, text: str) -> None:
        """Binds what one `--gin_bindings` says.

        Raises:
            UserError: It is no binding, or something in it is wrong.
        """
        form = "write Configurable.parameter = value, or MACRO = value"
        if not text.strip():
            raise UserError(f"A gin binding is empty; {form}.")
        if "=" not in text:
            raise UserError(f"Binding {words.shown(text)} has no '='; {form}.")
        source = _Source(text, None)
        statements = list(source.statements())
        if not statements:
            raise UserError(f"Binding {words.shown(text)} is only a comment; {form}.")
        for statement in statements:
            if isinstance(statement, config_parser.IncludeStatement):
                raise UserError(f"{source.place(1)} is an include; give files with --gin_file.")
            self._read_statement(statement, source.place(1))

    def _read_statement(self, statement: Any, place: str) -> None:
        if isinstance(statement, config_parser.ImportStatement):
            raise UserError(
                f"{place}: import statements are refused here, because they run code; every "
                "configurable of this project is there without them, so remove the line."
            )
        try:
            if isinstance(statement, config_parser.BlockDeclaration):
                _configurable(statement.selector)
            else:
                self._bind(statement, place)
        except UserError as error:
            raise UserError(f"{place}: {error.message}") from error

    def _bind(self, statement: Any, place: str) -> None:
        scope, selector, parameter = statement.scope, statement.selector, statement.arg_name
        if parameter:
            configurable = _configurable(selector)
            _check_parameter(configurable, selector, parameter)
            if configurable.selector.startswith(_TF_AGENTS):
                _check_repeats_default(configurable, selector, parameter, statement.value)
                return
            key = (scope, configurable.selector, parameter)
        else:
            key = (f"{scope}/{selector}" if scope else selector, _MACRO, "value")
        gin.bind_parameter(key, self._with_gin_references(statement.value))
        self._places[key] = place

    def _with_gin_references(self, value: Any) -> Any:
        """Copies `value` with every `_Reference` looked up and made gin's own."""
        if isinstance(value, _Reference):
            return self._gin_reference(value)
        if isinstance(value, dict):
            return {
                self._with_gin_references(key): self._with_gin_references(item)
                for key, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            return type(value)(self._with_gin_references(item) for item in value)
        return value

    def _gin_reference(self, reference: _Reference) -> Any:
        delegate = gin_config.ParserDelegate()
        if reference.kind == "%":
            constants = gin_config._CONSTANTS.matching_selectors(reference.name)
            if len(constants) > 1:
                several = ", ".join(sorted(constants))
                raise UserError(f"{reference} could be any of {several}; write more of its name.")
            self._macros_referred_to.add(reference.name)
            return delegate.macro(reference.name)
        _configurable(reference.name.rsplit("/", 1)[-1], reference)
        try:
            return delegate.configurable_reference(reference.name, reference.kind == "@()")
        except Exception as error:  # A scope makes gin subclass a class, which may refuse it.
            raise UserError(f"gin cannot use {reference}: {words.first_line(error)}.") from error

    def check(self) -> None:
        """Checks what only the whole configuration shows.

        Raises:
            UserError: A macro is undefined, circular or used by nothing, configurables need one
                another in a circle, or a value was left as `%gin.REQUIRED`.
        """
        for key, value in _bound(gin_config._CONFIG):
            for reference in _gin_references(value):
                self._check_macro(key, reference)
        heights: dict[_Call, int] = {}
        for scope, selector in gin_config._CONFIG:
            self._check_calls((tuple(scope.split("/")) if scope else (), selector), (), heights)
        for key in self._places:
            self._check_macro_is_used(key)

    def _check_macro(self, key: _Key, reference: Any) -> None:
        """Refuses an undefined macro, and a value that was to be set and was not."""
        name = "/".join(reference.scopes)
        target = reference.configurable.selector
        if target == _MACRO and reference.config_key not in gin_config._CONFIG:
            defined = [scope for scope, selector in gin_config._CONFIG if selector == _MACRO]
            near = words.nearest(name, [*defined, *_minimal_names(gin_config._CONSTANTS)])
            hint = f"did you mean %{near}?" if near else f"add a line {name} = value."
            raise UserError(f"{self._places[key]}: the macro %{name} is not defined; {hint}")
        if target == _CONSTANT and gin_config._CONSTANTS[name] is gin.REQUIRED:
            raise UserError(
                f"{self._places[key]}: {_display(key)} is left open (%gin.REQUIRED); set it in a "
                "later gin file or with --gin_bindings."
            )

    def _check_calls(self, call: _Call, path: tuple[_Call, ...], heights: dict[_Call, int]) -> int:
        """Refuses references that gin would follow for ever, or until Python's stack is full.

        Args:
            call: The configurable that is called, and the scope that it is called in.
            path: The calls that led here, outermost first.
            heights: For each call that was checked already, the longest chain that it starts.

        Returns:
            How many calls the longest chain has that starts here, this call counted.

        Raises:
            UserError: A call leads back to itself, or the chain is very long.
        """
        path = (*path, call)
        height = 1
        for key, callee in _calls_from(call):
            if callee in path:
                circle = (*path[path.index(callee) :], callee)
                names = " -> ".join(_display_call(each) for each in circle)
                raise UserError(f"{self._places[key]}: references run in a circle: {names}.")
            if len(path) + heights.get(callee, 1) > _DEEPEST_REFERENCES:
                raise UserError(
                    f"{self._places[key]}: {_display(key)} is part of a chain of over "
                    f"{_DEEPEST_REFERENCES} references."
                )
            if callee not in heights:
                heights[callee] = self._check_calls(callee, path, heights)
            height = max(height, 1 + heights[callee])
        return height

    def _check_macro_is_used(self, key: _Key) -> None:
        """Refuses `learning_rate = 0.1`, which gin takes for a macro and then ignores."""
        name, selector, _ = key
        if selector != _MACRO or name in self._macros_referred_to:
            return
        meant = {
            parameter: _display((scope, bound_selector, parameter))
            for scope, bound_selector, parameter in self._places
            if bound_selector != _MACRO
        }
        meant |= {macro: macro for macro in self._macros_referred_to}
        near = words.nearest(name, meant)
        hint = f"did you mean {meant[near]}?" if near else "write Configurable.parameter = value."
        raise UserError(
            f"{self._places[key]}: {name} would be a macro, but nothing refers to %{name}; {hint}"
        )


def _resolve_include(name: str, includer: Path) -> Path:
    """Finds an included file: beside the including one first, else where `resolve` looks."""
    beside = includer.parent / name
    return beside if _kind(beside) == "file" else resolve(name)


def _read_text(path: Path) -> str:
    """Reads a gin file; line ends become line feeds.

    Raises:
        UserError: It cannot be read, is not UTF-8 text, or is far too large.
    """
    name = words.shown(str(path))
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise UserError(f"Cannot read the gin file {name}: {error.strerror}.") from error
    if len(content) > _LARGEST_FILE_BYTES:
        raise UserError(f"{name} is no gin file: it holds over {_LARGEST_FILE_BYTES:,} bytes.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{name} is no gin file: byte {error.start} is not UTF-8 text; save it as UTF-8."
        ) from error
    if "\0" in text:
        raise UserError(f"{name} is no gin file: it holds binary data (a zero byte).")
    return text.replace("\r\n", "\n").replace("\r", "\n")


# --- Looking things up in gin's registry ----------------------------------------------------------


def _configurable(selector: str, reference: _Reference | None = None) -> Any:
    """Returns gin's record of a configurable.

    Args:
        selector: Its name, with as much of its module as makes it unique.
        reference: The reference that holds the name, where there is one; for messages.

    Raises:
        UserError: No configurable or several match, or it is gin's own machinery for macros.
    """
    registry = gin_config._REGISTRY
    matches = registry.matching_selectors(selector)
    if len(matches) > 1:
        several = ", ".join(sorted(matches))
        raise UserError(
            f"{words.shown(selector)} could be any of {several}; write more of its name."
        )
    if matches and matches[0] in (_MACRO, _CONSTANT):
        raise UserError(
            f"{words.shown(selector)} is gin's own; write NAME = value and %NAME instead."
        )
    if matches:
        return registry[matches[0]]
    names = {minimal.rsplit(".", 1)[-1]: minimal for minimal in _minimal_names(registry)}
    names |= {minimal: minimal for minimal in _minimal_names(registry)}
    near = words.nearest(selector, names)
    hint = f"; did you mean {names[near]}?" if near else "."
    where = f" ({words.shown(reference)})" if reference else ""
    raise UserError(f"no configurable is called {words.shown(selector)}{where}{hint}")


def _minimal_names(selectors: Any) -> list[str]:
    """Returns the shortest unique name of each entry of a gin selector map."""
    return [selectors.minimal_selector(selector) for selector, _ in selectors.items()]


def _parameters(configurable: Any) -> tuple[list[str], bool]:
    """Returns the parameters of a configurable, and whether it takes any other name as well."""
    parameters = _signature(configurable)
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    names = [parameter.name for parameter in parameters if parameter.kind in named]
    return names, any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters)


def _signature(configurable: Any) -> list[inspect.Parameter]:
    """Returns the parameters of a configurable, without `self`."""
    function = configurable.wrapped
    bound_to_self = configurable.is_method
    if inspect.isclass(function):
        function = gin_config._find_class_construction_fn(function)
        bound_to_self = True
    function = inspect.unwrap(function)
    if function is object.__init__:
        return []
    return list(inspect.signature(function).parameters.values())[bound_to_self:]


def _is_open(configurable: Any, parameter: str) -> bool:
    """Whether the configurable lets gin set a parameter (its allowlist and denylist)."""
    allowed = not configurable.allowlist or parameter in configurable.allowlist
    return allowed and parameter not in (configurable.denylist or ())


def _check_parameter(configurable: Any, selector: str, parameter: str) -> None:
    names, takes_any = _parameters(configurable)
    if parameter in names and not _is_open(configurable, parameter):
        raise UserError(f"{selector}.{parameter} is set by the program, not by gin; remove it.")
    if parameter in names or takes_any:
        return
    open_names = [name for name in names if _is_open(configurable, name)]
    near = words.nearest(parameter, open_names)
    hint = f"did you mean {near}? Its parameters are" if near else "its parameters are"
    raise UserError(
        f"{selector} has no parameter {words.shown(parameter)}; {hint}: "
        f"{', '.join(open_names) or 'none'}."
    )


def _check_repeats_default(configurable: Any, selector: str, parameter: str, value: Any) -> None:
    """Refuses a binding of a configurable that only this project's builders set up.

    Raises:
        UserError: The value is another one than the parameter's Python default.
    """
    defaults = {each.name: each.default for each in _signature(configurable)}
    if _one_spelling(value) == _one_spelling(defaults.get(parameter, inspect.Parameter.empty)):
        return
    meant = [
        registered.name
        for name, registered in gin_config._REGISTRY.items()
        if name.startswith(_OWN) and parameter in _parameters(registered)[0]
    ]
    hint = f"write {meant[0]}.{parameter} instead." if len(meant) == 1 else "remove it."
    raise UserError(
        f"{selector}.{parameter} is TF-Agents' own, and this project sets {selector} up itself; "
        f"{hint}"
    )


def _bound(config: Mapping[tuple[str, str], Mapping[str, Any]]) -> Iterator[tuple[_Key, Any]]:
    """Yields the bindings of gin's nested dictionary one by one."""
    for (scope, selector), parameters in config.items():
        for parameter, value in parameters.items():
            yield (scope, selector, parameter), value


def _gin_references(value: Any) -> Iterator[Any]:
    """Yields the references of gin's that a value holds at any depth."""
    if isinstance(value, gin_config.ConfigurableReference):
        yield value
    for item in _items(value):
        yield from _gin_references(item)


def _calls_from(call: _Call) -> Iterator[tuple[_Key, _Call]]:
    """Yields the calls that gin makes to find the arguments of a call, with the binding of each."""
    scope, selector = call
    arguments: dict[str, tuple[_Key, Any]] = {}
    for length in range(len(scope) + 1):  # As gin does: inner scopes override outer ones.
        outer = "/".join(scope[:length])
        for parameter, value in gin_config._CONFIG.get((outer, selector), {}).items():
            arguments[parameter] = (outer, selector, parameter), value
    for key, value in arguments.values():
        for reference in _gin_references(value):
            if reference.evaluate:
                yield key, (tuple(reference.scopes) or scope, reference.configurable.selector)


def _display(key: _Key) -> str:
    """Returns a binding's name as a gin file writes it."""
    scope, selector, parameter = key
    if selector == _MACRO:
        return scope
    prefix = f"{scope}/" if scope else ""
    return f"{prefix}{gin_config._REGISTRY.minimal_selector(selector)}.{parameter}"


def _display_call(call: _Call) -> str:
    scope, selector = call
    if selector == _MACRO:
        return "%" + "/".join(scope)
    return "@" + "/".join((*scope, gin_config._REGISTRY.minimal_selector(selector))) + "()"


# --- Missing bindings -----------------------------------------------------------------------------


@contextlib.contextmanager
def building() -> Iterator[None]:
    """While builders run: turns gin's complaint about a missing value into a `UserError`.

    A parameter without a Python default is missing in one of two ways: gin finds its default to be
    `gin.REQUIRED` (`RuntimeError`), or Python finds no argument for it (`TypeError`). Both name the
    parameter to bind. Everything else passes through untouched, also a `TypeError` of a call that
    is wrong in the code and that no gin file could mend.

    Raises:
        UserError: A parameter of a configurable has no value.
    """
    try:
        yield
    except (RuntimeError, TypeError) as error:
        missing = _unset_by_gin(error) or _unset_in_call(error)
        if not missing:
            raise
        if len(missing) > _MOST_MISSING_NAMED:
            raise UserError(
                f"The configuration sets no value for {missing[0]} and {len(missing) - 1} more; "
                "gin files such as short.gin only change a config: give it after one, such as "
                "--gin_file=breakout.gin --gin_file=short.gin."
            ) from error
        lines = " and ".join(f"{name} = ..." for name in missing)
        raise UserError(
            f"The configuration sets no value for {' and '.join(missing)}; add {lines} to a gin "
            "file, or pass it with --gin_bindings."
        ) from error


def _unset_by_gin(error: Exception) -> list[str]:
    """Returns the bindings that gin found missing; none if the error is another one."""
    pattern = r"Required bindings for `([^`]+)` not provided in config: \[(.*?)\]"
    match = re.match(pattern, str(error))
    if not isinstance(error, RuntimeError) or not match:
        return []
    return [f"{match[1]}.{name}" for name in re.findall(r"'(\w+)'", match[2])]


def _unset_in_call(error: Exception) -> list[str]:
    """Returns the bindings that Python found missing; none if no binding would mend the error."""
    pattern = r"([\w.<>]+)\(\) missing \d+ required (?:positional|keyword-only) arguments?: (.*)"
    match = re.match(pattern, str(error))
    call = _innermost_configurable_call(error.__traceback__)
    if not isinstance(error, TypeError) or not match or call is None:
        return []
    # A plain function that the configurable called wrongly is a fault of the code, not of a file.
    if getattr(call["signature_fn"], "__qualname__", None) != match[1]:
        return []
    configurable = gin_config._REGISTRY[call["current_selector"]]
    names = re.findall(r"'(\w+)'", match[2])
    if not all(_is_open(configurable, name) for name in names):
        return []
    return [_display(("", configurable.selector, name)) for name in names]


def _innermost_configurable_call(trace: types.TracebackType | None) -> dict[str, Any] | None:
    """Returns the variables of the last of gin's wrappers that an exception passed."""
    variables = None
    while trace:
        frame = trace.tb_frame
        if (
            frame.f_code.co_name == "gin_wrapper"
            and frame.f_globals.get("__name__") == "gin.config"
        ):
            variables = frame.f_locals
        trace = trace.tb_next
    return variables


# --- What was used, and how two configurations differ ---------------------------------------------


def value(parameter: str) -> Any:
    """What the parsed configuration binds to `configurable.parameter`, macros resolved.

    Raises:
        UserError: Nothing is bound to it.
    """
    configurable, _, name = parameter.rpartition(".")
    found = gin.get_bindings(configurable)
    if name not in found:
        raise UserError(
            f"The configuration sets no value for {parameter}; give a whole one, such as "
            "--gin_file=breakout.gin."
        )
    return found[name]


def operative_config() -> str:
    """Returns the settings that configurables were really called with so far, as a gin text.

    It holds Python defaults of configurables too, and leaves out what callers passed themselves,
    and TF-Agents' own configurables, which nothing but this project's builders sets up.
    """
    with gin_config._OPERATIVE_CONFIG_LOCK:
        used = {
            key: parameters
            for key, parameters in gin_config._OPERATIVE_CONFIG.items()
            if not key[1].startswith(_TF_AGENTS)
        }
        return str(gin_config._config_str(used))


def bindings(text: str) -> dict[str, str]:
    """Reads the settings of a gin text without looking anything up.

    Args:
        text: A configuration without `include` and `import`, such as `operative_config` returns.

    Returns:
        `Configurable.parameter` (with its scope, if any) or the name of a macro -> the value's
        text, on one line and in one spelling: `2.5e-4` is `0.00025`, dictionaries are sorted.

    Raises:
        UserError: The text is not gin.
    """
    return {name: _one_spelling(value) for name, value in _values(text).items()}


def differences(old: str, new: str) -> list[str]:
    """Says how two configurations differ.

    Macros are replaced by what they stand for, so only what configurables receive counts. Of
    TF-Agents' own configurables nothing does: older saved configurations hold their defaults.

    Args:
        old: The configuration there, such as a run directory's.
        new: The configuration here.

    Returns:
        A sentence for each parameter that differs, sorted by its name, such as
        `RMSprop.learning_rate: 0.00025 there, 0.001 here`. Empty if none differs.

    Raises:
        UserError: A text is not gin.
    """
    there, here = _without_macros(_values(old)), _without_macros(_values(new))
    return [
        f"{name}: {there.get(name, 'not set')} there, {here.get(name, 'not set')} here"
        for name in sorted(there.keys() | here.keys())
        if there.get(name) != here.get(name)
    ]


def unused_bindings() -> list[str]:
    """Returns the bindings that no configurable has used so far, sorted.

    A binding is used once its configurable was called in its scope and received its value: not
    overridden by an inner scope, and not passed by the caller, who wins over gin without a word.
    Macros count as bindings.
    """
    config = gin_config._CONFIG
    used = set()
    for (scope, selector, parameter), value in _bound(gin_config._OPERATIVE_CONFIG):
        scopes = scope.split("/") if scope else []
        for length in range(len(scopes), -1, -1):  # The innermost binding is the one that holds.
            key = ("/".join(scopes[:length]), selector, parameter)
            bound = config.get(key[:2], {})
            if parameter in bound:
                if bound[parameter] == value:
                    used.add(key)
                break
    return sorted(_display(key) for key, _ in _bound(config) if key not in used)


def _values(text: str) -> dict[str, Any]:
    """Returns the bindings of a gin text by name, references as `_Reference`."""
    source = _Source(text, "The configuration")
    values = {}
    for statement in source.statements():
        if isinstance(statement, config_parser.BlockDeclaration):
            continue
        if not isinstance(statement, config_parser.BindingStatement):
            place = source.place(statement.location.line_num)
            raise UserError(f"{place}: only bindings are allowed, no include and no import.")
        scope = f"{statement.scope}/" if statement.scope else ""
        parameter = f".{statement.arg_name}" if statement.arg_name else ""
        values[f"{scope}{statement.selector}{parameter}"] = statement.value
    return values


def _without_macros(values: Mapping[str, Any]) -> dict[str, str]:
    """Returns the spelling of every binding but macros, with macros replaced by their values."""
    macros = {name: value for name, value in values.items() if "." not in name}

    def replaced(value: Any, inside: frozenset[str]) -> Any:
        if isinstance(value, _Reference) and value.kind == "%":
            known = value.name in macros and value.name not in inside
            return replaced(macros[value.name], inside | {value.name}) if known else value
        if isinstance(value, dict):
            return {replaced(key, inside): replaced(item, inside) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(replaced(item, inside) for item in value)
        return value

    return {
        name: _one_spelling(replaced(value, frozenset()))
        for name, value in values.items()
        if name not in macros and not _is_of_tf_agents(name)
    }


def _is_of_tf_agents(name: str) -> bool:
    """Whether a binding's name, with its scope if any, can only mean a TF-Agents configurable."""
    selector = name.rsplit("/", 1)[-1].rpartition(".")[0]
    matches = gin_config._REGISTRY.matching_selectors(selector)
    return bool(matches) and all(match.startswith(_TF_AGENTS) for match in matches)


def _one_spelling(value: Any) -> str:
    return pprint.pformat(value, width=sys.maxsize)
