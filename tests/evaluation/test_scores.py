from __future__ import annotations

import math

import pytest

from dqn_breakout.evaluation import scores


def test_summary_by_hand():
    summary = scores.summarise([1, 2, 3, 10])
    # Squares of the deviations: 9 + 4 + 1 + 36 = 50, over 3. From a table of t: t(0.975, 3).
    reach = 3.182446 * math.sqrt(50 / 3) / 2
    assert (summary["mean"], summary["median"]) == (4, 2.5)
    assert summary["std"] == pytest.approx(math.sqrt(50 / 3))
    assert summary["ci95"] == pytest.approx([4 - reach, 4 + reach], rel=1e-6)


@pytest.mark.parametrize(("given", "std", "ci95"), [([21.0] * 5, 0, [21, 21]), ([7], None, None)])
def test_equal_scores_leave_no_doubt_and_one_has_no_spread(given, std, ci95):
    assert scores.summarise(given) == {
        "mean": given[0],
        "median": given[0],
        "std": std,
        "ci95": ci95,
    }


@pytest.mark.parametrize(("score", "normalised"), [(1.7, 0), (30.5, 1), (16.1, 0.5), (44.9, 1.5)])
def test_human_normalised_by_hand(score: float, normalised: float):
    assert scores.human_normalised(score, (1.7, 30.5)) == pytest.approx(normalised)
