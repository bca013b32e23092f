"""All that a checkpoint knows of what it saves: parts with a state, and rows written once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from dqn_breakout import errors
from dqn_breakout.errors import UserError

Specs = Mapping[str, tuple[tuple[int, ...], np.dtype]]
"""Shape and dtype of arrays, by name."""


class Stateful(Protocol):
    """A part of a run that goes on exactly where it stopped."""

    def state(self) -> dict[str, np.ndarray]:
        """All that its future depends on, by name."""

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Goes back to what `state` gave.

        Raises:
            UserError: It does not fit.
        """


class Rows(Protocol):
    """A replay's rows: written once, then never changed until they are overwritten.

    Row number n is step n of every environment, counted from the run's first.

    Attributes:
        rows_added: How many rows there were so far, overwritten ones included. A row is counted
            before it is written.
        max_length: How many of them are kept, the newest.
        num_environments: B, how many environments a row is of.
    """

    @property
    def rows_added(self) -> int: ...  # noqa: D102

    @property
    def max_length(self) -> int: ...  # noqa: D102

    @property
    def num_environments(self) -> int: ...  # noqa: D102

    def read_rows(self, start: int, stop: int) -> Mapping[str, np.ndarray]:
        """Rows number `start` to `stop` (exclusive), while others may be added.

        Returns:
            Arrays `(stop - start, B, ...)`; of no meaning if `start` is overwritten by now.

        Raises:
            ValueError: A row was overwritten while it was read.
        """

    def write_rows(self, start: int, rows: Mapping[str, np.ndarray]) -> None:
        """Puts back rows that `read_rows` gave, the first of them as number `start`."""

    def row_specs(self) -> Specs:
        """Shape and dtype of the fields of one environment's row."""


class Variables:
    """A group of TensorFlow variables, as a part of a run."""

    def __init__(self, variables: Mapping[str, Any]):
        """Takes variables by the names that their arrays are to have."""
        self._variables = dict(variables)

    def state(self) -> dict[str, np.ndarray]:
        """Their values."""
        return {name: np.asarray(each.numpy()) for name, each in self._variables.items()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Assigns all values, or none.

        Raises:
            UserError: A name, a shape or a dtype is another; the first such is named.
        """
        here, there = _kinds(self.state()), _kinds(state)
        for name in sorted(here.keys() | there.keys()):
            saved, needed = there.get(name, "missing"), here.get(name, "missing")
            if saved != needed:
                raise UserError(f"{errors.shown(name)} is {saved} there and {needed} here.")
        for name, variable in self._variables.items():
            variable.assign(state[name])


def _kinds(arrays: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Type and shape of each array, in words."""
    return {name: f"{array.dtype} {array.shape}" for name, array in arrays.items()}
