"""Names and formats of everything that a run leaves on disk.

run_directory/
  .lock                 held by the process that trains
  run.json              command, versions, git revision, seed, machine
  config.gin            the operative gin config: every binding that was used
  summary.json          where the run stands, at each checkpoint and at the end
  metrics.jsonl         one JSON object per log line, what TensorBoard shows too
  tensorboard/train, tensorboard/eval
  checkpoints/<env steps>/   see `checkpoint_files`
  replay/               segments of the replay buffer, shared by the checkpoints
  videos/               evaluation games, mp4
  evaluations/          one JSON file per evaluation during training
  diverged-train-step-<number>.npz   the batch on which training failed, see `learning.divergence`
"""

from __future__ import annotations

import os
from pathlib import Path

from dqn_breakout import errors
from dqn_breakout.errors import UserError
from dqn_breakout.runs.files import expanded, make_folder


class RunDirectory:
    """The paths inside one run's directory, and the small JSON files there."""

    def __init__(self, path: str | os.PathLike[str]):
        """Names the directory, see `files.expanded`; nothing is made or read."""
        self.path = expanded(path)
        self.lock = self.path / ".lock"
        self.run_json = self.path / "run.json"
        self.config_gin = self.path / "config.gin"
        self.summary_json = self.path / "summary.json"
        self.metrics_jsonl = self.path / "metrics.jsonl"
        self.train_events = self.path / "tensorboard" / "train"
        self.eval_events = self.path / "tensorboard" / "eval"
        self.checkpoints = self.path / "checkpoints"
        self.replay = self.path / "replay"
        self.videos = self.path / "videos"
        self.evaluations = self.path / "evaluations"

    def evaluation_json(self, env_steps: int) -> Path:
        """Where the scores of the evaluation at so many environment steps are."""
        return self.evaluations / f"{env_steps:012d}.json"

    def diverged_npz(self, train_step: int) -> Path:
        """Where the batch is on which training failed at so many train steps."""
        return self.path / f"diverged-train-step-{train_step}.npz"

    def create(self) -> list[Path]:
        """Makes the directory, where there is none.

        Returns:
            The directories that were made, the outermost first.

        Raises:
            UserError: It cannot be made.
        """
        try:
            made = [each for each in (self.path, *self.path.parents) if not each.exists()][::-1]
            for folder in made:
                make_folder(folder)
            self.path.mkdir(exist_ok=True)
            return made
        except (OSError, ValueError) as error:  # ValueError: a zero byte in the name.
            reason = error.strerror if isinstance(error, OSError) else errors.first_line(error)
            shown = errors.shortened(errors.printable(str(self.path)))
            raise UserError(
                f"The run directory {shown} cannot be written ({reason}). Choose another with "
                "--run_dir, or mend its permissions."
            ) from error

    @staticmethod
    def of_checkpoints(path: str | os.PathLike[str]) -> RunDirectory:
        """The run directory that a user means by `path`: itself, or its checkpoints folder.

        Raises:
            UserError: There is no such directory, or no run in it.
        """
        given = expanded(path)
        if not given.is_dir():
            raise UserError(f"There is no directory {given}. Give a run directory.")
        # Both as it is written and where its links lead.
        for place in (given, given.resolve()):
            for folder in (place, *place.parents[:2]):
                run = RunDirectory(folder)
                if run.config_gin.is_file() and (
                    folder == place or place.is_relative_to(run.checkpoints)
                ):
                    return run
        raise UserError(
            f"{given} holds no run: it has no config.gin. Give a run directory or its "
            "checkpoints folder."
        )
