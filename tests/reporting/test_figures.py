from __future__ import annotations

import matplotlib.image
import numpy as np
import pytest
from matplotlib.colors import same_color, to_hex

from dqn_breakout.errors import UserError
from dqn_breakout.reporting import comparison, figures, published_curves
from dqn_breakout.reporting.run_records import read_run


def learning_curve(runs, labels, extra=(), **options):
    curves = comparison.training_curves(runs, labels, comparison.RETURN)
    curves += comparison.evaluation_curves(runs, labels)
    return figures.learning_curve([*curves, *extra], **options)


def lines(axes, label):
    return [line for line in axes.get_lines() if line.get_label() == label]


def legend_texts(figure):
    return [
        text.get_text()
        for part in figure.subfigs
        for legend in part.legends
        for text in legend.get_texts()
    ]


def note(figure):
    return " ".join(text.get_text() for text in figure.subfigs[1].texts).replace("\n", " ")


def test_one_run(write_run):
    figure = learning_curve([read_run(write_run())], ["breakout.gin"], title="Breakout")
    (axes,) = figure.axes
    assert axes.get_xlabel() == "Environment steps (1 step = 4 ALE frames)"
    assert axes.get_ylabel() == "Mean return of a full game, unclipped"
    assert axes.get_title(loc="left") == "Breakout"
    (line,) = axes.get_lines()
    np.testing.assert_array_equal(line.get_xdata(), [2000, 3000, 4000, 5000])
    np.testing.assert_array_equal(line.get_ydata(), [2, 3, 4, 5])
    assert legend_texts(figure) == ["breakout.gin"]
    assert note(figure) == "Lines: mean of the last 100 training games."
    assert axes.get_xlim() == pytest.approx((0, 5100))
    assert axes.get_ylim()[0] == 0


def test_frame_skip_in_the_axis_label(write_run):
    runs = [read_run(write_run())]
    (axes,) = learning_curve(runs, ["a"], frame_skip=5).axes
    assert axes.get_xlabel() == "Environment steps (1 step = 5 ALE frames)"
    (axes,) = learning_curve(runs, ["a"], frame_skip=None).axes
    assert axes.get_xlabel() == "Environment steps"


def test_seeds_are_thin_lines_and_a_thick_mean(write_run, make_log_line):
    other = [make_log_line(steps, average_return=8.0) for steps in (2000, 3000, 4000, 5000)]
    runs = [read_run(write_run("one")), read_run(write_run("two", other, seed=8))]
    figure = learning_curve(runs, ["DQN", "DQN"])
    (axes,) = figure.axes
    assert len(axes.get_lines()) == 3
    (one,), (two,), (mean,) = lines(axes, "_one"), lines(axes, "_two"), lines(axes, "DQN")
    np.testing.assert_array_equal(mean.get_ydata(), [5, 5.5, 6, 6.5])
    assert max(one.get_linewidth(), two.get_linewidth()) < mean.get_linewidth() / 2
    assert one.get_color() == two.get_color() == mean.get_color()
    assert legend_texts(figure) == ["DQN (mean of 2 seeds)"]
    assert "Thin lines: single seeds." in note(figure)


def test_labels_have_colours_that_differ_in_lightness_or_hue(write_run):
    runs = [read_run(write_run(f"run{index}")) for index in range(6)]
    (axes,) = learning_curve(runs, [run.name for run in runs]).axes
    colours = [to_hex(line.get_color()).upper() for line in axes.get_lines()]
    # Okabe and Ito's palette without black and yellow.
    assert colours == ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]


def test_too_many_labels_are_refused(write_run):
    runs = [read_run(write_run(f"run{index}")) for index in range(7)]
    with pytest.raises(UserError, match="7 labels are too many"):
        learning_curve(runs, [run.name for run in runs])


def test_evaluations_are_points_with_intervals(write_run, make_evaluation):
    path = write_run(
        evaluations={
            2000: make_evaluation(3.0),
            3000: make_evaluation(5.0, ci95=None),
            4000: make_evaluation(8.0, games=30),
            5000: make_evaluation(9.0, protocol={"name": "machado"}),
        }
    )
    figure = learning_curve([read_run(path)], ["DQN"])
    (axes,) = figure.axes
    (training,), (nature,), (machado,) = (
        lines(axes, label) for label in ("_run", "_run nature", "_run machado")
    )
    assert nature.get_linestyle() == "None"
    np.testing.assert_array_equal(nature.get_xdata(), [2000, 3000, 4000])
    np.testing.assert_array_equal(nature.get_ydata(), [3, 5, 8])
    assert nature.get_color() == training.get_color()
    assert nature.get_marker() != machado.get_marker()
    bars = [bar.tolist() for each in axes.collections for bar in each.get_segments()]
    assert bars == [
        [[2000, 1.5], [2000, 4.5]],
        [[4000, 6.5], [4000, 9.5]],
        [[5000, 7.5], [5000, 10.5]],
    ]
    assert axes.get_ylim()[1] > 10.5
    assert legend_texts(figure) == [
        "DQN",
        "DQN, evaluated (nature protocol, 10 to 30 games)",
        "DQN, evaluated (machado protocol, 10 games)",
    ]
    assert "Points: evaluation mean with 95 % interval." in note(figure)


