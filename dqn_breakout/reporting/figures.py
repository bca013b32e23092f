"""Draws curves with matplotlib: the learning curve, and panels of what goes on in training.

Runs are in colours that colour-blind readers can tell apart (Okabe and Ito, "Color Universal
Design", 2008); what they are compared with is grey and dashed. Nothing here reads runs:
`comparison` gives the numbers.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from dqn_breakout.errors import UserError
from dqn_breakout.reporting import comparison
from dqn_breakout.reporting.comparison import Curve, Kind
from dqn_breakout.runs.files import write_atomically

SUFFIXES: tuple[str, ...] = (".png", ".svg", ".pdf")

PANELS: dict[str, str] = {
    "loss": "Loss",
    "mean_q": "Mean Q value",
    "epsilon": "Epsilon",
    comparison.SPEED: "Environment steps per second in training",
}
"""The metrics that `panels` draws, each with the label of its axis."""

RETURN_LABEL = "Mean return of a full game, unclipped"

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_GREYS = ("#3A3A3A", "#7A7A7A", "#5A5A5A", "#9A9A9A")
_DASHES: tuple[Any, ...] = ((0, (5, 2)), (0, (5, 1.5, 1, 1.5)), (0, (2.5, 1.5)), (0, (8, 2)))
_Entries = list[tuple[Artist | tuple[Artist, ...], str]]

_MARKERS = ("o", "s", "D", "^", "v")
_RANDOM_COLOUR = "#7A7A7A"

_STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#5A5A5A",
    "axes.grid": True,
    "axes.labelsize": 11,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.14,
    "figure.dpi": 100,
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.8,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "savefig.dpi": 200,
    "svg.fonttype": "none",
    "svg.hashsalt": "dqn_breakout",
    "text.parse_math": False,  # A label with dollar signs is no formula.
    "xtick.color": "#3A3A3A",
    "ytick.color": "#3A3A3A",
}
_WIDTH_INCHES = 8.0
_NOTE_COLOUR = "#5A5A5A"
_LEGEND_LINE_INCHES = 0.21
_NOTE_LINE_INCHES = 0.17
_NOT_SMOOTHED = ("epsilon",)
_SMOOTHING_WINDOWS = 40


def learning_curve(
    curves: Sequence[Curve],
    title: str | None = None,
    max_env_steps: int | None = None,
    frame_skip: int | None = 4,
) -> Figure:
    """Draws returns over environment steps.

    Args:
        curves: Curves of the metric `comparison.RETURN`, of all kinds.
        title: What stands above; None for nothing.
        max_env_steps: Where the axis ends; None for where the runs end. Published curves often go
            on long after.
        frame_skip: ALE frames per environment step; None leaves them unsaid.

    Raises:
        UserError: There is nothing of a run to draw, or more than can be told apart.
    """
    of_runs = [
        each for each in curves if each.kind in (Kind.TRAINING, Kind.TRAINING_MEAN, Kind.EVALUATION)
    ]
    if not of_runs:
        raise UserError("There is nothing to draw: no full game has ended in these runs yet.")
    end = max_env_steps or int(max(each.env_steps[-1] for each in of_runs))
    colours = _colours(of_runs)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(layout="constrained")
        parts = figure.add_gridspec(2, 1)
        plot = figure.add_subfigure(parts[0])
        axes = plot.add_subplot()
        entries = _draw_training(axes, curves, colours)
        entries += _draw_evaluations(axes, curves, colours)
        entries += _draw_published(axes, curves, end)
        entries += _draw_random_player(axes, curves)
        axes.set_xlabel(_steps_label(frame_skip))
        axes.set_ylabel(RETURN_LABEL)
        _set_steps_axis(axes, end)
        _set_return_axis(axes, curves, end)
        if title:
            axes.set_title(title, pad=10)
        _explain(figure, parts, 4.1, entries, _note(curves))
    return figure


def panels(
    curves: Sequence[Curve],
    title: str | None = None,
    max_env_steps: int | None = None,
    frame_skip: int | None = 4,
) -> Figure:
    """Draws each of `PANELS` over environment steps.

    Args:
        curves: Training curves of those metrics.
        title: What stands above; None for nothing.
        max_env_steps: Where the axes end; None for where the runs end.
        frame_skip: ALE frames per environment step; None leaves them unsaid.

    Raises:
        UserError: There is nothing to draw, or more than can be told apart.
    """
    if not curves:
        raise UserError("There is nothing to draw: the runs logged none of the panels' values.")
    end = max_env_steps or int(max(each.env_steps[-1] for each in curves))
    colours = _colours(curves)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(layout="constrained")
        parts = figure.add_gridspec(2, 1)
        plot = figure.add_subfigure(parts[0])
        grid = plot.subplots(2, 2, sharex=True)
        entries: dict[str, Artist | tuple[Artist, ...]] = {}
        for axes, (metric, label) in zip(grid.flat, PANELS.items(), strict=True):
            shown = [each for each in curves if each.metric == metric]
            smoothed = metric not in _NOT_SMOOTHED
            for handle, text in _draw_training(axes, shown, colours, smoothed):
                entries.setdefault(text, handle)
            axes.set_title(label, fontsize=11, fontweight="normal")
            _set_steps_axis(axes, end)
            if not shown:
                axes.set_yticks([])
                axes.grid(visible=False)
                axes.text(
                    0.5, 0.5, "nothing logged yet", transform=axes.transAxes,
                    ha="center", va="center", color=_NOTE_COLOUR,
                )  # fmt: skip
            elif metric in ("epsilon", comparison.SPEED):
                axes.set_ylim(0, 1.1 * max(float(np.nanmax(each.values)) for each in shown) or 1.0)
        plot.supxlabel(_steps_label(frame_skip), fontsize=11)
        if title:
            plot.suptitle(title, x=0.02, ha="left", fontsize=13, fontweight="bold")
        note = "Thin lines: as logged. Thick lines: moving average; epsilon is not averaged."
        legend = [(handle, text) for text, handle in entries.items()]
        _explain(figure, parts, 5.2, legend, note)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Writes a figure to a file, the same bytes for the same figure.

    Args:
        figure: What to write.
        path: The file; its suffix, one of `SUFFIXES`, says the format.

    Raises:
        UserError: The suffix is another one, or the file cannot be written.
    """
    if path.suffix not in SUFFIXES:
        raise UserError(
            f"The figure {path} must end in {', '.join(SUFFIXES)}: its ending says the format."
        )
    dated = {".png": "Software", ".svg": "Date", ".pdf": "CreationDate"}[path.suffix]
    content = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(content, format=path.suffix[1:], metadata={dated: None})
    try:
        write_atomically(path, content.getvalue())
    except OSError as error:
        raise UserError(f"The figure {path} cannot be written: {error.strerror}.") from error


