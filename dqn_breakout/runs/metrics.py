"""The one list of what a run measures: console, TensorBoard, metrics.jsonl, summary and plots."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Metric:
    """How one metric is shown.

    Attributes:
        tag: Its name in TensorBoard; None where it is not shown there.
        label: What a table's heading or a plot's axis says, unit included.
    """

    tag: str | None
    label: str


METRICS: dict[str, Metric] = {
    "env_steps": Metric(None, "Environment steps"),
    "train_steps": Metric("train/train_steps", "Train steps"),
    "episodes": Metric("games/count", "Full games"),
    "average_return": Metric(
        "games/return_mean_of_last_100", "Mean return of a full game, unclipped"
    ),
    "average_length": Metric(
        "games/length_mean_of_last_100_env_steps", "Mean length of a full game, environment steps"
    ),
    "loss": Metric("train/loss", "Loss"),
    "mean_q": Metric("train/mean_q", "Mean Q value"),
    "gradient_norm": Metric("train/gradient_norm", "Norm of the gradient"),
    "epsilon": Metric("train/epsilon", "Epsilon"),
    "env_steps_per_second": Metric("speed/env_steps_per_second", "Environment steps per second"),
    "replay_transitions": Metric("replay/transitions", "Transitions stored"),
    "wall_seconds": Metric(None, "Seconds trained"),
    "checkpoint_seconds": Metric("checkpoint/pause_seconds", "Pause for a checkpoint, seconds"),
}
"""By their names in metrics.jsonl. Means of games are over the last 100 that ended; `wall_seconds`
counts anew when a run goes on; what else is known of the learning is added by its own name."""


def tag(name: str) -> str | None:
    """A metric's name in TensorBoard, `train/<name>` for one that is not in the list.

    Returns:
        None for a metric that is not shown there.
    """
    return METRICS[name].tag if name in METRICS else f"train/{name}"