def test_published_curves_are_grey_dashed_and_banded(write_run, published_csv):
    published = published_curves.read(published_csv)
    extra = [
        comparison.published_curve(published[0], "Them DQN"),
        comparison.published_curve(published[1], "Them QR-DQN"),
    ]
    figure = learning_curve([read_run(write_run())], ["ours"], extra)
    (axes,) = figure.axes
    (dqn,), (qr_dqn,) = lines(axes, "Them DQN"), lines(axes, "Them QR-DQN")
    np.testing.assert_array_equal(dqn.get_ydata(), [3, 8, 500])
    for line in (dqn, qr_dqn):
        red, green, blue = matplotlib.colors.to_rgb(line.get_color())
        assert red == green == blue
        assert line.is_dashed()
    assert not same_color(dqn.get_color(), qr_dqn.get_color())
    assert len(axes.collections) == 2
    assert legend_texts(figure) == ["ours", "Them DQN", "Them QR-DQN"]
    assert "Bands: one standard deviation over seeds." in note(figure)
    # The figure ends with the run, not with the published 90,000 steps and returns of 500; where
    # its line leaves the figure it is still to be seen.
    assert axes.get_xlim()[1] == pytest.approx(5100)
    leaves_at = 8 + (500 - 8) * 1000 / 86000
    assert leaves_at < axes.get_ylim()[1] < 20


def test_max_env_steps_widens_the_axis(write_run, published_csv):
    extra = [comparison.published_curve(published_curves.read(published_csv)[0], "Them")]
    (axes,) = learning_curve([read_run(write_run())], ["a"], extra, max_env_steps=90000).axes
    assert axes.get_xlim()[1] == pytest.approx(91800)
    assert axes.get_ylim()[1] > 509


def test_random_player_is_a_horizontal_line(write_run):
    figure = learning_curve(
        [read_run(write_run())], ["a"], [comparison.random_player(1.7)], title=None
    )
    (axes,) = figure.axes
    (line,) = lines(axes, "Random player (1.7)")
    assert set(line.get_ydata()) == {1.7}
    assert legend_texts(figure)[-1] == "Random player (1.7)"


def test_negative_returns_are_to_be_seen(write_run, make_log_line):
    path = write_run(lines=[make_log_line(2000, average_return=-20.5)])
    (axes,) = learning_curve([read_run(path)], ["a"], [comparison.random_player(-20.7)]).axes
    low, high = axes.get_ylim()
    assert low < -20.7
    assert -20.5 < high < 0


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (500, "500"), (50_000, "50k"), (250_000, "250k"), (1_500_000, "1.5M")],
)
def test_steps_are_written_short(write_run, value, text):
    (axes,) = learning_curve([read_run(write_run())], ["a"]).axes
    assert axes.xaxis.get_major_formatter()(value, 0) == text


def test_nothing_to_draw(write_run, make_log_line):
    with pytest.raises(UserError, match="no full game has ended"):
        learning_curve([read_run(write_run(lines=[make_log_line(1000)]))], ["a"])


def panel_figure(runs, labels):
    curves = [
        curve
        for metric in figures.PANELS
        for curve in comparison.training_curves(runs, labels, metric)
    ]
    return figures.panels(curves, "Breakout")


def test_panels(write_run, make_log_line):
    steps = range(2000, 202_000, 1000)
    values = {step: float(index % 2) for index, step in enumerate(steps)}
    path = write_run(lines=[make_log_line(step, loss=values[step]) for step in steps])
    figure = panel_figure([read_run(path)], ["DQN"])
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "Loss",
        "Mean Q value",
        "Epsilon",
        "Environment steps per second in training",
    ]
    loss, _, epsilon, speed = figure.axes
    thin, thick = loss.get_lines()
    np.testing.assert_array_equal(thin.get_ydata(), list(values.values()))
    # 200 lines: each is averaged with the two before and the two after.
    np.testing.assert_allclose(thick.get_ydata()[2:6], [0.4, 0.6, 0.4, 0.6])
    np.testing.assert_allclose(thick.get_ydata()[0], 1 / 3)
    assert thin.get_linewidth() < thick.get_linewidth()
    (line,) = epsilon.get_lines()
    assert set(line.get_ydata()) == {0.75}
    assert speed.get_ylim() == pytest.approx((0, 220))
    assert legend_texts(figure) == ["DQN"]
    assert figure.subfigs[0].get_supxlabel() == "Environment steps (1 step = 4 ALE frames)"


