"""An evaluation's result as people read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_RETURNS_IN_A_LINE = 15


def as_text(result: Mapping[str, Any]) -> str:
    """The result of an evaluation as lines of text.

    Args:
        result: What `evaluate.evaluate_network` or `evaluate_random_player` returned; with
            `env_steps` and `train_steps` where a checkpoint was played.
    """
    protocol = result["protocol"]
    player = "a random player" if result["player"] == "random" else "a trained network"
    rows = [("mean", _number(result["mean"]))]
    if result["ci95"] is not None:
        low, high = result["ci95"]
        rows += [
            ("95 % interval", f"{_number(low)} to {_number(high)} (of the mean, Student's t)"),
            ("deviation", _number(result["std"])),
        ]
    rows += [
        ("median", _number(result["median"])),
        ("range", f"{_number(min(result['returns']))} to {_number(max(result['returns']))}"),
        ("human-normalised", _human(result)),
        ("game length", _lengths(result)),
    ]
    if "env_steps" in result:
        trained = f"{result['env_steps']:,} environment steps"
        if result["train_steps"] is not None:
            trained += f", {result['train_steps']:,} train steps"
        rows += [("trained for", trained)]
    if "weights_sha256" in result:
        rows += [("weights", f"sha256 {result['weights_sha256'][:16]}...")]
    games = f"{result['games']} full game{'s' if result['games'] > 1 else ''}"
    lines = [
        f"{result['game']}: {games} by {player}, protocol {protocol['name']}, "
        f"seed {result['seed']}",
        f"  {_rules(protocol)}",
        "",
        *(f"  {name:<17} {value}" for name, value in rows),
        "",
        *_returns(result["returns"]),
    ]
    return "\n".join(lines)


def _rules(protocol: Mapping[str, Any]) -> str:
    noops = f"up to {protocol['noop_max']} no-ops" if protocol["noop_max"] else "no no-ops"
    sticky = protocol["sticky_action_probability"]
    return (
        f"epsilon {protocol['epsilon']:g}, {noops}, "
        f"{f'sticky actions {sticky:g}' if sticky else 'no sticky actions'}, "
        f"at most {protocol['max_episode_steps']:,} steps of {protocol['frame_skip']} frames, "
        "unclipped scores"
    )


def _human(result: Mapping[str, Any]) -> str:
    if result["human_normalised"] is None:
        return "no published human score"
    random_score, human_score = result["random_and_human_scores"]
    return (
        f"{result['human_normalised']:.1%} (0 % is a random player's {random_score:g}, "
        f"100 % a human's {human_score:g})"
    )


def _lengths(result: Mapping[str, Any]) -> str:
    lengths = result["lengths_env_steps"]
    text = f"{sum(lengths) / len(lengths):,.0f} environment steps on average"
    if result["games_cut_off"]:
        text += f"; {result['games_cut_off']} cut off at the limit"
    return text


def _returns(returns: list[float]) -> list[str]:
    texts = [f"{each:g}" for each in returns]
    width = max(map(len, texts))
    starts = range(0, len(texts), _RETURNS_IN_A_LINE)
    rows = [texts[start : start + _RETURNS_IN_A_LINE] for start in starts]
    return [
        f"  {'returns' if place == 0 else '':<17} {' '.join(text.rjust(width) for text in row)}"
        for place, row in enumerate(rows)
    ]


def _number(value: float) -> str:
    return f"{value:,.2f}"
