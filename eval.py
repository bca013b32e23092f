"""Scores a trained network, or shows it play: python eval.py --checkpoint_dir=runs/breakout"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from absl import flags

# With Python's safe path, the folder of a script is not looked in.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from dqn_breakout import command_line

FLAGS = flags.FLAGS
flags.DEFINE_string(
    "checkpoint_dir",
    None,
    "A run directory, its checkpoints folder, or one checkpoint; nothing else is needed.",
)
flags.DEFINE_string(
    "protocol",
    None,
    "The rules; by default the usual ones of that kind of environment: nature for Atari, greedy "
    "elsewhere. nature: epsilon 0.05, up to 30 no-ops, 5 minutes. machado: sticky actions 0.25, "
    "epsilon 0.01, 5 minutes. greedy: epsilon 0. training: as the run was trained, with its final "
    "epsilon.",
)
flags.DEFINE_integer("games", 30, "Full games to score; 0, with --video or --watch, for none.")
flags.DEFINE_integer("seed", 0, "Same seed, same games.")
flags.DEFINE_integer("num_environments", 10, "Games side by side. Another number, other games.")
flags.DEFINE_string("output", None, "Writes every score, and all that they depend on, as JSON.")
flags.DEFINE_string("video", None, "Records a game, action values beside it: an .mp4 or .gif file.")
flags.DEFINE_boolean("watch", False, "Shows a game in a window.")
flags.DEFINE_boolean("random", False, "Scores a random player, by the run's rules or --gin_file's.")
flags.DEFINE_multi_string("gin_file", [], "With --random: the game's gin file (breakout.gin).")
flags.DEFINE_multi_string("gin_bindings", [], "With --random: a binding; it wins over files.")


def main() -> None:
    """Does what the flags say."""
    from dqn_breakout.evaluation.request import EvaluationRequest

    values: dict[str, Any] = FLAGS.flag_values_dict()
    request = EvaluationRequest(**{name: values[name] for name in EvaluationRequest.names()})
    request.check()
    # TensorFlow takes seconds to import: after the flags were looked at.
    from dqn_breakout import config
    from dqn_breakout.evaluation import session

    with config.building():
        session.play(request)


if __name__ == "__main__":
    command_line.run(main)
