"""What is kept when training fails: the batch it failed on, to be looked at."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from dqn_breakout.runs.files import write_atomically


class Divergence(Exception):
    """A train step had a loss that is not finite, or an action value out of bounds.

    Attributes:
        train_step: Number of the step that failed, from 1.
        batch: What it was to learn from: the fields of `Transitions`, rewards unclipped;
            `q_values`, float32 `(B, actions)`, of the network as the step found it; `targets`.
    """

    def __init__(self, train_step: int, batch: dict[str, np.ndarray]):
        """Describes the step; see the class."""
        super().__init__(f"training diverged at train step {train_step:,}")
        self.train_step = train_step
        self.batch = batch

    @property
    def reason(self) -> str:
        """What was out of bounds."""
        if not self._finite:
            return "action values or targets are no finite numbers"
        largest = float(np.abs(self.batch["q_values"]).max())
        return f"action values reach {largest:,.4g}, beyond create_agent.q_value_limit"

    @property
    def mend(self) -> str:
        """What may help."""
        lower = "a lower create_optimizer.learning_rate in another --run_dir"
        if not self._finite:
            return f"Try {lower}"
        return f"Give a higher create_agent.q_value_limit if such values are right, or else {lower}"

    @property
    def _finite(self) -> bool:
        values = self.batch["q_values"], self.batch["targets"]
        return all(np.isfinite(each).all() for each in values)

    def write(self, path: Path) -> None:
        """Writes the batch as a .npz file.

        Raises:
            OSError: It cannot be written.
        """
        content = io.BytesIO()
        np.savez_compressed(content, allow_pickle=False, **self.batch)
        write_atomically(path, content.getvalue())