def test_panels_of_seeds(write_run):
    runs = [read_run(write_run("one")), read_run(write_run("two")), read_run(write_run("three"))]
    figure = panel_figure(runs, ["a", "a", "b"])
    _, _, epsilon, _ = figure.axes
    assert [line.get_label() for line in epsilon.get_lines()] == ["_one", "_two", "a", "_three"]
    assert legend_texts(figure) == ["a (mean of 2 seeds)", "b"]


def test_panels_before_training(write_run, make_log_line):
    runs = [read_run(write_run(lines=[make_log_line(500), make_log_line(1000)]))]
    loss, _, epsilon, speed = panel_figure(runs, ["a"]).axes
    assert [text.get_text() for text in loss.texts] == ["nothing logged yet"]
    assert [text.get_text() for text in speed.texts] == ["nothing logged yet"]
    np.testing.assert_array_equal(epsilon.get_lines()[0].get_ydata(), [1, 1])


def test_panels_of_nothing():
    with pytest.raises(UserError, match="nothing to draw"):
        figures.panels([])


def test_a_moving_average_keeps_gaps(write_run, make_log_line):
    lines_ = [
        make_log_line(step, loss=None if step == 100_000 else 2.0)
        for step in range(2000, 202_000, 1000)
    ]
    loss = panel_figure([read_run(write_run(lines=lines_))], ["a"]).axes[0]
    thick = loss.get_lines()[1]
    gap = thick.get_xdata().tolist().index(100_000)
    assert np.isnan(thick.get_ydata()[gap])
    np.testing.assert_array_equal(np.delete(thick.get_ydata(), gap), 2.0)


def test_save_writes_the_same_png_twice(write_run, tmp_path):
    runs = [read_run(write_run())]
    for name in ("one.png", "two.png"):
        figures.save(learning_curve(runs, ["$a_b$ %"]), tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    pixels = matplotlib.image.imread(tmp_path / "one.png")
    assert pixels.shape[1] == 1600
    blue = np.all(np.abs(pixels[:, :, :3] - np.array([0, 0x72, 0xB2]) / 255) < 0.02, axis=2)
    assert blue.sum() > 1000  # The line is really there.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.png", "run", "two.png"]


def test_text_lies_inside_the_picture_and_apart(write_run, make_evaluation, published_csv):
    runs = [
        read_run(write_run(f"seed{index}", evaluations={2000: make_evaluation(3.0)}))
        for index in range(4)
    ]
    extra = [
        comparison.published_curve(curve, f"{curve.name} (sticky actions 0.25, 5 seeds)")
        for curve in published_curves.read(published_csv)[:3]
    ]
    extra.append(comparison.random_player(1.7))
    figure = learning_curve(runs, ["a", "b", "c", "d"], extra, title="Breakout")
    figure.draw_without_rendering()
    (axes,) = figure.axes
    (legend,) = figure.subfigs[1].legends
    (text,) = figure.subfigs[1].texts
    plot, legend_box, note_box = (
        axes.get_tightbbox(),
        legend.get_window_extent(),
        text.get_window_extent(),
    )
    assert plot.y0 >= legend_box.y1
    assert legend_box.y0 >= note_box.y1
    assert note_box.y0 >= 0
    for box in (plot, legend_box, note_box):
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y1 <= figure.bbox.height


@pytest.mark.parametrize(("name", "start"), [("a.svg", b"<?xml"), ("a.pdf", b"%PDF")])
def test_other_formats(write_run, tmp_path, name, start):
    figures.save(learning_curve([read_run(write_run())], ["a"]), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)


def test_save_refuses_other_formats_and_places(write_run, tmp_path):
    figure = learning_curve([read_run(write_run())], ["a"])
    with pytest.raises(UserError, match=r"must end in \.png"):
        figures.save(figure, tmp_path / "curve.gif")
    with pytest.raises(UserError, match="cannot be written: No such file or directory"):
        figures.save(figure, tmp_path / "nowhere" / "curve.png")
