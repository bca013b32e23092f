from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Before any test imports TensorFlow: selects legacy Keras and mends TF-Agents.
import dqn_breakout  # noqa: F401

# `make chaos` tries 1,000 examples of everything malformed, `make test` a few.
settings.register_profile(
    "chaos",
    max_examples=int(os.environ.get("CHAOS_EXAMPLES", "15")),
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
