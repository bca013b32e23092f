"""Under which rules an agent is scored. Scores of different protocols do not compare."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from dqn_breakout.configurable import one_of
from dqn_breakout.environments.spec import EnvironmentSpec


@dataclasses.dataclass(frozen=True)
class EvaluationProtocol:
    """The rules that an evaluation fixes, whatever the agent was trained with.

    A score is always that of a full game with unclipped rewards. What decides how the agent sees
    and acts stays as it was trained: frame skip, set of actions, and whether the environment
    presses FIRE by itself (an agent that never had to serve the ball cannot).

    Attributes:
        epsilon: Chance of a uniform random action; None for the agent's own, after its decay.
        rules: What `create_environment` is given; what is not here, the configuration says.
        source: Where the numbers come from.
    """

    name: str
    epsilon: float | None
    rules: Mapping[str, Any]
    source: str


PROTOCOLS: dict[str, EvaluationProtocol] = {
    protocol.name: protocol
    for protocol in (
        EvaluationProtocol(
            name="nature",
            epsilon=0.05,
            rules={"noop_max": 30, "sticky_action_probability": 0.0, "max_ale_frames": 18_000},
            source=(
                "Mnih et al. 2015, Methods, 'Evaluation procedure': 30 games of up to 5 minutes, "
                "random starts by up to 30 no-ops, epsilon 0.05."
            ),
        ),
        EvaluationProtocol(
            name="machado",
            # The paper has no evaluation apart from training: it reports the mean of the last 100
            # training games. So the agent plays as its DQN trains once epsilon has decayed.
            epsilon=0.01,
            rules={"noop_max": 0, "sticky_action_probability": 0.25, "max_ale_frames": 18_000},
            source=(
                "Machado et al. 2018: sticky actions 0.25, games of up to 5 minutes, no random "
                "no-ops. The paper scores training games, not an evaluation; epsilon 0.01 is what "
                "its DQN explores with after the decay. Frame skip and actions are the agent's own "
                "(the paper: 5 frames, all 18 actions)."
            ),
        ),
        EvaluationProtocol(
            name="greedy",
            epsilon=0.0,
            rules={},
            source="The environment's own start and time limit, without exploration.",
        ),
        EvaluationProtocol(
            name="training",
            epsilon=None,
            rules={},
            source="The run's own configuration: its environment, and its final epsilon.",
        ),
    )
}


def by_name(name: str) -> EvaluationProtocol:
    """The protocol of that name.

    Raises:
        UserError: There is no such protocol; the message names the nearest.
    """
    return PROTOCOLS[one_of("The evaluation protocol", name, PROTOCOLS)]


def of_environment(spec: EnvironmentSpec, name: str | None = None) -> EvaluationProtocol:
    """The protocol of that name, or the usual one of that kind of environment for None.

    Raises:
        UserError: It means nothing there; the message names those that do.
    """
    if name is None:
        return PROTOCOLS[spec.protocols[0]]
    return PROTOCOLS[one_of(f"The evaluation protocol of {spec.name}", name, spec.protocols)]