# --- Curves ---------------------------------------------------------------------------------------


def _colours(curves: Sequence[Curve]) -> dict[str, str]:
    labels = list(dict.fromkeys(each.label for each in curves))
    if len(labels) > len(_COLOURS):
        raise UserError(
            f"{len(labels)} labels are too many for one figure: {len(_COLOURS)} colours can be "
            "told apart. Draw fewer runs, or give seeds of one thing the same --label."
        )
    return dict(zip(labels, _COLOURS, strict=False))


def _draw_training(
    axes: Axes, curves: Sequence[Curve], colours: dict[str, str], smoothed: bool = False
) -> _Entries:
    """One line per run; for several seeds of a label thin ones, and a thick one for their mean.

    With `smoothed` the thick line is a moving average, and what it averages is thin.
    """
    entries: _Entries = []
    for label, colour in colours.items():
        members = [c for c in curves if c.kind is Kind.TRAINING and c.label == label]
        means = [c for c in curves if c.kind is Kind.TRAINING_MEAN and c.label == label]
        alone = len(members) == 1
        for curve in members:
            thick = alone and not smoothed
            axes.plot(
                curve.env_steps,
                curve.values,
                color=colour,
                linewidth=2.0 if thick else 0.8,
                alpha=1.0 if thick else 0.3 if smoothed else 0.5,
                marker="." if curve.env_steps.size == 1 else None,
                label=f"_{curve.run}",
                zorder=3,
            )
        for curve in members if alone and smoothed else means:
            axes.plot(
                curve.env_steps,
                _moving_average(curve.values) if smoothed else curve.values,
                color=colour,
                linewidth=2.0,
                label=label,
                zorder=4,
            )
        if members:
            text = label if alone else f"{label} ({len(members)} seeds)"
            text = f"{label} (mean of {len(members)} seeds)" if means else text
            entries.append((Line2D([], [], color=colour, linewidth=2.2), text))
    return entries


