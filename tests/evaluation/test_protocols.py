from __future__ import annotations

import pytest

from dqn_breakout.errors import UserError
from dqn_breakout.evaluation import protocols


@pytest.mark.parametrize(
    ("name", "epsilon", "noop_max", "sticky"),
    [("nature", 0.05, 30, 0.0), ("machado", 0.01, 0, 0.25)],
)
def test_published_protocols(name: str, epsilon: float, noop_max: int, sticky: float):
    protocol = protocols.by_name(name)
    assert (protocol.name, protocol.epsilon) == (name, epsilon)
    assert protocol.rules == {
        "noop_max": noop_max,
        "sticky_action_probability": sticky,
        # Five minutes of sixty frames a second.
        "max_ale_frames": 5 * 60 * 60,
    }
    assert "et al." in protocol.source


def test_training_leaves_all_to_the_run():
    protocol = protocols.by_name("training")
    assert (protocol.epsilon, protocol.rules) == (None, {})


@pytest.mark.parametrize(
    ("name", "nearest"), [("natur", "nature"), ("Machado", "machado"), ("train", "training")]
)
def test_unknown_names_are_answered_with_the_nearest(name: str, nearest: str):
    with pytest.raises(UserError, match=f"did you mean '{nearest}'"):
        protocols.by_name(name)
