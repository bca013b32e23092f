"""gin's registry and bindings: finds configurables, parameters and references, and names them.

It owns what this project knows of gin's inner state, which names are the user's to set, and what
gin's and Python's complaints of a missing value mean. It only looks: nothing here changes gin's
configuration.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterator, Mapping
from typing import Any

from gin import config as gin_config

from dqn_breakout import errors, gin_text
from dqn_breakout.errors import UserError

# TF-Agents registers its classes with gin too; this project's builders set those up themselves.
TF_AGENTS = "tf_agents."
_OWN = "dqn_breakout."

MACRO = "gin.macro"
CONSTANT = "gin.constant"

Key = tuple[str, str, str]  # scope, complete selector, parameter
Call = tuple[tuple[str, ...], str]  # scope components, complete selector


def find(selector: str, reference: gin_text.Reference | None = None) -> Any:
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
            f"{errors.shown(selector)} could be any of {several}; write more of its name."
        )
    if matches and matches[0] in (MACRO, CONSTANT):
        raise UserError(
            f"{errors.shown(selector)} is gin's own; write NAME = value and %NAME instead."
        )
    if matches:
        return registry[matches[0]]
    names = {minimal.rsplit(".", 1)[-1]: minimal for minimal in minimal_names(registry)}
    names |= {minimal: minimal for minimal in minimal_names(registry)}
    near = errors.nearest(selector, names)
    hint = f"; did you mean {names[near]}?" if near else "."
    where = f" ({errors.shown(reference)})" if reference else ""
    raise UserError(f"no configurable is called {errors.shown(selector)}{where}{hint}")


def minimal_names(selectors: Any) -> list[str]:
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


def is_open(configurable: Any, parameter: str) -> bool:
    """Whether the configurable lets gin set a parameter (its allowlist and denylist)."""
    allowed = not configurable.allowlist or parameter in configurable.allowlist
    return allowed and parameter not in (configurable.denylist or ())


def check_parameter(configurable: Any, selector: str, parameter: str) -> None:
    """Refuses a parameter that is not the user's to set.

    Raises:
        UserError: The configurable has no such parameter, or lets only the program set it.
    """
    names, takes_any = _parameters(configurable)
    if parameter in names and not is_open(configurable, parameter):
        raise UserError(f"{selector}.{parameter} is set by the program, not by gin; remove it.")
    if parameter in names or takes_any:
        return
    open_names = [name for name in names if is_open(configurable, name)]
    near = errors.nearest(parameter, open_names)
    hint = f"did you mean {near}? Its parameters are" if near else "its parameters are"
    raise UserError(
        f"{selector} has no parameter {errors.shown(parameter)}; {hint}: "
        f"{', '.join(open_names) or 'none'}."
    )


def check_builder(configurable: Any, parameter: str, reference: gin_text.Reference) -> None:
    """Refuses `@create_agent()` where `@create_agent` is meant.

    Raises:
        UserError: The parameter takes a builder, and the reference would call it too early.
    """
    annotations = {each.name: str(each.annotation) for each in _signature(configurable)}
    if reference.kind == "@()" and "Callable[" in annotations.get(parameter, ""):
        raise UserError(f"{parameter} takes a builder; write @{reference.name}, without brackets.")


def check_repeats_default(configurable: Any, selector: str, parameter: str, value: Any) -> None:
    """Refuses a binding of a configurable that only this project's builders set up.

    Raises:
        UserError: The value is another one than the parameter's Python default.
    """
    defaults = {each.name: each.default for each in _signature(configurable)}
    if gin_text.one_spelling(value) == gin_text.one_spelling(
        defaults.get(parameter, inspect.Parameter.empty)
    ):
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


def bound(config: Mapping[tuple[str, str], Mapping[str, Any]]) -> Iterator[tuple[Key, Any]]:
    """Yields the bindings of gin's nested dictionary one by one."""
    for (scope, selector), parameters in config.items():
        for parameter, value in parameters.items():
            yield (scope, selector, parameter), value


def gin_references(value: Any) -> Iterator[Any]:
    """Yields the references of gin's that a value holds at any depth."""
    if isinstance(value, gin_config.ConfigurableReference):
        yield value
    for item in gin_text.items(value):
        yield from gin_references(item)


def calls_from(call: Call) -> Iterator[tuple[Key, Call]]:
    """Yields the calls that gin makes to find the arguments of a call, with the binding of each."""
    scope, selector = call
    arguments: dict[str, tuple[Key, Any]] = {}
    for length in range(len(scope) + 1):  # As gin does: inner scopes override outer ones.
        outer = "/".join(scope[:length])
        for parameter, value in gin_config._CONFIG.get((outer, selector), {}).items():
            arguments[parameter] = (outer, selector, parameter), value
    for key, value in arguments.values():
        for reference in gin_references(value):
            if reference.evaluate:
                yield key, (tuple(reference.scopes) or scope, reference.configurable.selector)


def display(key: Key) -> str:
    """Returns a binding's name as a gin file writes it."""
    scope, selector, parameter = key
    if selector == MACRO:
        return scope
    prefix = f"{scope}/" if scope else ""
    return f"{prefix}{gin_config._REGISTRY.minimal_selector(selector)}.{parameter}"


def display_call(call: Call) -> str:
    """Returns a call as a gin file writes the reference that makes it."""
    scope, selector = call
    if selector == MACRO:
        return "%" + "/".join(scope)
    return "@" + "/".join((*scope, gin_config._REGISTRY.minimal_selector(selector))) + "()"


def unset_by_gin(error: Exception) -> list[str]:
    """Returns the bindings that gin found missing; none if the error is another one."""
    pattern = r"Required bindings for `([^`]+)` not provided in config: \[(.*?)\]"
    match = re.match(pattern, str(error))
    if not isinstance(error, RuntimeError) or not match:
        return []
    return [f"{match[1]}.{name}" for name in re.findall(r"'(\w+)'", match[2])]


def unset_in_call(error: Exception) -> list[str]:
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
    if not all(is_open(configurable, name) for name in names):
        return []
    return [display(("", configurable.selector, name)) for name in names]


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
