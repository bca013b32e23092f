"""Tests of a group of variables as a part of a run, and of what is compared before it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dqn_breakout.errors import UserError
from dqn_breakout.runs import metrics
from dqn_breakout.runs.stateful import Variables
from tests.runs.small_run import Variable

WEIGHTS = np.array([1, 2, 3], np.float32)


def test_variables_are_saved_and_restored_by_name():
    saved = Variables({"weights": Variable(WEIGHTS), "steps": Variable(7, np.int64)}).state()
    weights, steps = Variable(np.zeros(3)), Variable(0, np.int64)
    Variables({"steps": steps, "weights": weights}).restore(saved)
    np.testing.assert_array_equal(weights.value, WEIGHTS)
    assert steps.value == 7


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weights": WEIGHTS[:2]}, "'weights' is float32 (2,) there and float32 (3,) here."),
        ({"weights": WEIGHTS.astype(int)}, "'weights' is int64 (3,) there and float32 (3,) here."),
        ({"weights": None}, "'weights' is missing there and float32 (3,) here."),
        ({"more": WEIGHTS}, "'more' is float32 (3,) there and missing here."),
    ],
)
def test_of_arrays_that_do_not_fit_none_is_assigned(changes, said):
    steps = Variable(0, np.int64)
    variables = Variables({"steps": steps, "weights": Variable(np.zeros(3))})
    state = {"steps": np.int64(7), "weights": WEIGHTS, **changes}
    with pytest.raises(UserError) as caught:
        variables.restore({name: each for name, each in state.items() if each is not None})
    assert caught.value.message == said
    assert steps.value == 0


def test_tags_are_those_of_the_list_and_of_training_for_what_is_not_in_it():
    assert metrics.tag("loss") == "train/loss"
    assert metrics.tag("env_steps") is None
    assert metrics.tag("anything") == "train/anything"
    tags = [each.tag for each in metrics.METRICS.values() if each.tag]
    assert len(tags) == len(set(tags))


def test_reading_what_a_run_left_does_not_import_tensorflow():
    modules = ("checkpoint", "checkpoint_files", "directory", "files", "metrics", "record")
    code = "; ".join(f"import dqn_breakout.runs.{each}" for each in modules)
    command = [sys.executable, "-c", f"{code}; import sys; sys.exit('tensorflow' in sys.modules)"]
    root = Path(__file__).parents[2]
    assert subprocess.run(command, cwd=root, check=False).returncode == 0
