"""Trains DQN on an Atari game: python train.py --gin_file=breakout.gin"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from dqn_breakout.errors import UserError

FLAGS = flags.FLAGS

flags.DEFINE_multi_string(
    "gin_file",
    ["breakout.gin"],
    "A gin file: a path, or a name in gin/. May be repeated; later files win.",
)
flags.DEFINE_multi_string(
    "gin_bindings", [], "A binding such as 'create_agent.gamma=0.95'. Bindings win over files."
)
flags.DEFINE_string(
    "run_dir",
    None,
    "Where the run lives. A directory that holds a run is gone on with. "
    "Default: runs/<first gin file>-<date and time>.",
)
flags.DEFINE_integer("seed", None, "Seed of the run; same seed, same result. Default: 1.")
flags.DEFINE_boolean(
    "ignore_memory", False, "Start even if the replay buffer does not fit this machine's memory."
)


def main(arguments: Sequence[str]) -> None:
    """Trains until the budget is spent or a signal stops it."""
    try:
        if len(arguments) > 1:
            raise UserError(f"What is {arguments[1]!r}? Options begin with --; see --help.")
        name = f"{Path(FLAGS.gin_file[0]).stem}-{time.strftime('%Y%m%d-%H%M%S')}"
        run_dir = FLAGS.run_dir or str(Path("runs") / name)
        # TensorFlow takes seconds to import: after the flags were looked at.
        from dqn_breakout import experiment

        sys.exit(
            experiment.parse_and_train(
                FLAGS.gin_file, FLAGS.gin_bindings, run_dir, FLAGS.seed, FLAGS.ignore_memory
            )
        )
    except UserError as error:
        print(error.message, file=sys.stderr)
        sys.exit(UserError.EXIT_CODE)


if __name__ == "__main__":
    app.run(main)
