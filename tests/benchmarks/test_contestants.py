"""Contestants as the benchmark runs them: the real workers, each for two seconds."""

from __future__ import annotations

import pytest

from benchmarks import processes, rounds, throughput

SMALL = [
    "--batch_size=8",
    "--env_steps_per_update=2",
    "--replay_transitions=500",
    "--peers=book",
    "--gin_bindings=create_q_network.conv_layers = ((4, 8, 4), (4, 4, 2))",
    "--gin_bindings=create_q_network.dense_units = (16,)",
    "--gin_bindings=create_learner.train_steps_per_group = 4",
]


@pytest.mark.slow
@pytest.mark.parametrize("place", [0, 1], ids=[rounds.OURS, "book"])
def test_a_contestant_trains_at_the_ratio_that_all_were_told(place: int) -> None:
    contestant = throughput._contestants(throughput._options(SMALL))[place]
    with processes.start(*contestant) as process:
        facts = process.ask(None)
        answer = process.ask("round", seconds=2.0)
    assert 500 - facts["num_environments"] < facts["replay_capacity_transitions"] <= 500
    assert answer["env_steps"] > 0
    rounds.check_update_ratio(
        contestant.name, answer["env_steps"], answer["updates"], 2, facts["env_steps_per_iteration"]
    )
