"""Draws curves with matplotlib: the learning curve, or panels of what goes on in training.

Runs are in colours that colour-blind readers can tell apart (Okabe and Ito, "Color Universal
Design", 2008); what they are compared with is grey and dashed. `comparison` gives the numbers.
"""

from __future__ import annotations

import io
import itertools
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# matplotlib refuses a backend that is not installed, such as the one a notebook hands to commands.
os.environ["MPLBACKEND"] = "agg"

import matplotlib.style
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from dqn_breakout.errors import UserError
from dqn_breakout.reporting.comparison import RETURN, SPEED
from dqn_breakout.runs.metrics import METRICS

PANELS = ("loss", "mean_q", "epsilon", SPEED)
SUFFIXES = (".png", ".svg", ".pdf")

_NOTES = {
    "training": "Lines: mean of the last 100 training games.",
    "training_mean": "Thin lines: single seeds.",
    "evaluation": "Points: evaluation mean with 95 % interval.",
    "published": "Bands: one standard deviation over seeds.",
}
_PANELS_NOTE = "Thin lines: as logged. Thick lines: moving average; epsilon is not averaged."

_STYLE = Path(__file__).with_suffix(".mplstyle")
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_GREYS = ("#3A3A3A", "#7A7A7A", "#5A5A5A", "#9A9A9A")
_DASHES = ((0, (5, 2)), (0, (5, 1.5, 1, 1.5)), (0, (2.5, 1.5)), (0, (8, 2)))
_MARKERS = "osD^v"


def draw(
    curves: pd.DataFrame, metrics: Sequence[str], title: str, frames: str, last: int | None
) -> Figure:
    """Draws curves over environment steps, in a plot for each of `metrics`: `RETURN`, or `PANELS`.

    The axis ends after `last` environment steps, or else where the runs end: published curves often
    go on long after. `frames` says how many ALE frames such a step is.

    Raises:
        UserError: There is nothing of a run to draw, or more than can be told apart.
    """
    of_runs = curves[curves["run"].notna()]
    if of_runs.empty:
        raise UserError("There is nothing to draw: the runs have logged no value of it yet.")
    labels = of_runs["label"].unique()
    if len(labels) > len(_COLOURS):
        raise UserError(f"{len(labels)} labels are too many to tell apart; draw {len(_COLOURS)}.")
    colours = dict(zip(labels, _COLOURS, strict=False))
    end = 1.02 * max(last or of_runs["env_steps"].max(), 1)
    rows, columns = (1, 1) if len(metrics) == 1 else (2, 2)
    with matplotlib.style.context(_STYLE):
        figure = Figure((8.0, 4.1 if rows == 1 else 6.0))
        plots = figure.subplots(rows, columns, sharex=True, squeeze=False)
        for axes, metric in zip(plots.flat, metrics, strict=True):
            shown = curves[curves["metric"] == metric]
            _draw_training(axes, shown, colours, smooth=metric not in (RETURN, "epsilon"))
            _draw_evaluations(axes, shown[shown["kind"] == "evaluation"], colours)
            _draw_others(axes, shown)
            _set_value_axis(axes, shown.loc[shown["env_steps"] <= end, ["value", "low", "high"]])
            axes.set_ylabel(METRICS[metric].label)
        plots[0, 0].set(xlim=(0, end), title=title)
        plots[0, 0].xaxis.set_major_formatter(EngFormatter(sep=""))
        figure.supxlabel(f"{METRICS['env_steps'].label}{frames}", fontsize=11)
        kinds = curves["kind"].unique()
        notes = " ".join(text for kind, text in _NOTES.items() if kind in kinds)
        _explain(figure, notes if rows == 1 else _PANELS_NOTE)
    return figure


def encoded(figure: Figure, suffix: str) -> bytes:
    """A figure as the content of a file whose suffix is one of `SUFFIXES`."""
    content = io.BytesIO()
    with matplotlib.style.context(_STYLE):
        figure.savefig(content, format=suffix[1:])
    return content.getvalue()


