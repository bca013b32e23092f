"""Imports everything that `train.py` imports; the server of `train_process` does so once.

No TensorFlow operation is executed: its threads do not exist yet, so that a fork begins where a
fresh process stands after its imports. Forks write replay segments of few rows, so that a tiny run
writes them as a long one writes those of many: beside training.
"""

from __future__ import annotations

import gc

# First: selects legacy Keras.
from dqn_breakout import config, experiment  # noqa: F401
from dqn_breakout.runs import checkpoint

# Of 32 transitions: one or two between two checkpoints, and several in the replay buffer.
_SEGMENT_BYTES = 32 * (84 * 84 + 100)
assert checkpoint._SEGMENT_BYTES > _SEGMENT_BYTES
checkpoint._SEGMENT_BYTES = _SEGMENT_BYTES

from tensorflow.python.eager import context  # noqa: E402

assert context.context()._context_handle is None, "TensorFlow has threads by now"
# What was imported stays: forks need not look through it for garbage again and again.
gc.collect()
gc.freeze()
