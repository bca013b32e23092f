"""Pure arithmetic on scores: mean, spread, confidence, and the comparison with a human."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence

HUMAN_SCORES_SOURCE = (
    "Wang et al. 2016, 'Dueling network architectures for deep reinforcement learning', Table 2 "
    "(full games from up to 30 no-ops, 30 minutes at most)"
)

# (random player, professional human tester) by game, from HUMAN_SCORES_SOURCE. For Breakout, Mnih
# et al. 2015 (Extended Data Table 2) has the same random player and 31.8 for another human session.
_RANDOM_AND_HUMAN: dict[str, tuple[float, float]] = {
    "Alien": (227.8, 7127.7),
    "Amidar": (5.8, 1719.5),
    "Assault": (222.4, 742.0),
    "Asterix": (210.0, 8503.3),
    "Asteroids": (719.1, 47388.7),
    "Atlantis": (12850.0, 29028.1),
    "BankHeist": (14.2, 753.1),
    "BattleZone": (2360.0, 37187.5),
    "BeamRider": (363.9, 16926.5),
    "Berzerk": (123.7, 2630.4),
    "Bowling": (23.1, 160.7),
    "Boxing": (0.1, 12.1),
    "Breakout": (1.7, 30.5),
    "Centipede": (2090.9, 12017.0),
    "ChopperCommand": (811.0, 7387.8),
    "CrazyClimber": (10780.5, 35829.4),
    "Defender": (2874.5, 18688.9),
    "DemonAttack": (152.1, 1971.0),
    "DoubleDunk": (-18.6, -16.4),
    "Enduro": (0.0, 860.5),
    "FishingDerby": (-91.7, -38.7),
    "Freeway": (0.0, 29.6),
    "Frostbite": (65.2, 4334.7),
    "Gopher": (257.6, 2412.5),
    "Gravitar": (173.0, 3351.4),
    "Hero": (1027.0, 30826.4),
    "IceHockey": (-11.2, 0.9),
    "Jamesbond": (29.0, 302.8),
    "Kangaroo": (52.0, 3035.0),
    "Krull": (1598.0, 2665.5),
    "KungFuMaster": (258.5, 22736.3),
    "MontezumaRevenge": (0.0, 4753.3),
    "MsPacman": (307.3, 6951.6),
    "NameThisGame": (2292.3, 8049.0),
    "Phoenix": (761.4, 7242.6),
    "Pitfall": (-229.4, 6463.7),
    "Pong": (-20.7, 14.6),
    "PrivateEye": (24.9, 69571.3),
    "Qbert": (163.9, 13455.0),
    "Riverraid": (1338.5, 17118.0),
    "RoadRunner": (11.5, 7845.0),
    "Robotank": (2.2, 11.9),
    "Seaquest": (68.4, 42054.7),
    "Skiing": (-17098.1, -4336.9),
    "Solaris": (1236.3, 12326.7),
    "SpaceInvaders": (148.0, 1668.7),
    "StarGunner": (664.0, 10250.0),
    "Surround": (-10.0, 6.5),
    "Tennis": (-23.8, -8.3),
    "TimePilot": (3568.0, 5229.2),
    "Tutankham": (11.4, 167.6),
    "UpNDown": (533.4, 11693.2),
    "Venture": (0.0, 1187.5),
    "VideoPinball": (16256.9, 17667.9),
    "WizardOfWor": (563.5, 4756.5),
    "YarsRevenge": (3092.9, 54576.9),
    "Zaxxon": (32.5, 9173.3),
}


@dataclasses.dataclass(frozen=True)
class ScoreSummary:
    """What some scores say together.

    Attributes:
        mean: Their arithmetic mean.
        median: Their median.
        std: Sample standard deviation (n - 1); None for a single score.
        ci95: 95 % confidence interval of the mean; None for a single score.
    """

    mean: float
    median: float
    std: float | None
    ci95: tuple[float, float] | None


def summarise(scores: Sequence[float]) -> ScoreSummary:
    """Mean, median, spread and the mean's confidence interval.

    The interval is Student's (1908, "The probable error of a mean"): mean +- t(0.975, n - 1) *
    std / sqrt(n). It takes the mean of n games for normally distributed: fair from some 30 games
    on, too narrow for a few games of very unequal scores.

    Args:
        scores: One or more.

    Raises:
        ValueError: There are none.
    """
    if not scores:
        raise ValueError("no scores to summarise")
    mean = statistics.fmean(scores)
    median = float(statistics.median(scores))
    if len(scores) == 1:
        return ScoreSummary(mean, median, None, None)
    std = statistics.stdev(scores)
    reach = student_t_quantile_975(len(scores) - 1) * std / math.sqrt(len(scores))
    return ScoreSummary(mean, median, std, (mean - reach, mean + reach))


def student_t_quantile_975(degrees_of_freedom: int) -> float:
    """The t that a Student-distributed number exceeds with probability 2.5 %.

    Inverts the closed form for whole degrees of freedom by bisection (Abramowitz and Stegun 1964,
    26.7.3 and 26.7.4).

    Args:
        degrees_of_freedom: 1 or more.
    """
    low, high = 0.0, math.pi / 2
    for _ in range(100):
        middle = (low + high) / 2
        if _student_t_within(middle, degrees_of_freedom) < 0.95:
            low = middle
        else:
            high = middle
    return math.tan(low) * math.sqrt(degrees_of_freedom)


def _student_t_within(theta: float, degrees_of_freedom: int) -> float:
    """P(|T| < t) for t = tan(theta) * sqrt(degrees of freedom)."""
    odd = degrees_of_freedom % 2
    cosine = math.cos(theta)
    term = cosine if odd else 1.0
    total = term if degrees_of_freedom > 1 else 0.0
    for k in range(2 + odd, degrees_of_freedom - 1, 2):
        term *= (k - 1) / k * cosine * cosine
        total += term
    if odd:
        return 2 / math.pi * (theta + math.sin(theta) * total)
    return math.sin(theta) * total


def random_and_human(game: str) -> tuple[float, float] | None:
    """Published scores of a random player and of a human; None where there are none.

    Args:
        game: The game's name as in gymnasium's id `ALE/<game>-v5`.
    """
    return _RANDOM_AND_HUMAN.get(game)


def human_normalised(game: str, score: float) -> float | None:
    """The score on a scale where a random player has 0 and a human 1 (Mnih et al. 2015, Figure 3).

    Args:
        game: The game's name as in gymnasium's id `ALE/<game>-v5`.
        score: Return of full games, unclipped.

    Returns:
        (score - random) / (human - random); None for games without published scores.
    """
    known = random_and_human(game)
    if known is None:
        return None
    random_score, human_score = known
    return (score - random_score) / (human_score - random_score)
