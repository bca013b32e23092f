"""An evaluation's result as people read it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

_RETURNS_IN_A_LINE = 15
_LABEL_WIDTH = 18


def as_text(result: Mapping[str, Any]) -> str:
    """The result of an evaluation as lines of text.

    Args:
        result: What `evaluate.evaluate_agent` returned; with `env_steps` and `train_steps` where a
            checkpoint was played.
    """
    player = "a random player" if result["player"] == "random" else "a trained network"
    games = f"{result['games']} full game{'s' if result['games'] > 1 else ''}"
    name, seed = result["protocol"]["name"], result["seed"]
    rows = [*_facts(result), ("", ""), *_returns(result["returns"])]
    return "\n".join(
        [
            f"{result['game']}: {games} by {player}, protocol {name}, seed {seed}",
            f"  {_rules(result['protocol'])}",
            "",
            *(f"  {label:{_LABEL_WIDTH}}{value}".rstrip() for label, value in rows),
        ]
    )


def _rules(protocol: Mapping[str, Any]) -> str:
    words = [f"epsilon {protocol['epsilon']:g}"]
    if "noop_max" in protocol:
        noops = protocol["noop_max"]
        words.append(f"up to {noops} no-ops" if noops else "no no-ops")
    if "sticky_action_probability" in protocol:
        sticky = protocol["sticky_action_probability"]
        words.append(f"sticky actions {sticky:g}" if sticky else "no sticky actions")
    limit = f"at most {protocol['max_episode_steps']:,} steps"
    if "frame_skip" in protocol:
        limit += f" of {protocol['frame_skip']} frames"
    return ", ".join([*words, limit, "unclipped scores"])


def _facts(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Label and value of each row, but for the scores."""
    returns, lengths = result["returns"], result["lengths_env_steps"]
    interval, deviation, human = "", "", "no published human score"
    if result["ci95"] is not None:
        low, high = result["ci95"]
        interval = f"{low:,.2f} to {high:,.2f} (of the mean, Student's t)"
        deviation = f"{result['std']:,.2f}"
    if result["human_normalised"] is not None:
        random_score, human_score = result["random_and_human_scores"]
        human = (
            f"{result['human_normalised']:.1%} (0 % is a random player's {random_score:g}, "
            f"100 % a human's {human_score:g})"
        )
    length = f"{sum(lengths) / len(lengths):,.0f} environment steps on average"
    if result["games_cut_off"]:
        length += f"; {result['games_cut_off']} cut off at the limit"
    trained = f"{result['env_steps']:,} environment steps" if "env_steps" in result else ""
    if result.get("train_steps") is not None:
        trained += f", {result['train_steps']:,} train steps"
    weights = f"sha256 {result['weights_sha256'][:16]}..." if "weights_sha256" in result else ""
    facts = [
        ("mean", f"{result['mean']:,.2f}"),
        ("95 % interval", interval),
        ("deviation", deviation),
        ("median", f"{result['median']:,.2f}"),
        ("range", f"{min(returns):,.2f} to {max(returns):,.2f}"),
        ("human-normalised", human),
        ("game length", length),
        ("trained for", trained),
        ("weights", weights),
    ]
    return [(label, value) for label, value in facts if value]


def _returns(returns: list[float]) -> list[tuple[str, str]]:
    """All scores, in columns."""
    texts = [f"{each:g}" for each in returns]
    cells = [text.rjust(max(map(len, texts))) for text in texts]
    starts = range(0, len(cells), _RETURNS_IN_A_LINE)
    lines = [" ".join(cells[start : start + _RETURNS_IN_A_LINE]) for start in starts]
    return list(itertools.zip_longest(["returns"], lines, fillvalue=""))
