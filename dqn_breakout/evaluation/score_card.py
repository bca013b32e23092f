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
    rows = [*_facts(result).items(), ("", ""), *_returns(result["returns"])]
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


def _facts(result: Mapping[str, Any]) -> dict[str, str]:
    """What each row says by its label, but for the scores."""
    returns, lengths = result["returns"], result["lengths_env_steps"]
    facts = {"mean": f"{result['mean']:,.2f}"}
    if result["ci95"] is not None:
        low, high = result["ci95"]
        facts["95 % interval"] = f"{low:,.2f} to {high:,.2f} (of the mean, Student's t)"
        facts["deviation"] = f"{result['std']:,.2f}"
    facts["median"] = f"{result['median']:,.2f}"
    facts["range"] = f"{min(returns):,.2f} to {max(returns):,.2f}"
    facts["human-normalised"] = "no published human score"
    if result["human_normalised"] is not None:
        random_score, human_score = result["random_and_human_scores"]
        facts["human-normalised"] = (
            f"{result['human_normalised']:.1%} (0 % is a random player's {random_score:g}, "
            f"100 % a human's {human_score:g})"
        )
    facts["game length"] = f"{sum(lengths) / len(lengths):,.0f} environment steps on average"
    if result["games_cut_off"]:
        facts["game length"] += f"; {result['games_cut_off']} cut off at the limit"
    if "env_steps" in result:
        facts["trained for"] = f"{result['env_steps']:,} environment steps"
        if result["train_steps"] is not None:
            facts["trained for"] += f", {result['train_steps']:,} train steps"
    if "weights_sha256" in result:
        facts["weights"] = f"sha256 {result['weights_sha256'][:16]}..."
    return facts


def _returns(returns: list[float]) -> list[tuple[str, str]]:
    """All scores, in columns."""
    texts = [f"{each:g}" for each in returns]
    cells = [text.rjust(max(map(len, texts))) for text in texts]
    starts = range(0, len(cells), _RETURNS_IN_A_LINE)
    lines = [" ".join(cells[start : start + _RETURNS_IN_A_LINE]) for start in starts]
    return list(itertools.zip_longest(["returns"], lines, fillvalue=""))
