"""What a figure compares, as numbers: curves of runs under their labels, and means over seeds.

All curves stand in one data frame, a row for each point. Figures draw it and data files hold it, so
that a picture and its data cannot differ. Its columns, empty where there is none:

    kind       training, training_mean, evaluation, published or random_player
    label      runs that share a label are seeds of one thing
    run, seed  the run's name and seed, where a curve is of a single run
    metric     a column of the runs' logs
    protocol   of an evaluation
    env_steps, value
    low, high  95 % confidence interval (evaluation), one standard deviation over seeds (published)
    samples    what the value is the mean of: games (evaluation) or seeds
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from dqn_breakout.reporting.run_records import RunRecord, thinned

RETURN = "average_return"
SPEED = "env_steps_per_second"

_OF_CURVE = ["kind", "label", "run", "seed", "metric", "protocol"]
_OF_POINT = ["env_steps", "value", "low", "high", "samples"]
_MEASURED = ["value", "low", "high"]

SUFFIXES = (".csv", ".json")
MOST_POINTS = 1000
"""A longer curve is thinned to so many points in a data file."""


def training(
    runs: Mapping[str, RunRecord], labels: Sequence[str], metric: str
) -> list[pd.DataFrame]:
    """The runs' log lines of one metric, and for each label of several runs their mean.

    A mean covers the environment steps that all of its runs cover, between their points by straight
    lines. Speed counts from the first train step on: the random fill before it is much faster.
    """
    curves = []
    for label in dict.fromkeys(labels):
        members = []
        for (name, run), its_label in zip(runs.items(), labels, strict=True):
            log = run.log[run.log["train_steps"] > 0] if metric == SPEED else run.log
            values = log.set_index("env_steps")[metric]
            values = values.loc[values.first_valid_index() : values.last_valid_index()]
            if its_label == label and values.notna().any():
                members.append(values)
                curves.append(_curve("training", label, values, metric, run=name, seed=run.seed))
        if len(members) > 1:
            each = pd.concat(members, axis="columns", sort=True)
            mean = each.interpolate("index", limit_area="inside").dropna().mean(axis="columns")
            curves.append(_curve("training_mean", label, mean, metric, samples=len(members)))
    return curves


def evaluations(runs: Mapping[str, RunRecord], labels: Sequence[str]) -> list[pd.DataFrame]:
    """The runs' evaluations."""
    curves = []
    for (name, run), label in zip(runs.items(), labels, strict=True):
        points = run.evaluations.rename(columns={"mean": "value", "games": "samples"})
        of_curve = {"kind": "evaluation", "label": label, "run": name, "seed": run.seed}
        curves.append(points.assign(**of_curve, metric=RETURN))
    return curves


def published(curve: pd.DataFrame, label: str) -> pd.DataFrame:
    """A published curve under a label, which should say its protocol."""
    curve = curve.set_index("env_steps").sort_index()
    mean, std = curve["mean_return"], curve["std_over_seeds"]
    more = {"low": mean - std, "high": mean + std, "samples": curve["seeds"]}
    return _curve("published", label, mean, RETURN, **more)


def random_player(score: float) -> pd.DataFrame:
    """The mean return of a player that chooses actions at random, as one point at 0."""
    return _curve("random_player", "Random player", pd.Series({0: score}), RETURN)


def joined(curves: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """One data frame of several."""
    columns = _OF_CURVE + _OF_POINT
    rows = pd.concat([pd.DataFrame(columns=columns), *curves], ignore_index=True)[columns]
    counts = {"seed": "Int64", "env_steps": "int64", "samples": "Int64"}
    return rows.astype(counts | dict.fromkeys(_MEASURED, "float64"))


def encoded(curves: pd.DataFrame, suffix: str) -> bytes:
    """Curves as the content of a data file, whose suffix is one of `SUFFIXES`.

    CSV has a row for each point; JSON an object for each curve, with lists of what differs from
    point to point, and null where CSV is empty.
    """
    groups = curves.groupby(_OF_CURVE, sort=False, dropna=False)
    each = [thinned(own, MOST_POINTS).copy() for _, own in groups]
    for own in each:
        own[_MEASURED] = own[_MEASURED].map(lambda value: float(f"{value:.6g}"))
    if suffix == ".csv":
        return joined(each).to_csv(index=False, lineterminator="\n").encode()
    each = [own.astype(object).where(own.notna(), None) for own in each]
    objects = [{**own[_OF_CURVE].iloc[0], **own[_OF_POINT].to_dict("list")} for own in each]
    return (json.dumps({"curves": objects}, allow_nan=False) + "\n").encode()


def _curve(kind: str, label: str, values: pd.Series, metric: str, **more: Any) -> pd.DataFrame:
    points = pd.DataFrame({"env_steps": values.index, "value": values}, index=values.index)
    return points.assign(kind=kind, label=label, metric=metric, **more)
