from __future__ import annotations

import numpy as np
import pytest

from dqn_breakout.errors import UserError
from dqn_breakout.reporting import comparison, published_curves
from dqn_breakout.reporting.comparison import Kind
from dqn_breakout.reporting.run_records import read_run


def test_a_single_run_has_no_mean(write_run):
    runs = [read_run(write_run())]
    (curve,) = comparison.training_curves(runs, ["DQN"], comparison.RETURN)
    assert (curve.kind, curve.label, curve.run, curve.seed) == (Kind.TRAINING, "DQN", "run", 7)
    np.testing.assert_array_equal(curve.env_steps, [2000, 3000, 4000, 5000])
    np.testing.assert_array_equal(curve.values, [2, 3, 4, 5])


def test_mean_over_seeds_where_all_have_values(write_run, make_log_line):
    one = [make_log_line(steps, average_return=float(steps)) for steps in (1000, 2000, 3000)]
    two = [make_log_line(steps, average_return=10.0) for steps in (1500, 2000, 2500)]
    runs = [read_run(write_run("one", one)), read_run(write_run("two", two))]
    *members, mean = comparison.training_curves(runs, ["a", "a"], comparison.RETURN)
    assert [curve.run for curve in members] == ["one", "two"]
    assert mean.kind == Kind.TRAINING_MEAN
    np.testing.assert_array_equal(mean.env_steps, [1500, 2000, 2500])
    np.testing.assert_array_equal(mean.values, [755, 1005, 1255])
    np.testing.assert_array_equal(mean.samples, [2, 2, 2])


def test_no_mean_where_seeds_share_no_steps(write_run, make_log_line):
    runs = [
        read_run(write_run("one", [make_log_line(2000)])),
        read_run(write_run("two", [make_log_line(3000)])),
    ]
    curves = comparison.training_curves(runs, ["a", "a"], comparison.RETURN)
    assert [curve.kind for curve in curves] == [Kind.TRAINING, Kind.TRAINING]


def test_labels_keep_their_order_and_their_runs(write_run):
    runs = [read_run(write_run(name)) for name in ("one", "two", "three")]
    curves = comparison.training_curves(runs, ["b", "a", "b"], comparison.RETURN)
    assert [(curve.label, curve.run) for curve in curves] == [
        ("b", "one"),
        ("b", "three"),
        ("b", ""),
        ("a", "two"),
    ]


def test_gaps_stay_inside_and_go_at_the_ends(write_run, make_log_line):
    returns = [None, 1.0, None, 3.0, None]
    lines = [
        make_log_line(1000 * (index + 2), average_return=value)
        for index, value in enumerate(returns)
    ]
    (curve,) = comparison.training_curves(
        [read_run(write_run(lines=lines))], ["a"], "average_return"
    )
    np.testing.assert_array_equal(curve.env_steps, [3000, 4000, 5000])
    np.testing.assert_array_equal(curve.values, [1, np.nan, 3])


def test_speed_counts_once_training_has_begun(write_run):
    (curve,) = comparison.training_curves([read_run(write_run())], ["a"], comparison.SPEED)
    assert curve.env_steps[0] == 2000
    assert set(curve.values) == {200.0}


def test_a_run_without_values_has_no_curve(write_run, make_log_line):
    runs = [read_run(write_run(lines=[make_log_line(1000)]))]
    assert comparison.training_curves(runs, ["a"], comparison.RETURN) == []


def test_evaluations_by_run_and_protocol(write_run, make_evaluation):
    machado = {"name": "machado"}
    path = write_run(
        evaluations={
            2000: make_evaluation(3.0),
            3000: make_evaluation(4.0, protocol=machado, ci95=None),
            4000: make_evaluation(8.0, games=30),
        }
    )
    nature, sticky = comparison.evaluation_curves([read_run(path)], ["DQN"])
    assert (nature.protocol, sticky.protocol) == ("nature", "machado")
    np.testing.assert_array_equal(nature.env_steps, [2000, 4000])
    np.testing.assert_array_equal(nature.low, [1.5, 6.5])
    np.testing.assert_array_equal(nature.high, [4.5, 9.5])
    np.testing.assert_array_equal(nature.samples, [10, 30])
    assert np.isnan(sticky.low).all()


def test_published_band_is_one_standard_deviation(published_csv):
    published = published_curves.read(published_csv)[0]
    curve = comparison.published_curve(published, "Them")
    np.testing.assert_array_equal(curve.low, [2.5, 7.0, 491.0])
    np.testing.assert_array_equal(curve.high, [3.5, 9.0, 509.0])


def test_runs_of_different_games_do_not_compare(write_run):
    runs = [read_run(write_run("one")), read_run(write_run("two", game="Pong"))]
    with pytest.raises(UserError, match=r"different games.*Breakout, Pong"):
        comparison.game_of(runs)


def test_frame_skip_of_runs(write_run):
    four = read_run(write_run("four"))
    five = read_run(write_run("five", config="create_environment.frame_skip = 5\n"))
    unsaid = read_run(write_run("unsaid", config=""))
    assert comparison.frame_skip_of([four, unsaid]) == 4
    assert comparison.frame_skip_of([five]) == 5
    assert comparison.frame_skip_of([four, five]) is None
