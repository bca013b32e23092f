"""Trains DQN on an Atari game: python train.py --gin_file=breakout.gin"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from absl import flags

# With Python's safe path, the folder of a script is not looked in.
sys.path.insert(0, str(Path(__file__).resolve().parent))

from dqn_breakout import command_line
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
flags.DEFINE_boolean("list", False, "Names the gin files, a line for each, and ends.")
flags.DEFINE_string("game", None, "Another game than the gin file's, such as Pong.")
flags.DEFINE_string(
    "run_dir",
    None,
    "The run's directory; a run there is continued. Default: runs/<gin files, game, seed>.",
)
flags.DEFINE_integer("seed", None, "Seed of the run; same seed, same result. Default: 1.")
flags.DEFINE_boolean(
    "ignore_memory", False, "Start even if the replay buffer does not fit this machine's memory."
)


def main() -> int:
    """Trains until the budget is spent or a signal stops it; returns the exit code."""
    if FLAGS.list:
        from dqn_breakout import config

        print(config.listing())
        return 0
    bindings = list(FLAGS.gin_bindings)
    # The same command always means the same run: started again, it goes on.
    name = "-".join(Path(file).stem for file in FLAGS.gin_file)
    if FLAGS.game is not None:
        of_game = re.compile(r"\s*([\w./]*[./])?create_environment\.game\s*=")
        if any(map(of_game.match, bindings)):
            raise UserError(
                "--game and a binding of create_environment.game are two answers to one question: "
                "leave one of them out."
            )
        bindings.append(f"create_environment.game = {FLAGS.game!r}")
        name += f"-{FLAGS.game}"
    if FLAGS.seed is not None:
        name += f"-seed{FLAGS.seed}"
    # TensorFlow takes seconds to import: after the flags were looked at.
    from dqn_breakout import config, experiment, machine

    run_dir = f"runs/{name}" if FLAGS.run_dir is None else FLAGS.run_dir
    config.parse(FLAGS.gin_file, bindings)
    machine.share_threads()
    with config.building():
        return experiment.train(run_dir, FLAGS.seed, ignore_memory=FLAGS.ignore_memory)


if __name__ == "__main__":
    command_line.run(main)