def _moving_average(values: np.ndarray) -> np.ndarray:
    """Averages over a centred window, shorter at both ends; gaps stay gaps."""
    reach = values.size // _SMOOTHING_WINDOWS // 2
    there = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(there, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(there)])
    index = np.arange(values.size)
    start = np.maximum(index - reach, 0)
    stop = np.minimum(index + reach + 1, values.size)
    averages = (sums[stop] - sums[start]) / np.maximum(counts[stop] - counts[start], 1)
    return np.where(there, averages, np.nan)


def _draw_evaluations(axes: Axes, curves: Sequence[Curve], colours: dict[str, str]) -> _Entries:
    """Points with bars; a shape for each protocol, an entry for each label and protocol."""
    shown = [each for each in curves if each.kind is Kind.EVALUATION]
    protocols = list(dict.fromkeys(each.protocol for each in shown))
    shapes = {name: _MARKERS[i % len(_MARKERS)] for i, name in enumerate(protocols)}
    look: dict[str, Any] = {"markersize": 6, "markeredgecolor": "white", "markeredgewidth": 0.8}
    entries: _Entries = []
    games: dict[tuple[str, str], list[int]] = {}
    for curve in shown:
        colour = colours[curve.label]
        bars = np.isfinite(curve.low)
        axes.vlines(
            curve.env_steps[bars],
            curve.low[bars],
            curve.high[bars],
            color=colour,
            linewidth=1.4,
            zorder=5,
        )
        axes.plot(
            curve.env_steps,
            curve.values,
            linestyle="none",
            marker=shapes[curve.protocol],
            color=colour,
            label=f"_{curve.run} {curve.protocol}",
            zorder=6,
            **look,
        )
        games.setdefault((curve.label, curve.protocol), []).extend(curve.samples.tolist())
    for (label, protocol), counts in games.items():
        marker = Line2D(
            [], [], color=colours[label], linestyle="none", marker=shapes[protocol], **look
        )
        bar = Line2D([], [], color=colours[label], linestyle="none", marker="|", markersize=12)
        played = _span(counts, "game")
        entries.append(((bar, marker), f"{label}, evaluated ({protocol} protocol, {played})"))
    return entries


def _draw_published(axes: Axes, curves: Sequence[Curve], end: int) -> _Entries:
    entries: _Entries = []
    shown = [each for each in curves if each.kind is Kind.PUBLISHED]
    if len(shown) > len(_GREYS):
        raise UserError(
            f"{len(shown)} published curves are too many for one figure: {len(_GREYS)} can be told "
            "apart. Pick some with --published_curve."
        )
    for curve, colour, dashes in zip(shown, _GREYS, _DASHES, strict=False):
        few = np.count_nonzero(curve.env_steps <= end) <= 12
        line = axes.plot(
            curve.env_steps,
            curve.values,
            color=colour,
            linewidth=1.5,
            linestyle=dashes,
            marker="." if few else None,
            label=curve.label,
            zorder=2,
        )[0]
        handle: Artist | tuple[Artist, ...] = line
        if np.isfinite(curve.low).any():
            axes.fill_between(
                curve.env_steps, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0
            )
            handle = (Patch(color=colour, alpha=0.15, linewidth=0), line)
        entries.append((handle, curve.label))
    return entries


def _draw_random_player(axes: Axes, curves: Sequence[Curve]) -> _Entries:
    entries: _Entries = []
    for curve in curves:
        if curve.kind is Kind.RANDOM_PLAYER:
            score = float(curve.values[0])
            text = f"{curve.label} ({score:.4g})"
            line = axes.axhline(
                score, color=_RANDOM_COLOUR, linewidth=1.2, linestyle=":", label=text, zorder=1
            )
            entries.append((line, text))
    return entries


