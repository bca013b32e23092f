from __future__ import annotations

import pytest

# These define what the configurations below bind.
from dqn_breakout import config, experiment  # noqa: F401
from dqn_breakout.errors import UserError
from dqn_breakout.evaluation import protocols
from tests.evaluation.conftest import CONFIG


def test_nature_is_the_papers():
    protocol = protocols.by_name("nature")
    assert (protocol.epsilon, protocol.noop_max, protocol.sticky_action_probability) == (
        0.05,
        30,
        0,
    )
    # Five minutes of sixty frames a second.
    assert protocol.max_ale_frames == 5 * 60 * 60
    assert protocol.max_episode_steps(frame_skip=4) == 4500
    assert protocol.max_episode_steps(frame_skip=5) == 3600


def test_machado_is_sticky_and_has_no_random_starts():
    protocol = protocols.by_name("machado")
    assert (protocol.epsilon, protocol.noop_max, protocol.sticky_action_probability) == (
        0.01,
        0,
        0.25,
    )
    assert protocol.max_ale_frames == 18_000


def test_training_is_what_the_run_trains_with():
    bindings = [
        "STICKY = 0.125",
        "create_environment.sticky_action_probability = %STICKY",
        "create_environment.frame_skip = 3",
        "create_environment.noop_max = 7",
        "create_environment.max_episode_steps = 500",
        "create_agent.epsilon_final = 0.1",
    ]
    config.parse([], [*CONFIG.strip().splitlines(), *bindings])
    protocol = protocols.by_name("training")
    assert (protocol.epsilon, protocol.noop_max, protocol.sticky_action_probability) == (
        0.1,
        7,
        0.125,
    )
    assert protocol.max_ale_frames == 1500
    assert protocol.max_episode_steps(frame_skip=3) == 500


def test_training_without_a_number_names_it():
    kept = [line for line in CONFIG.strip().splitlines() if "epsilon_final" not in line]
    config.parse([], kept)
    with pytest.raises(UserError, match=r"no value for create_agent\.epsilon_final; "):
        protocols.by_name("training")


@pytest.mark.parametrize(
    ("name", "nearest"), [("natur", "nature"), ("Machado", "machado"), ("train", "training")]
)
def test_unknown_names_are_answered_with_the_nearest(name: str, nearest: str):
    with pytest.raises(UserError, match=f"did you mean '{nearest}'"):
        protocols.by_name(name)


def test_every_protocol_says_where_it_comes_from():
    for name, protocol in protocols.PROTOCOLS.items():
        assert protocol.name == name
        assert protocol.source