def _draw_training(axes: Axes, shown: pd.DataFrame, colours: dict[str, str], smooth: bool) -> None:
    """Thin lines for runs, thick ones (averaged if `smooth`) for a label's mean or its only run."""
    for label, colour in colours.items():
        own = shown[shown["label"] == label]
        runs = [points for _, points in own[own["kind"] == "training"].groupby("run", sort=False)]
        mean = own[own["kind"] == "training_mean"]
        seeds = f" ({'' if mean.empty else 'mean of '}{len(runs)} seeds)" if len(runs) > 1 else ""
        for points in runs:
            look: Any = {"color": colour, "linewidth": 0.8, "alpha": 0.3 if smooth else 0.5}
            axes.plot(points["env_steps"], points["value"], **look)
        for points in runs if mean.empty else [mean]:
            values = points["value"]
            window = 2 * (len(values) // 80) + 1 if smooth else 1  # A fortieth of the line.
            drawn = values.rolling(window, center=True, min_periods=1).mean().where(values.notna())
            look = {"color": colour, "linewidth": 2.0, "marker": "." if len(values) == 1 else None}
            axes.plot(points["env_steps"], drawn, label=label + seeds, zorder=3, **look)


def _draw_evaluations(axes: Axes, shown: pd.DataFrame, colours: dict[str, str]) -> None:
    """Points with bars; a colour for each label, a shape for each protocol."""
    shapes = dict(zip(shown["protocol"].unique(), itertools.cycle(_MARKERS), strict=False))
    for (label, protocol), points in shown.groupby(["label", "protocol"], sort=False):
        value, games = points["value"], points["samples"]
        bars = [value - points["low"], points["high"] - value]
        span = " to ".join(map(str, sorted({games.min(), games.max()})))
        text = f"{label}, evaluated ({protocol} protocol, {span} games)"
        look: Any = {"fmt": shapes[protocol], "color": colours[label], "markeredgecolor": "white"}
        axes.errorbar(points["env_steps"], value, bars, label=text, zorder=4, **look)


def _draw_others(axes: Axes, shown: pd.DataFrame) -> None:
    """Published curves with their bands, and the random player."""
    published = shown[shown["kind"] == "published"].groupby("label", sort=False)
    looks = itertools.cycle(zip(_GREYS, _DASHES, strict=True))
    for (label, points), (grey, dashes) in zip(published, looks, strict=False):
        env_steps, marker = points["env_steps"], "." if len(points) < 13 else None
        look: Any = {"color": grey, "linestyle": dashes, "marker": marker, "label": label}
        axes.plot(env_steps, points["value"], zorder=2, **look)
        look = {"color": grey, "alpha": 0.15, "linewidth": 0}
        axes.fill_between(env_steps, points["low"], points["high"], **look)
    for score in shown.loc[shown["kind"] == "random_player", "value"]:
        axes.axhline(score, color=_GREYS[1], linestyle=":", label=f"Random player ({score:.4g})")


def _set_value_axis(axes: Axes, seen: pd.DataFrame) -> None:
    """Ends the axis at what is to be seen, with 0 as its foot where nothing is below."""
    low, high = seen.min(axis=None), seen.max(axis=None)
    if pd.notna(low):
        margin = 0.06 * (high - low) or 0.5
        axes.set_ylim(0 if low >= 0 else low - margin, high + margin)


def _explain(figure: Figure, note: str) -> None:
    """Puts a legend below the figure, with a note above its entries."""
    entries: dict[str, Any] = {}
    for axes in figure.axes:
        handles, texts = axes.get_legend_handles_labels()
        entries |= dict(zip((textwrap.fill(text, 95) for text in texts), handles, strict=True))
    place: Any = {"loc": "upper left", "bbox_to_anchor": (0, 0), "alignment": "left"}
    figure.legend(entries.values(), entries, title=textwrap.fill(note, 115), **place)