# --- Axes and words -------------------------------------------------------------------------------


def _steps_label(frame_skip: int | None) -> str:
    if frame_skip is None:
        return "Environment steps"
    return f"Environment steps (1 step = {frame_skip} ALE frame{'' if frame_skip == 1 else 's'})"


def _set_steps_axis(axes: Axes, end: int) -> None:
    axes.set_xlim(0, max(end, 1) * 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10], integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short_count(value)))


def _set_return_axis(axes: Axes, curves: Sequence[Curve], end: int) -> None:
    """Ends the axis at what is to be seen, with 0 as its foot where no return is below."""
    seen = [np.zeros(0)]
    for curve in curves:
        inside = curve.env_steps <= end
        for values in (curve.values, curve.low, curve.high):
            seen.append(values[inside])
            if curve.env_steps[0] <= end:  # Where a longer line leaves the figure.
                seen.append(np.interp([end], curve.env_steps, values))
    values = np.concatenate(seen)
    values = values[np.isfinite(values)]
    low, high = float(values.min()), float(values.max())
    margin = 0.06 * (high - low) or 0.5
    axes.set_ylim(0 if low >= 0 else low - margin, high + margin)


def _short_count(value: float) -> str:
    """Writes 250000 as 250k and 1500000 as 1.5M."""
    for size, suffix in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{suffix}"
    return f"{value:g}"


def _span(counts: Sequence[int], noun: str) -> str:
    low, high = min(counts), max(counts)
    number = f"{low}" if low == high else f"{low} to {high}"
    return f"{number} {noun}{'' if high == 1 else 's'}"


def _note(curves: Sequence[Curve]) -> str:
    """Says what lines, points and bands are, of those that are there."""
    kinds = {each.kind for each in curves}
    bars = any(np.isfinite(c.low).any() for c in curves if c.kind is Kind.EVALUATION)
    bands = any(np.isfinite(c.low).any() for c in curves if c.kind is Kind.PUBLISHED)
    parts = []
    if Kind.TRAINING in kinds:
        parts.append("Lines: mean of the last 100 training games.")
    if Kind.TRAINING_MEAN in kinds:
        parts.append("Thin lines: single seeds.")
    if Kind.EVALUATION in kinds:
        parts.append(f"Points: evaluation mean{' with 95 % interval' if bars else ''}.")
    if bands:
        parts.append("Bands: one standard deviation over seeds.")
    return " ".join(parts)


def _explain(
    figure: Figure, parts: GridSpec, plot_inches: float, entries: _Entries, note: str
) -> None:
    """Fills the strip below the plot with legend and note, and makes the figure as high as needed.

    Args:
        figure: The whole figure.
        parts: Its upper part, which holds the plot, and its lower one, empty so far.
        plot_inches: Height of the upper part.
        entries: The legend's handles and texts.
        note: What stands last.
    """
    texts = [textwrap.fill(text, 95) for _, text in entries]
    columns = 2 if len(texts) > 2 and max(map(len, texts)) <= 46 else 1
    lines = sum(text.count("\n") + 1 for text in texts)
    note = textwrap.fill(note, 115)
    legend_inches = _LEGEND_LINE_INCHES * -(-lines // columns)
    note_inches = _NOTE_LINE_INCHES * (note.count("\n") + 1)
    strip_inches = legend_inches + note_inches + 0.2
    figure.set_size_inches(_WIDTH_INCHES, plot_inches + strip_inches)
    parts.set_height_ratios([plot_inches, strip_inches])
    below = figure.add_subfigure(parts[1])
    handles: Any = [handle for handle, _ in entries]  # Tuples too: one entry drawn over another.
    below.legend(
        handles,
        texts,
        loc="upper left",
        bbox_to_anchor=(0.015, 1.0),
        borderaxespad=0,
        ncols=columns,
        handlelength=2.4,
        handler_map={tuple: HandlerTuple(ndivide=1)},
    )
    below.text(0.02, 0.1 / strip_inches, note, va="bottom", fontsize=9, color=_NOTE_COLOUR)
