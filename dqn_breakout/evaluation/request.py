"""What a user may ask of an evaluation, checked before TensorFlow is imported."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from dqn_breakout import config
from dqn_breakout.configurable import PositiveInt, check
from dqn_breakout.errors import UserError
from dqn_breakout.evaluation import protocols
from dqn_breakout.runs import checkpoint_files
from dqn_breakout.runs.directory import RunDirectory
from dqn_breakout.runs.files import can_be_written, expanded

VIDEO_ENDINGS = (".mp4", ".gif")


@dataclasses.dataclass(frozen=True)
class EvaluationRequest:
    """What `eval.py` was asked for; its flags say what each means."""

    checkpoint_dir: Path | None
    random: bool
    gin_file: Sequence[str]
    gin_bindings: Sequence[str]
    protocol: str | None
    games: int
    seed: int
    num_environments: int
    output: Path | None
    video: Path | None
    watch: bool

    def __post_init__(self) -> None:
        for name in ("checkpoint_dir", "output", "video"):
            if (given := getattr(self, name)) is not None:
                object.__setattr__(self, name, expanded(given))

    @classmethod
    def names(cls) -> list[str]:
        """Names of the fields, which are those of the flags."""
        return [field.name for field in dataclasses.fields(cls)]

    def check(self) -> None:
        """Refuses what cannot be done.

        Raises:
            UserError: It says what is wrong and how to mend it.
        """
        shows = bool(self.video or self.watch)
        if not self.checkpoint_dir and not self.random:
            raise UserError("Give --checkpoint_dir, or --random for a random player.")
        if self.checkpoint_dir:
            folder = checkpoints_of(self.checkpoint_dir)
            if not self.random:
                checkpoint_files.existing(folder)
            if self.gin_file or self.gin_bindings:
                raise UserError(
                    "A run is evaluated with the configuration saved in it: leave --gin_file and "
                    "--gin_bindings out, or --checkpoint_dir."
                )
        if self.random and shows:
            raise UserError(
                "A random player has no action values to show: leave out --random, or --video and "
                "--watch."
            )
        if self.protocol is not None:
            protocols.by_name(self.protocol)
        if self.games or not shows:
            check("--games", self.games, PositiveInt)
        elif self.output:
            raise UserError("With --games=0 nothing is scored: leave out --output.")
        check("--num_environments", self.num_environments, PositiveInt)
        for name in self.gin_file:
            config.resolve(name)
        for flag, target in (("--output", self.output), ("--video", self.video)):
            # A video is not written in one go: into no device, and no pipe.
            a_stream = target and target.exists() and not target.is_file()
            if target and (not can_be_written(target) or (flag == "--video" and a_stream)):
                raise UserError(
                    f"{flag}={target} cannot be written: give a file in a directory that is there "
                    "and may be written to."
                )
        if self.video and self.video.suffix.lower() not in VIDEO_ENDINGS:
            raise UserError(f"--video={self.video} must end in {' or '.join(VIDEO_ENDINGS)}.")
        if self.watch and not _has_display():
            raise UserError(
                "There is no display to open a window on (neither DISPLAY nor WAYLAND_DISPLAY is "
                "set). Record the game instead, with --video=game.mp4."
            )


def checkpoints_of(checkpoint_dir: str | os.PathLike[str]) -> Path:
    """The folder to look for checkpoints in, or the one checkpoint that was given.

    Raises:
        UserError: There is no such directory, or no run in it.
    """
    run = RunDirectory.of_checkpoints(checkpoint_dir)
    given = expanded(checkpoint_dir)
    return run.checkpoints if given.resolve() == run.path.resolve() else given


def _has_display() -> bool:
    """Whether a window would be seen: without a display the emulator draws to nowhere."""
    names = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    return not sys.platform.startswith("linux") or any(map(os.environ.get, names))
