from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks import rounds, throughput
from dqn_breakout import config, experiment  # noqa: F401  (registers what gin configures)
from dqn_breakout.errors import UserError


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--rounds=0"], "--rounds: needs a whole number of 1 or more, but is '0'"),
        (["--rounds=x"], "--rounds: needs a whole number of 1 or more, but is 'x'"),
        (["--seconds=nan"], "--seconds: needs seconds above 0"),
        (["--seconds=-1"], "--seconds: needs seconds above 0"),
        (["--batch_size=2.5"], "--batch_size: needs a whole number"),
        (["--env_steps_per_update=0"], "--env_steps_per_update: needs a whole number"),
        (["--threads=100000"], "but this machine has"),
        (["--peers=sb3,cleanrl"], "knows sb3 and book, but not 'cleanrl'"),
        (["--environments=1,,4"], "--environments: needs a whole number of 1 or more"),
        (["--replay_transitions=32"], "needs more than a batch of 32"),
        (["--round=3"], "unrecognized arguments: --round=3"),
        (["more"], "unrecognized arguments: more"),
        (["--peers_python=/nowhere/python"], "no /nowhere/python to run sb3 with; `make bench`"),
    ],
)
def test_a_wrong_argument_is_one_sentence(arguments: list[str], sentence: str) -> None:
    with pytest.raises(UserError) as error:
        throughput.main([*arguments])
    message = error.value.message.lower()
    assert sentence.lower() in message
    assert "\n" not in message
    assert message.endswith(("see --help.",))


def test_the_output_is_checked_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        throughput.main(["--peers=none", f"--output={tmp_path}/nowhere/result.json"])


def test_all_play_and_train_by_the_same_numbers() -> None:
    options = throughput._options(
        ["--batch_size=8", "--env_steps_per_update=2", "--peers=book", "--gin_bindings=a.b = 1"]
    )
    ours, book = throughput._contestants(options)
    assert book.settings["batch_size"] == 8
    assert book.settings["env_steps_per_update"] == 2
    bindings = ours.settings["gin_bindings"]
    assert "create_learner.batch_size = 8" in bindings
    assert "create_learner.env_steps_per_train_step = 2" in bindings
    assert "create_environment.sticky_action_probability = 0.0" in bindings
    assert bindings[-1] == "a.b = 1", "the user's binding wins"


@pytest.mark.parametrize(
    ("shares", "counts"),
    [
        ([0.01], [True]),
        ([0.20, 0.04], [False, True]),
        ([0.20, 0.10, 0.30], [False, True, False]),
    ],
)
def test_a_round_beside_other_work_is_taken_again(
    shares: list[float], counts: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [*shares]

    def taken(*_: Any) -> dict[str, Any]:
        return {
            "env_steps": 400,
            "updates": 100,
            "env_steps_per_second": 1.0,
            "others_processor_share": left.pop(0),
        }

    monkeypatch.setattr(throughput, "_round", taken)
    options = throughput._options(["--rounds=1", "--peers=none"])
    facts = {rounds.OURS: {"env_steps_per_iteration": 4}}
    measured = throughput._run_rounds(options, {rounds.OURS: None}, facts, None, 1)  # type: ignore
    assert [each["others_processor_share"] for each in measured] == shares
    assert [each["counts"] for each in measured] == counts
    assert not left


def test_the_table_shows_rounds_that_count_and_what_could_not_be_measured() -> None:
    def taken(speed: float, others: float, counts: bool) -> dict[str, Any]:
        return {
            "contestant": rounds.OURS,
            "env_steps_per_second": speed,
            "others_processor_share": others,
            "counts": counts,
        }

    shown = throughput._shown(
        {
            "machine": {"processor": "P", "cores": 2},
            "settings": {
                "threads": 2,
                "batch_size": 32,
                "env_steps_per_update": 4,
                "rounds": 2,
                "seconds": 30.0,
            },
            "env_steps_per_second": {rounds.OURS: 150.0},
            "floor": {
                "share": {rounds.OURS: 0.5},
                "matrix_product_flops_per_second": 2e11,
                "flops_per_sample": 68e6,
            },
            "rounds": [taken(90.0, 0.3, False), taken(100.0, 0.07, True), taken(200.0, 0.0, True)],
            "seconds_to_first_gradient_step": None,
            "random_fill_env_steps_per_second": None,
            "emulator_env_steps_per_second": 2800.0,
        }
    )
    assert "100 to 200" in shown
    assert " 7%" in shown
    assert "Random fill: too short to measure; the emulator alone: 2,800" in shown
    assert "first gradient step: not measured, too little memory" in shown


def test_the_curve_runs_this_project_alone() -> None:
    options = throughput._options(["--environments=1,16,1", f"--peers_python={os.devnull}"])
    contestants = throughput._contestants(options)
    assert [each.name for each in contestants] == ["1 environment", "16 environments"]
    for contestant, number in zip(contestants, (1, 16), strict=True):
        binding = f"create_environment.num_environments = {number}"
        assert binding in contestant.settings["gin_bindings"]


def test_each_lever_is_one_that_the_configuration_has_on(clean_gin: None) -> None:
    options = throughput._options(["--levers", f"--peers_python={os.devnull}"])
    first, *others = throughput._contestants(options)
    assert first.name == rounds.OURS
    assert [each.name for each in others] == [f"without {name}" for name in throughput._LEVERS_OFF]

    def read(bindings: Sequence[str], names: Sequence[str]) -> list[str]:
        config.parse(options.gin_file, bindings)
        return [str(config.value(name)) for name in names]

    for lever, off in zip(others, throughput._LEVERS_OFF.values(), strict=True):
        names = [binding.partition(" = ")[0] for binding in off]
        with_all = read(first.settings["gin_bindings"], names)
        without = read(lever.settings["gin_bindings"], names)
        assert all(on != off for on, off in zip(with_all, without, strict=True))
