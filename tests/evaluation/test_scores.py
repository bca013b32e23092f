from __future__ import annotations

import math

import pytest

from dqn_breakout.environments import roms
from dqn_breakout.evaluation import scores


def test_summary_by_hand():
    summary = scores.summarise([1, 2, 3, 10])
    assert summary.mean == 4
    assert summary.median == 2.5
    # Squares of the deviations: 9 + 4 + 1 + 36 = 50, over 3.
    assert summary.std == pytest.approx(math.sqrt(50 / 3))
    assert summary.ci95 is not None
    # t(0.975, 3) = 3.182446.
    reach = 3.182446 * math.sqrt(50 / 3) / 2
    assert summary.ci95 == pytest.approx((4 - reach, 4 + reach), rel=1e-6)


def test_equal_scores_leave_no_doubt():
    summary = scores.summarise([21.0] * 5)
    assert (summary.mean, summary.median, summary.std, summary.ci95) == (21, 21, 0, (21, 21))


def test_one_game_has_no_spread():
    summary = scores.summarise([7])
    assert (summary.mean, summary.median) == (7, 7)
    assert summary.std is None
    assert summary.ci95 is None


def test_no_games_are_refused():
    with pytest.raises(ValueError, match="no scores"):
        scores.summarise([])


# From the t tables of statistics books.
@pytest.mark.parametrize(
    ("degrees_of_freedom", "quantile"),
    [
        (1, 12.706205),
        (2, 4.302653),
        (3, 3.182446),
        (4, 2.776445),
        (5, 2.570582),
        (9, 2.262157),
        (29, 2.045230),
        (30, 2.042272),
        (99, 1.984217),
        (1000, 1.962339),
    ],
)
def test_students_t(degrees_of_freedom: int, quantile: float):
    assert scores.student_t_quantile_975(degrees_of_freedom) == pytest.approx(quantile, abs=1e-6)


def test_human_normalised_by_hand():
    assert scores.human_normalised("Breakout", 1.7) == 0
    assert scores.human_normalised("Breakout", 30.5) == 1
    assert scores.human_normalised("Breakout", 16.1) == pytest.approx(0.5)
    # (18.9 + 20.7) / (14.6 + 20.7)
    assert scores.human_normalised("Pong", 18.9) == pytest.approx(39.6 / 35.3)
    assert scores.human_normalised("SpaceInvaders", 148) == 0
    assert scores.human_normalised("Tetris", 100) is None


def test_the_table_is_the_57_games_by_gymnasiums_names():
    assert len(scores._RANDOM_AND_HUMAN) == 57
    for game, (random_score, human_score) in scores._RANDOM_AND_HUMAN.items():
        roms.rom_id(game)
        assert random_score < human_score, game
