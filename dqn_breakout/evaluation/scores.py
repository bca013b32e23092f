"""Pure arithmetic on scores: mean, spread, confidence, and the comparison with a human."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any


def summarise(scores: Sequence[float]) -> dict[str, Any]:
    """Mean, median, spread and the mean's confidence interval of one score or more.

    The interval is Student's (1908, "The probable error of a mean"): mean +- t(0.975, n - 1) *
    std / sqrt(n). It takes the mean of n games for normally distributed: fair from some 30 games
    on, too narrow for a few games of very unequal scores.

    Returns:
        `mean`; `median`; `std`, the sample standard deviation (n - 1), and `ci95`, both ends of the
        95 % confidence interval: these two are None for a single score.
    """
    mean, median = statistics.fmean(scores), float(statistics.median(scores))
    number = len(scores)
    if number == 1:
        return {"mean": mean, "median": median, "std": None, "ci95": None}
    from scipy import stats  # Not above: it takes a second to import.

    std = statistics.stdev(scores)
    reach = float(stats.t.ppf(0.975, number - 1)) * std / math.sqrt(number)
    return {"mean": mean, "median": median, "std": std, "ci95": [mean - reach, mean + reach]}


def human_normalised(score: float, random_and_human: tuple[float, float]) -> float:
    """The score on a scale where a random player has 0 and a human 1 (Mnih et al. 2015, Figure 3).

    Args:
        score: Return of full games, unclipped.
        random_and_human: What the two score.
    """
    random_score, human_score = random_and_human
    return (score - random_score) / (human_score - random_score)
