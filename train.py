"""Trains DQN on an Atari game: python train.py --gin_file=breakout.gin"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from dqn_breakout import command_line, errors
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
    "run_dir", None, "The run's directory; a run there is continued. Default: runs/<gin files>."
)
flags.DEFINE_integer("seed", None, "Seed of the run; same seed, same result. Default: 1.")
flags.DEFINE_boolean(
    "ignore_memory", False, "Start even if the replay buffer does not fit this machine's memory."
)


def main(arguments: Sequence[str]) -> None:
    """Trains until the budget is spent or a signal stops it."""
    try:
        if len(arguments) > 1:
            raise UserError(
                f"What is {errors.shown(arguments[1])}? Options begin with --; see --help."
            )
        # The same command always means the same run: started again, it goes on.
        seed = "" if FLAGS.seed is None else f"-seed{FLAGS.seed}"
        name = "-".join(Path(file).stem for file in FLAGS.gin_file) + seed
        # TensorFlow takes seconds to import: after the flags were looked at.
        from dqn_breakout import config, experiment, machine
        from dqn_breakout.runs.files import expanded

        run_dir = expanded(FLAGS.run_dir or f"runs/{name}")
        config.parse(FLAGS.gin_file, FLAGS.gin_bindings)
        machine.share_threads()
        with config.building():
            exit_code = experiment.train(run_dir, FLAGS.seed, ignore_memory=FLAGS.ignore_memory)
        sys.exit(exit_code)
    except UserError as error:
        print(error.message, file=sys.stderr)
        sys.exit(UserError.EXIT_CODE)
    except KeyboardInterrupt:  # Before training has begun: there is nothing to save.
        sys.exit(130)


if __name__ == "__main__":
    app.run(main, flags_parser=command_line.parse)
