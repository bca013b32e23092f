from __future__ import annotations

import json

import numpy as np
import pytest

from dqn_breakout.reporting import comparison, published_curves
from dqn_breakout.reporting.run_records import read_run
from tests.reporting.conftest import evaluation, log_line


def training(paths, labels, metric=comparison.RETURN):
    return comparison.training({path.name: read_run(path) for path in paths}, labels, metric)


def test_mean_over_seeds_where_all_have_values(write_run):
    one = [log_line(steps, average_return=float(steps)) for steps in (1000, 2000, 3000)]
    two = [log_line(steps, average_return=10.0) for steps in (1500, 2000, 2500)]
    *_, mean = training([write_run("one", one), write_run("two", two)], ["a", "a"])
    np.testing.assert_array_equal(mean["env_steps"], [1500, 2000, 2500])
    np.testing.assert_array_equal(mean["value"], [755, 1005, 1255])
    np.testing.assert_array_equal(mean["samples"], [2, 2, 2])


def test_no_mean_where_seeds_share_no_steps(write_run):
    paths = [write_run(str(steps), [log_line(steps)]) for steps in (2000, 3000)]
    rows = comparison.joined(training(paths, ["a", "a"]))
    assert rows["kind"].tolist() == ["training", "training"]


def test_gaps_stay_inside_and_go_at_the_ends(write_run):
    returns = enumerate([None, 1.0, None, 3.0, None], 2)
    lines = [log_line(1000 * number, average_return=value) for number, value in returns]
    (curve,) = training([write_run(lines=lines)], ["a"])
    np.testing.assert_array_equal(curve["env_steps"], [3000, 4000, 5000])
    np.testing.assert_array_equal(curve["value"], [1, np.nan, 3])


def test_speed_counts_once_training_has_begun(write_run):
    (curve,) = training([write_run()], ["a"], comparison.SPEED)
    assert curve["env_steps"].iloc[0] == 2000
    assert set(curve["value"]) == {200.0}


def test_published_band_is_one_standard_deviation(published_csv):
    curve = published_curves.read(published_csv)["breakout/nature_cnn/DQN"]
    curve = comparison.published(curve, "Them")
    np.testing.assert_array_equal(curve["env_steps"], [2000, 4000, 90000])
    np.testing.assert_array_equal(curve["low"], [2.5, 7.0, 491.0])
    np.testing.assert_array_equal(curve["high"], [3.5, 9.0, 509.0])


@pytest.fixture
def rows(write_run):
    machado = evaluation(4.0, protocol={"name": "machado"}, ci95=None, games=30)
    scores = {2000: evaluation(1 / 3), 3000: machado}
    runs = {"run": read_run(write_run(lines=[log_line(2000), log_line(3000)], evaluations=scores))}
    curves = comparison.training(runs, ["a, b"], comparison.RETURN)
    curves += comparison.evaluations(runs, ["a, b"])
    return comparison.joined([*curves, comparison.random_player(1.7)])


def test_csv(rows):
    assert comparison.encoded(rows, ".csv").decode().splitlines() == [
        "kind,label,run,seed,metric,protocol,env_steps,value,low,high,samples",
        'training,"a, b",run,7,average_return,,2000,2.0,,,',
        'training,"a, b",run,7,average_return,,3000,3.0,,,',
        'evaluation,"a, b",run,7,average_return,nature,2000,0.333333,-1.16667,1.83333,10',
        'evaluation,"a, b",run,7,average_return,machado,3000,4.0,,,30',
        "random_player,Random player,,,average_return,,0,1.7,,,",
    ]


def test_json(rows):
    training, nature, machado, random = json.loads(comparison.encoded(rows, ".json"))["curves"]
    assert list(training) == list(rows)
    assert training["env_steps"] == [2000, 3000]
    assert (training["seed"], training["protocol"], training["low"]) == (7, None, [None] * 2)
    assert (nature["samples"], machado["protocol"], random["run"]) == ([10], "machado", None)


def test_long_curves_are_thinned(write_run):
    lines = [log_line(2000 + step) for step in range(5000)]
    rows = comparison.joined(training([write_run(lines=lines)], ["a"]))
    (curve,) = json.loads(comparison.encoded(rows, ".json"))["curves"]
    steps = np.array(curve["env_steps"])
    assert (len(steps), steps[0], steps[-1]) == (comparison.MOST_POINTS, 2000, 6999)
    assert set(np.diff(steps)) == {5, 6}
    np.testing.assert_allclose(curve["value"], steps / 1000)
