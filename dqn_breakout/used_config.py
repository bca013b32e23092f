"""The configuration that was used: what configurables received, and how two such texts differ.

It owns the text that a run keeps of its configuration, the comparison of one such text with
another, and the search for bindings that nothing used. It changes nothing in gin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gin import config as gin_config
from gin import config_parser

from dqn_breakout import gin_registry, gin_text
from dqn_breakout.errors import UserError


def operative_config() -> str:
    """Returns the settings that configurables were really called with so far, as a gin text.

    It holds Python defaults of configurables too, and leaves out what callers passed themselves,
    and TF-Agents' own configurables, which nothing but this project's builders sets up.
    """
    with gin_config._OPERATIVE_CONFIG_LOCK:
        used = {
            key: parameters
            for key, parameters in gin_config._OPERATIVE_CONFIG.items()
            if not key[1].startswith(gin_registry.TF_AGENTS)
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
    return {name: gin_text.one_spelling(value) for name, value in _values(text).items()}


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
    for (scope, selector, parameter), value in gin_registry.bound(gin_config._OPERATIVE_CONFIG):
        scopes = scope.split("/") if scope else []
        for length in range(len(scopes), -1, -1):  # The innermost binding is the one that holds.
            key = ("/".join(scopes[:length]), selector, parameter)
            bound = config.get(key[:2], {})
            if parameter in bound:
                if bound[parameter] == value:
                    used.add(key)
                break
    return sorted(
        gin_registry.display(key) for key, _ in gin_registry.bound(config) if key not in used
    )


def _values(text: str) -> dict[str, Any]:
    """Returns the bindings of a gin text by name, references as `gin_text.Reference`."""
    source = gin_text.Source(text, "The configuration")
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
        if isinstance(value, gin_text.Reference) and value.kind == "%":
            known = value.name in macros and value.name not in inside
            return replaced(macros[value.name], inside | {value.name}) if known else value
        if isinstance(value, dict):
            return {replaced(key, inside): replaced(item, inside) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(replaced(item, inside) for item in value)
        return value

    return {
        name: gin_text.one_spelling(replaced(value, frozenset()))
        for name, value in values.items()
        if name not in macros and not _is_of_tf_agents(name)
    }


def _is_of_tf_agents(name: str) -> bool:
    """Whether a binding's name, with its scope if any, can only mean a TF-Agents configurable."""
    selector = name.rsplit("/", 1)[-1].rpartition(".")[0]
    matches = gin_config._REGISTRY.matching_selectors(selector)
    return bool(matches) and all(match.startswith(gin_registry.TF_AGENTS) for match in matches)
