"""Deep Q-networks on Atari, with TF-Agents: environments, collection, replay, training, evaluation.

Importing the package imports neither TensorFlow nor TF-Agents; it only sees to it that they will be
imported in working order (see `compatibility`).
"""

from __future__ import annotations

from dqn_breakout import compatibility

compatibility.prepare()
