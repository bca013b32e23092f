"""Makes a run small enough to share: python -m dqn_breakout.export_network RUN_DIR FOLDER

The folder holds what `eval.py --checkpoint_dir=FOLDER` needs and what says where it came from: the
network of the newest checkpoint, the operative config, run.json and summary.json. About 6 MB, where
the run takes gigabytes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dqn_breakout import command_line
from dqn_breakout.errors import UserError
from dqn_breakout.runs import checkpoint_files
from dqn_breakout.runs.directory import RunDirectory
from dqn_breakout.runs.files import expanded, write_atomically


def export_network(run_dir: Path, folder: Path) -> Path:
    """Writes the newest network of a run, its config and its summary into a new folder.

    Args:
        run_dir: A run directory or its checkpoints folder; training may go on meanwhile.
        folder: Where to write; must not hold a run.

    Returns:
        The folder of the written checkpoint.

    Raises:
        UserError: There is no sound checkpoint, or the folder holds a run already.
    """
    run = RunDirectory.of_checkpoints(run_dir)
    shared = RunDirectory(folder)
    if shared.config_gin.exists() or shared.checkpoints.exists():
        raise UserError(f"{folder} holds a run already. Give a new folder.")
    newest, network, damage = checkpoint_files.newest_arrays(run.checkpoints, "network")
    for sentence in damage:
        print(f"Damaged checkpoint left out: {sentence}.", file=sys.stderr)
    shared.create()
    written = checkpoint_files.write_checkpoint(
        shared.checkpoints, newest.counters, {"network": network}, segments={}
    )
    for name in ("config_gin", "run_json", "summary_json"):
        source: Path = getattr(run, name)
        if source.exists():
            write_atomically(getattr(shared, name), source.read_bytes())
    return written.path


@command_line.told
def main(arguments: Sequence[str] | None = None) -> None:
    """Exports from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m dqn_breakout.export_network",
        description="Write the newest network of a run into a small folder that eval.py can play.",
    )
    parser.add_argument("run_dir", type=expanded, metavar="RUN_DIR", help="the run to share")
    parser.add_argument("folder", type=expanded, metavar="FOLDER", help="where to write it")
    given = parser.parse_args(arguments)
    print(export_network(given.run_dir, given.folder))


if __name__ == "__main__":
    sys.exit(main())
