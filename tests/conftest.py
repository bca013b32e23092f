from __future__ import annotations

# Before any test imports TensorFlow: selects legacy Keras and mends TF-Agents.
import dqn_breakout  # noqa: F401
