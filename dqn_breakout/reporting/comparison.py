"""What a figure compares, as numbers: curves of runs under their labels, and means over seeds.

Figures draw these curves and data files hold them, so that a picture and its data cannot differ.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence

import numpy as np

from dqn_breakout.errors import UserError
from dqn_breakout.reporting.published_curves import PublishedCurve
from dqn_breakout.reporting.run_records import RunRecord

RETURN = "average_return"
"""The metric of a learning curve: mean return of full games, unclipped."""

SPEED = "env_steps_per_second"
"""Counts from the first train step on: the random fill before it is many times faster."""


class Kind(enum.StrEnum):
    """Where a curve comes from."""

    TRAINING = "training"
    TRAINING_MEAN = "training_mean"
    EVALUATION = "evaluation"
    PUBLISHED = "published"
    RANDOM_PLAYER = "random_player"


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """Values of one metric over environment steps.

    Attributes:
        kind: Where it comes from.
        label: What the reader knows it by; runs that share a label are seeds of one thing.
        metric: Which of `run_records.METRICS`.
        env_steps: int64 `(N,)`, rising; at 0 alone for a random player.
        values: float64 `(N,)`; NaN where there is a gap.
        low: Lower end of the uncertainty, float64 `(N,)`, NaN where there is none: of the 95 %
            confidence interval (evaluation), or one standard deviation over seeds (published).
        high: Upper end, likewise.
        samples: What each value is the mean of, int64 `(N,)`: games (evaluation) or seeds
            (training mean, published); 0 where that is not said.
        run: Name of the run directory, "" if it is of no single run.
        seed: The run's seed, None if unknown or of no single run.
        protocol: Name of the evaluation protocol, "" if this is no evaluation.
    """

    kind: Kind
    label: str
    metric: str
    env_steps: np.ndarray
    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    samples: np.ndarray
    run: str = ""
    seed: int | None = None
    protocol: str = ""


def training_curves(runs: Sequence[RunRecord], labels: Sequence[str], metric: str) -> list[Curve]:
    """The runs' log lines of one metric, and for each label of several runs their mean.

    Args:
        runs: The runs.
        labels: The label of each run.
        metric: One of `run_records.METRICS`.

    Returns:
        Label by label, in the order in which they first appear: a `TRAINING` curve per run that
        has a value, then, for two such runs or more, their `TRAINING_MEAN` over the environment
        steps that they all cover, if there are such.
    """
    curves = []
    for label in dict.fromkeys(labels):
        members = [
            curve
            for run, its_label in zip(runs, labels, strict=True)
            if its_label == label and (curve := _training_curve(run, label, metric)) is not None
        ]
        curves += members
        if len(members) > 1 and (mean := _mean(members)) is not None:
            curves.append(mean)
    return curves


def evaluation_curves(runs: Sequence[RunRecord], labels: Sequence[str]) -> list[Curve]:
    """The runs' evaluations: one curve per run and protocol, label by label."""
    curves = []
    for label in dict.fromkeys(labels):
        for run, its_label in zip(runs, labels, strict=True):
            if its_label != label:
                continue
            for protocol in dict.fromkeys(each.protocol for each in run.evaluations):
                found = [each for each in run.evaluations if each.protocol == protocol]
                ends = [each.ci95 or (np.nan, np.nan) for each in found]
                curves.append(
                    Curve(
                        kind=Kind.EVALUATION,
                        label=label,
                        metric=RETURN,
                        env_steps=np.array([each.env_steps for each in found], np.int64),
                        values=np.array([each.mean for each in found], np.float64),
                        low=np.array([low for low, _ in ends], np.float64),
                        high=np.array([high for _, high in ends], np.float64),
                        samples=np.array([each.games for each in found], np.int64),
                        run=run.name,
                        seed=run.seed,
                        protocol=protocol,
                    )
                )
    return curves


def published_curve(curve: PublishedCurve, label: str) -> Curve:
    """A published curve with its label, which should say its protocol."""
    return Curve(
        kind=Kind.PUBLISHED,
        label=label,
        metric=RETURN,
        env_steps=curve.env_steps,
        values=curve.mean_return,
        low=curve.mean_return - curve.std_over_seeds,
        high=curve.mean_return + curve.std_over_seeds,
        samples=curve.seeds,
    )


def random_player(score: float) -> Curve:
    """The mean return of a player that chooses actions at random."""
    return Curve(
        kind=Kind.RANDOM_PLAYER,
        label="Random player",
        metric=RETURN,
        env_steps=np.zeros(1, np.int64),
        values=np.array([score], np.float64),
        low=np.full(1, np.nan),
        high=np.full(1, np.nan),
        samples=np.zeros(1, np.int64),
    )


def game_of(runs: Sequence[RunRecord]) -> str | None:
    """The game that the runs play; None if no run says.

    Raises:
        UserError: They play different games, whose returns do not compare.
    """
    games = list(dict.fromkeys(run.game for run in runs if run.game))
    if len(games) > 1:
        raise UserError(
            f"The runs play different games, whose returns do not compare: {', '.join(games)}. "
            "Draw one figure for each game."
        )
    return games[0] if games else None


def frame_skip_of(runs: Sequence[RunRecord]) -> int | None:
    """ALE frames per environment step; None if the runs differ in it.

    It is 4 for a run without config.gin, as in the published curves.
    """
    frame_skips = {run.frame_skip or 4 for run in runs}
    return frame_skips.pop() if len(frame_skips) == 1 else None


def _training_curve(run: RunRecord, label: str, metric: str) -> Curve | None:
    values = run.metrics[metric]
    if metric == SPEED:
        values = np.where(run.metrics["train_steps"] > 0, values, np.nan)
    there = np.flatnonzero(np.isfinite(values))
    if not there.size:
        return None
    span = slice(there[0], there[-1] + 1)  # Gaps inside stay gaps.
    size = span.stop - span.start
    return Curve(
        kind=Kind.TRAINING,
        label=label,
        metric=metric,
        env_steps=run.env_steps[span],
        values=values[span],
        low=np.full(size, np.nan),
        high=np.full(size, np.nan),
        samples=np.zeros(size, np.int64),
        run=run.name,
        seed=run.seed,
    )


def _mean(curves: Sequence[Curve]) -> Curve | None:
    """The mean of curves wherever all have a value, between their points by straight lines."""
    first = max(curve.env_steps[0] for curve in curves)
    last = min(curve.env_steps[-1] for curve in curves)
    every = np.unique(np.concatenate([curve.env_steps for curve in curves]))
    env_steps = every[(every >= first) & (every <= last)]
    if not env_steps.size:
        return None
    each = [np.interp(env_steps, curve.env_steps, curve.values) for curve in curves]
    return Curve(
        kind=Kind.TRAINING_MEAN,
        label=curves[0].label,
        metric=curves[0].metric,
        env_steps=env_steps,
        values=np.mean(each, axis=0),
        low=np.full(env_steps.size, np.nan),
        high=np.full(env_steps.size, np.nan),
        samples=np.full(env_steps.size, len(curves), np.int64),
    )
