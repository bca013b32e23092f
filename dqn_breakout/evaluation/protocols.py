"""Under which rules an agent is scored. Scores of different protocols do not compare."""

from __future__ import annotations

import dataclasses

from dqn_breakout import config, limits

TRAINING = "training"


@dataclasses.dataclass(frozen=True)
class EvaluationProtocol:
    """The rules that an evaluation fixes, whatever the agent was trained with.

    A score is always that of a full game with unclipped rewards. What decides how the agent sees
    and acts stays as it was trained: frame skip, set of actions, and whether the environment
    presses FIRE by itself (an agent that never had to serve the ball cannot).

    Attributes:
        name: What the protocol is called.
        epsilon: Chance of a uniform random action.
        noop_max: At most so many no-op ALE frames open a game.
        sticky_action_probability: Chance that an ALE frame repeats the action before.
        max_ale_frames: ALE frames after which a game is cut off; its score counts as it stands.
        source: Where the numbers come from.
    """

    name: str
    epsilon: float
    noop_max: int
    sticky_action_probability: float
    max_ale_frames: int
    source: str

    def max_episode_steps(self, frame_skip: int) -> int:
        """The limit of a game in environment steps of `frame_skip` ALE frames, at least 1."""
        return max(1, self.max_ale_frames // frame_skip)


PROTOCOLS: dict[str, EvaluationProtocol] = {
    protocol.name: protocol
    for protocol in (
        EvaluationProtocol(
            name="nature",
            epsilon=0.05,
            noop_max=30,
            sticky_action_probability=0.0,
            max_ale_frames=18_000,
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
            noop_max=0,
            sticky_action_probability=0.25,
            max_ale_frames=18_000,
            source=(
                "Machado et al. 2018: sticky actions 0.25, games of up to 5 minutes, no random "
                "no-ops. The paper scores training games, not an evaluation; epsilon 0.01 is what "
                "its DQN explores with after the decay. Frame skip and actions are the agent's own "
                "(the paper: 5 frames, all 18 actions)."
            ),
        ),
    )
}


def by_name(name: str) -> EvaluationProtocol:
    """The protocol of that name; `training` is made from gin's configuration.

    Raises:
        UserError: There is no such protocol (the message names the nearest), or the configuration
            lacks a number that `training` needs.
    """
    name = check_name(name)
    return _training() if name == TRAINING else PROTOCOLS[name]


def check_name(name: str) -> str:
    """Returns `name` if there is such a protocol; needs no configuration.

    Raises:
        UserError: There is none; the message names the nearest.
    """
    return limits.one_of("The evaluation protocol", name, [*PROTOCOLS, TRAINING])


def _training() -> EvaluationProtocol:
    """The rules that the run trains with, once its epsilon has decayed."""
    environment = "create_environment"
    steps = limits.positive_int(
        f"{environment}.max_episode_steps", config.value(f"{environment}.max_episode_steps")
    )
    frame_skip = limits.positive_int(
        f"{environment}.frame_skip", config.value(f"{environment}.frame_skip")
    )
    return EvaluationProtocol(
        name=TRAINING,
        epsilon=limits.fraction(
            "create_agent.epsilon_final", config.value("create_agent.epsilon_final")
        ),
        noop_max=config.value(f"{environment}.noop_max"),
        sticky_action_probability=config.value(f"{environment}.sticky_action_probability"),
        max_ale_frames=steps * frame_skip,
        source="The run's own configuration: its environment, and its final epsilon.",
    )
