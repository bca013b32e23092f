from __future__ import annotations

from dqn_breakout.environments import atari_games, reference_scores


def test_the_table_is_the_57_games_by_gymnasiums_names():
    assert len(reference_scores._RANDOM_AND_HUMAN) == 57
    for game, (random_score, human_score) in reference_scores._RANDOM_AND_HUMAN.items():
        atari_games.rom_id(game)
        assert random_score < human_score, game


def test_a_game_without_published_scores_has_none():
    assert reference_scores.random_and_human("Breakout") == (1.7, 30.5)
    assert reference_scores.random_and_human("Tetris") is None
