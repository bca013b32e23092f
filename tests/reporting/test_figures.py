from __future__ import annotations

import os
import subprocess
import sys

import matplotlib.colors
import numpy as np
import pytest

from dqn_breakout.command_line import PROJECT
from dqn_breakout.errors import UserError
from dqn_breakout.reporting import comparison, figures, published_curves
from dqn_breakout.reporting.comparison import RETURN
from dqn_breakout.reporting.run_records import read_run
from tests.reporting.conftest import evaluation, log_line


def drawn(paths, labels, extra=(), metrics=(RETURN,), last=None):
    runs = {path.name: read_run(path) for path in paths}
    curves = [each for name in metrics for each in comparison.training(runs, labels, name)]
    curves += comparison.evaluations(runs, labels)
    rows = comparison.joined([*curves, *extra])
    return figures.draw(rows, metrics, "Breakout", " (1 step = 4 ALE frames)", last)


def legend(figure):
    """The note above the legend's entries, and these."""
    (legend,) = figure.legends
    note = legend.get_title().get_text().replace("\n", " ")
    return note, [text.get_text() for text in legend.get_texts()]


def test_one_run(write_run):
    figure = drawn([write_run()], ["$a_$"])
    (axes,) = figure.axes
    assert figure.get_supxlabel() == "Environment steps (1 step = 4 ALE frames)"
    assert axes.get_ylabel() == "Mean return of a full game, unclipped"
    assert axes.get_title(loc="left") == "Breakout"
    np.testing.assert_array_equal(axes.get_lines()[-1].get_xdata(), [2000, 3000, 4000, 5000])
    np.testing.assert_array_equal(axes.get_lines()[-1].get_ydata(), [2, 3, 4, 5])
    assert legend(figure) == ("Lines: mean of the last 100 training games.", ["$a_$"])
    assert axes.get_xlim() == pytest.approx((0, 5100))
    assert axes.get_ylim()[0] == 0
    assert axes.xaxis.get_major_formatter()(1_500_000) == "1.5M"
    png = figures.encoded(figure, ".png")
    assert int.from_bytes(png[20:24]) > 850  # 820 without the legend, which stands below the plot.
    assert figures.encoded(figure, ".svg").startswith(b"<?xml")
    assert figures.encoded(figure, ".pdf").startswith(b"%PDF")


def test_seeds_are_thin_lines_and_a_thick_mean(write_run):
    other = [log_line(steps, average_return=8.0) for steps in (2000, 3000, 4000, 5000)]
    figure = drawn([write_run("one"), write_run("two", other)], ["DQN", "DQN"])
    one, two, mean = figure.axes[0].get_lines()
    np.testing.assert_array_equal(mean.get_ydata(), [5, 5.5, 6, 6.5])
    assert max(one.get_linewidth(), two.get_linewidth()) < mean.get_linewidth() / 2
    assert one.get_color() == two.get_color() == mean.get_color()
    note, texts = legend(figure)
    assert texts == ["DQN (mean of 2 seeds)"]
    assert note.endswith("Thin lines: single seeds.")


def test_labels_have_colours_that_can_be_told_apart_or_are_too_many(write_run):
    paths = [write_run(f"run{index}") for index in range(7)]
    lines = drawn(paths[:6], list("abcdef")).axes[0].get_lines()
    # Okabe and Ito's palette without black and yellow.
    expected = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
    assert [line.get_color() for line in lines[1::2]] == expected
    with pytest.raises(UserError, match="7 labels are too many"):
        drawn(paths, list("abcdefg"))


def test_evaluations_are_points_with_intervals(write_run):
    scores = {2000: evaluation(3.0), 4000: evaluation(8.0, games=30)}
    scores[3000] = evaluation(5.0, ci95=None)
    scores[5000] = evaluation(9.0, protocol={"name": "machado"})
    figure = drawn([write_run(evaluations=scores)], ["DQN"])
    axes = figure.axes[0]
    (points, _, (bars,)), (other, _, _) = axes.containers
    np.testing.assert_array_equal(points.get_ydata(), [3, 5, 8])
    assert points.get_color() == axes.get_lines()[0].get_color()
    assert points.get_marker() != other.get_marker()
    ends = [bar[:, 1].tolist() for bar in bars.get_segments() if len(bar)]
    assert ends == [[1.5, 4.5], [6.5, 9.5]]
    assert axes.get_ylim()[1] > 10.5
    _, (_, nature, machado) = legend(figure)
    assert "evaluated (nature protocol, 10 to 30 games)" in nature
    assert "evaluated (machado protocol, 10 games)" in machado


def test_what_runs_are_compared_with_is_grey_and_stays_in_the_figure(write_run, published_csv):
    dqn, qr_dqn, *_ = published_curves.read(published_csv).values()
    extra = [comparison.published(dqn, "Them"), comparison.published(qr_dqn, "Others")]
    extra += [comparison.random_player(-1.7)]
    figure = drawn([write_run()], ["ours"], extra)
    (axes,) = figure.axes
    *_, them, others, random = axes.get_lines()
    np.testing.assert_array_equal(them.get_ydata(), [3, 8, 500])
    for line in (them, others, random):
        red, green, blue = matplotlib.colors.to_rgb(line.get_color())
        assert red == green == blue
        assert line.is_dashed()
    assert them.get_color() != others.get_color()
    assert len(axes.collections) == 2
    note, texts = legend(figure)
    assert texts == ["ours", "Them", "Others", "Random player (-1.7)"]
    assert note.endswith("Bands: one standard deviation over seeds.")
    # The figure ends with the run, not with the published 90,000 steps and returns of 500.
    assert axes.get_xlim()[1] == pytest.approx(5100)
    assert axes.get_ylim()[0] < -1.7
    assert axes.get_ylim()[1] < 20
    (axes,) = drawn([write_run("again")], ["ours"], extra, last=90000).axes
    assert axes.get_xlim()[1] == pytest.approx(91800)
    assert axes.get_ylim()[1] > 509


def test_panels(write_run):
    lines = [log_line(2000 + 1000 * n, loss=None if n == 50 else n % 2) for n in range(200)]
    figure = drawn([write_run(lines=lines)], ["DQN"], metrics=figures.PANELS)
    labels = ["Loss", "Mean Q value", "Epsilon", "Environment steps per second"]
    assert [axes.get_ylabel() for axes in figure.axes] == labels
    _, thick = figure.axes[0].get_lines()
    # 200 lines: each is averaged with the two before and the two after; a gap stays a gap.
    np.testing.assert_allclose(thick.get_ydata()[[0, 2, 3, 50]], [1 / 3, 0.4, 0.6, np.nan])
    assert set(figure.axes[2].get_lines()[-1].get_ydata()) == {0.75}
    assert legend(figure)[1] == ["DQN"]


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "none", "TkAgg"])
def test_no_backend_of_the_surroundings_is_asked_for(backend):
    code = "from dqn_breakout.reporting import figures; figures.encoded(figures.Figure(), '.png')"
    environment = {**os.environ, "MPLBACKEND": backend}
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=environment, check=True)
