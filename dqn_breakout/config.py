"""Configuration: finds gin files, and makes them and the bindings gin's configuration.

This is the only module that changes gin's configuration. It owns where gin files are found, how
their statements are bound and checked, and what is said where a value is missing. `gin_text` reads
the statements, `gin_registry` looks names up, and `used_config` says what was really used. Whatever
is wrong in a user's text becomes a `UserError`.

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
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gin
from gin import config as gin_config
from gin import config_parser

from dqn_breakout import errors, gin_registry, gin_text
from dqn_breakout.errors import UserError

GIN_DIRECTORY: Path = Path(__file__).resolve().parent.parent / "gin"

# Far above any sane configuration, far below what exhausts memory or Python's stack.
_MOST_FILES = 100
_DEEPEST_REFERENCES = 20

# Where more values are missing, a whole file is.
_MOST_MISSING_NAMED = 2


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
        raise UserError(f"{errors.shown(name)} is a {kind}, not a gin file; {listing}")
    stems = {stem: file for file in names for stem in (file, file.removesuffix(".gin"))}
    near = errors.nearest(Path(name).name, stems)
    hint = f"; did you mean {stems[near]}?" if near else ";"
    raise UserError(f"There is no gin file {errors.shown(name)}{hint} {listing}")


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


def parse(
    gin_files: Sequence[str], gin_bindings: Sequence[str] = (), *, includes: bool = True
) -> None:
    """Replaces gin's configuration by that of the files and bindings, and locks it.

    Settings of TF-Agents' own configurables are refused; one that only repeats a default, as saved
    configurations once did, is left out. Later settings win over earlier ones: files in order, each
    include where it stands, then the bindings. `include` looks beside the including file, then
    wherever `resolve` looks.

    Args:
        gin_files: Names or paths, as `resolve` takes them.
        gin_bindings: Settings such as `DqnAgent.gamma = 0.99` or `GAME = 'Pong'`.
        includes: Whether files may include others. What a run saved never does, and may come from
            a stranger.

    Raises:
        UserError: Anything in the files or bindings is wrong: not found, not readable, not gin,
            names that nothing registered or that are TF-Agents' own, macros that are undefined,
            circular or used by nothing, `import` statements, numbers that a configuration cannot
            hold. gin's configuration is then empty and unlocked.
    """
    gin.clear_config()
    reading = _Reading(includes)
    try:
        for name in gin_files:
            reading.read_file(resolve(name))
        for binding in gin_bindings:
            reading.read_binding(binding)
        reading.check()
        try:
            gin.finalize()
        except Exception as error:  # Hooks that other libraries registered raise what they like.
            raise UserError(f"The configuration is refused: {errors.first_line(error)}.") from error
    except UserError:
        gin.clear_config()
        raise


class _Reading:
    """One call of `parse`: binds statement after statement, remembering where each one stood."""

    def __init__(self, includes: bool) -> None:
        self._includes = includes
        self._places: dict[gin_registry.Key, str] = {}  # Where each binding was last set.
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
        name = path.name if path.parent == GIN_DIRECTORY else errors.printable(str(path))
        self._files_read += 1
        if self._files_read > _MOST_FILES:
            raise UserError(f"{name} is one gin file too many: {_MOST_FILES} were read before it.")
        source = gin_text.Source(gin_text.read_text(path), name)
        for statement in source.statements():
            place = source.place(statement.location.line_num)
            if not isinstance(statement, config_parser.IncludeStatement):
                self._read_statement(statement, place)
                continue
            if not self._includes:
                raise UserError(f"{place}: a saved configuration includes none; remove the line.")
            chain = (*includers, path.resolve())
            try:
                included = _resolve_include(statement.filename, path)
            except UserError as error:
                raise UserError(f"{place}: {error.message}") from error
            if included.resolve() in chain:
                circle = " -> ".join(errors.printable(file.name) for file in (*chain, included))
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
            raise UserError(f"Binding {errors.shown(text)} has no '='; {form}.")
        source = gin_text.Source(text, None)
        statements = list(source.statements())
        if not statements:
            raise UserError(f"Binding {errors.shown(text)} is only a comment; {form}.")
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
                gin_registry.find(statement.selector)
            else:
                self._bind(statement, place)
        except UserError as error:
            raise UserError(f"{place}: {error.message}") from error

    def _bind(self, statement: Any, place: str) -> None:
        scope, selector, parameter = statement.scope, statement.selector, statement.arg_name
        if parameter:
            configurable = gin_registry.find(selector)
            gin_registry.check_parameter(configurable, selector, parameter)
            if isinstance(statement.value, gin_text.Reference):
                gin_registry.check_builder(configurable, parameter, statement.value)
            if configurable.selector.startswith(gin_registry.TF_AGENTS):
                gin_registry.check_repeats_default(
                    configurable, selector, parameter, statement.value
                )
                return
            key = (scope, configurable.selector, parameter)
        else:
            key = (f"{scope}/{selector}" if scope else selector, gin_registry.MACRO, "value")
        gin.bind_parameter(key, self._with_gin_references(statement.value))
        self._places[key] = place

    def _with_gin_references(self, value: Any) -> Any:
        """Copies `value` with every `gin_text.Reference` looked up and made gin's own."""
        if isinstance(value, gin_text.Reference):
            return self._gin_reference(value)
        if isinstance(value, dict):
            return {
                self._with_gin_references(key): self._with_gin_references(item)
                for key, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            return type(value)(self._with_gin_references(item) for item in value)
        return value

    def _gin_reference(self, reference: gin_text.Reference) -> Any:
        delegate = gin_config.ParserDelegate()
        if reference.kind == "%":
            constants = gin_config._CONSTANTS.matching_selectors(reference.name)
            if len(constants) > 1:
                several = ", ".join(sorted(constants))
                raise UserError(f"{reference} could be any of {several}; write more of its name.")
            self._macros_referred_to.add(reference.name)
            return delegate.macro(reference.name)
        gin_registry.find(reference.name.rsplit("/", 1)[-1], reference)
        try:
            return delegate.configurable_reference(reference.name, reference.kind == "@()")
        except Exception as error:  # A scope makes gin subclass a class, which may refuse it.
            raise UserError(f"gin cannot use {reference}: {errors.first_line(error)}.") from error

    def check(self) -> None:
        """Checks what only the whole configuration shows.

        Raises:
            UserError: A macro is undefined, circular or used by nothing, configurables need one
                another in a circle, or a value was left as `%gin.REQUIRED`.
        """
        for key, value in gin_registry.bound(gin_config._CONFIG):
            for reference in gin_registry.gin_references(value):
                self._check_macro(key, reference)
        heights: dict[gin_registry.Call, int] = {}
        for scope, selector in gin_config._CONFIG:
            self._check_calls((tuple(scope.split("/")) if scope else (), selector), (), heights)
        for key in self._places:
            self._check_macro_is_used(key)

    def _check_macro(self, key: gin_registry.Key, reference: Any) -> None:
        """Refuses an undefined macro, and a value that was to be set and was not."""
        name = "/".join(reference.scopes)
        target = reference.configurable.selector
        if target == gin_registry.MACRO and reference.config_key not in gin_config._CONFIG:
            defined = [
                scope for scope, selector in gin_config._CONFIG if selector == gin_registry.MACRO
            ]
            near = errors.nearest(
                name, [*defined, *gin_registry.minimal_names(gin_config._CONSTANTS)]
            )
            hint = f"did you mean %{near}?" if near else f"add a line {name} = value."
            raise UserError(f"{self._places[key]}: the macro %{name} is not defined; {hint}")
        if target == gin_registry.CONSTANT and gin_config._CONSTANTS[name] is gin.REQUIRED:
            raise UserError(
                f"{self._places[key]}: {gin_registry.display(key)} is left open (%gin.REQUIRED); "
                "set it in a later gin file or with --gin_bindings."
            )

    def _check_calls(
        self,
        call: gin_registry.Call,
        path: tuple[gin_registry.Call, ...],
        heights: dict[gin_registry.Call, int],
    ) -> int:
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
        for key, callee in gin_registry.calls_from(call):
            if callee in path:
                circle = (*path[path.index(callee) :], callee)
                names = " -> ".join(gin_registry.display_call(each) for each in circle)
                raise UserError(f"{self._places[key]}: references run in a circle: {names}.")
            if len(path) + heights.get(callee, 1) > _DEEPEST_REFERENCES:
                raise UserError(
                    f"{self._places[key]}: {gin_registry.display(key)} is part of a chain of over "
                    f"{_DEEPEST_REFERENCES} references."
                )
            if callee not in heights:
                heights[callee] = self._check_calls(callee, path, heights)
            height = max(height, 1 + heights[callee])
        return height

    def _check_macro_is_used(self, key: gin_registry.Key) -> None:
        """Refuses `learning_rate = 0.1`, which gin takes for a macro and then ignores."""
        name, selector, _ = key
        if selector != gin_registry.MACRO or name in self._macros_referred_to:
            return
        meant = {
            parameter: gin_registry.display((scope, bound_selector, parameter))
            for scope, bound_selector, parameter in self._places
            if bound_selector != gin_registry.MACRO
        }
        meant |= {macro: macro for macro in self._macros_referred_to}
        near = errors.nearest(name, meant)
        hint = f"did you mean {meant[near]}?" if near else "write Configurable.parameter = value."
        raise UserError(
            f"{self._places[key]}: {name} would be a macro, but nothing refers to %{name}; {hint}"
        )


def _resolve_include(name: str, includer: Path) -> Path:
    """Finds an included file: beside the including one first, else where `resolve` looks."""
    beside = includer.parent / name
    return beside if _kind(beside) == "file" else resolve(name)


# --- Building -------------------------------------------------------------------------------------


def value(parameter: str, *default: Any) -> Any:
    """What the parsed configuration binds to `configurable.parameter`, macros resolved.

    Args:
        parameter: As in a gin file.
        *default: What it is where nothing is bound to it, if anything.

    Raises:
        UserError: Nothing is bound to it, and there is no default.
    """
    configurable, _, name = parameter.rpartition(".")
    found = gin.get_bindings(configurable)
    if name not in found:
        if default:
            return default[0]
        raise UserError(
            f"The configuration sets no value for {parameter}; give a whole one, such as "
            "--gin_file=breakout.gin."
        )
    return found[name]


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
        missing = gin_registry.unset_by_gin(error) or gin_registry.unset_in_call(error)
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
