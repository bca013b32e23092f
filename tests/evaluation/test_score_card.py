from __future__ import annotations

from typing import Any

from dqn_breakout.evaluation.score_card import as_text

RESULT: dict[str, Any] = {
    "game": "Breakout",
    "player": "network",
    "protocol": {
        "name": "nature",
        "epsilon": 0.05,
        "noop_max": 30,
        "sticky_action_probability": 0.0,
        "max_episode_steps": 4500,
        "frame_skip": 4,
    },
    "games": 3,
    "seed": 7,
    "mean": 30.5,
    "median": 30.0,
    "std": 2.5,
    "ci95": [24.29, 36.71],
    "human_normalised": 1.0,
    "random_and_human_scores": [1.7, 30.5],
    "returns": [28.0, 30.0, 33.5],
    "lengths_env_steps": [1000, 1100, 4500],
    "games_cut_off": 1,
    "env_steps": 1_000_000,
    "train_steps": 245_000,
    "weights_sha256": "ab" * 32,
}


def test_a_networks_card():
    assert as_text(RESULT).splitlines() == [
        "Breakout: 3 full games by a trained network, protocol nature, seed 7",
        "  epsilon 0.05, up to 30 no-ops, no sticky actions, at most 4,500 steps of 4 frames, "
        "unclipped scores",
        "",
        "  mean              30.50",
        "  95 % interval     24.29 to 36.71 (of the mean, Student's t)",
        "  deviation         2.50",
        "  median            30.00",
        "  range             28.00 to 33.50",
        "  human-normalised  100.0% (0 % is a random player's 1.7, 100 % a human's 30.5)",
        "  game length       2,200 environment steps on average; 1 cut off at the limit",
        "  trained for       1,000,000 environment steps, 245,000 train steps",
        "  weights           sha256 abababababababab...",
        "",
        "  returns             28   30 33.5",
    ]


def test_one_random_sticky_game_without_human_scores():
    result = {
        **RESULT,
        "player": "random",
        "protocol": {**RESULT["protocol"], "noop_max": 0, "sticky_action_probability": 0.25},
        "games": 1,
        "std": None,
        "ci95": None,
        "human_normalised": None,
        "random_and_human_scores": None,
        "returns": [2.0],
        "lengths_env_steps": [300],
        "games_cut_off": 0,
    }
    for key in ("env_steps", "train_steps", "weights_sha256"):
        del result[key]
    text = as_text(result)
    assert "1 full game by a random player" in text
    assert "no no-ops, sticky actions 0.25" in text
    assert "no published human score" in text
    for absent in ("interval", "deviation", "trained for", "weights", "cut off"):
        assert absent not in text


def test_many_returns_stand_in_columns():
    result = {**RESULT, "games": 20, "returns": [1.0] * 19 + [100.0]}
    first, second = as_text(result).splitlines()[-2:]
    assert len(first.split()) == 1 + 15
    assert second.split() == ["1"] * 4 + ["100"]
    assert first.index("  1") == second.index("  1")
