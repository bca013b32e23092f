from __future__ import annotations

import argparse

import pytest

from benchmarks import processes, resume_cost, rounds, throughput
from benchmarks.this_project import configured
from dqn_breakout.errors import UserError


def options(*arguments: str) -> argparse.Namespace:
    parsed = throughput.parser().parse_args(arguments)
    parsed.gin_file = ["breakout.gin"]
    return parsed


def test_missing_peers_are_told_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throughput, "_PEERS_PYTHON", "/nowhere/python")
    with pytest.raises(UserError, match="no /nowhere/python to run sb3 with; `make bench`"):
        throughput.measure(options())


def test_all_play_and_train_by_the_same_numbers() -> None:
    found = throughput.contestants(options("--gin_bindings=a.b = 1"))
    assert list(found) == [rounds.OURS, "sb3", "book"]
    bindings = found[rounds.OURS][1]["gin_bindings"]
    theirs = found["book"][1]
    assert f"create_learner.batch_size = {theirs['batch_size']}" in bindings
    assert f"create_agent.epsilon_final = {theirs['epsilon']}" in bindings
    assert "create_environment.sticky_action_probability = 0.0" in bindings
    assert bindings[-1] == "a.b = 1", "the user's binding wins"


def test_each_lever_is_one_that_the_configuration_has_on(clean_gin: None) -> None:
    forms = throughput.forms(options("--levers"))
    assert forms.pop(rounds.OURS) == ()
    for binding in forms["without any of these"] + forms["without plain replay"]:
        name = binding.partition(" = ")[0]
        on, off = (configured(["breakout.gin"], each, name) for each in ([], [binding]))
        assert str(on) != str(off)
    assert [*throughput.forms(options("--environments=1,8"))] == ["1 environment", "8 environments"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [rounds.OURS, "book"])
def test_a_contestant_trains_at_the_ratio_that_all_were_told(name: str) -> None:
    small = options(
        "--replay_transitions=500",
        "--gin_bindings=create_q_network.conv_layers = ((4, 8, 4), (4, 4, 2))",
        "--gin_bindings=create_q_network.dense_units = (16,)",
    )
    with processes.start(name, *throughput.contestants(small)[name]) as process:
        facts = process.ask("ready")
        answer = process.ask("round", seconds=2.0)
    assert 500 - facts["num_environments"] < facts["replay_capacity_transitions"] <= 500
    rounds.check_update_ratio(
        name, answer["env_steps"], answer["updates"], 4, facts["env_steps_per_iteration"]
    )


def test_a_wrong_binding_is_told_in_its_sentence() -> None:
    wrong = options("--gin_bindings=create_learner.batch_sise = 8")
    process = processes.start("ours", *throughput.contestants(wrong)[rounds.OURS])
    with process, pytest.raises(UserError, match=r"^ours ended with code 1; .*batch_size"):
        process.ask("ready")


def entry(contestant: str, speed: float, *pauses: float) -> dict[str, object]:
    return {
        "contestant": contestant,
        "env_steps_per_second": speed,
        "checkpoint_seconds": list(pauses),
        "processor_ms_per_env_step": 11.0 if contestant == resume_cost.ON else 10.0,
    }


def test_both_costs_of_exact_resume_are_put_together() -> None:
    # A thousand steps take 10 s, at 98 % of the speed without; then a checkpoint takes a second.
    on, off = resume_cost.ON, resume_cost.OFF
    measured = [entry(on, 98.0, 1.0), entry(off, 100.0), entry(off, 200.0), entry(on, 196.0)]
    measured += [entry(on, 100.0, 0.5, 3.0), entry(off, 100.0)]
    cost = resume_cost.cost(measured, 1000)
    assert cost["of_writing_ahead"] == pytest.approx(0.02)
    assert cost["pause_seconds"] == 1.0
    assert cost["of_checkpoints"] == pytest.approx(1 / 11)
    assert cost["cost"] == pytest.approx(1 - 0.98 * 10 / 11)
    assert cost["of_processor_time"] == pytest.approx(0.1)
    with pytest.raises(UserError, match="No checkpoint came"):
        resume_cost.cost([entry(on, 1.0), entry(off, 1.0)], 1000)
