"""Runs `train.py` in the tests' own process, which saves starting one for each of many commands."""

from __future__ import annotations

import contextlib
import io
import runpy
import sys
from collections.abc import Iterator
from typing import Any

import gin
import pytest
import tensorflow as tf
from absl import flags

from dqn_breakout.runs import record
from tests.chaos.train_process import REPOSITORY, Ended

# What a command that is in order ends with.
WOULD_TRAIN = 77


def train_here(*arguments: str) -> Ended:
    """How a command ends, from its flags up to the moment where training would begin."""

    def would_train(*given: Any, **more: Any) -> None:
        sys.exit(WOULD_TRAIN)

    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        _no_flags(),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", ["train.py", *arguments])
        patch.setattr(record, "record_start", would_train)
        # This process has its threads already.
        for name in ("set_intra_op_parallelism_threads", "set_inter_op_parallelism_threads"):
            patch.setattr(tf.config.threading, name, lambda number: None)
        try:
            runpy.run_path(str(REPOSITORY / "train.py"), run_name="__main__")
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            return Ended(code, out.getvalue(), err.getvalue())
        finally:
            gin.clear_config()
    raise AssertionError("train.py ended without an exit code")


@contextlib.contextmanager
def _no_flags() -> Iterator[None]:
    """Lets `train.py` define its flags, and afterwards has those that other tests have defined."""

    def taken() -> dict[str, Any]:
        by_module = flags.FLAGS.flags_by_module_dict()
        defined = [each for name in by_module if "absl" not in name for each in by_module[name]]
        for flag in defined:
            delattr(flags.FLAGS, flag.name)
        return {flag.name: flag for flag in defined}

    before = taken()
    try:
        yield
    finally:
        taken()
        for name, flag in before.items():
            flags.FLAGS[name] = flag
        flags.FLAGS.unparse_flags()
