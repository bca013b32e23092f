"""What a user may ask of an evaluation, checked before anything slow begins."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from dqn_breakout import config, limits
from dqn_breakout.errors import UserError
from dqn_breakout.evaluation import protocols
from dqn_breakout.runs import checkpoint_files
from dqn_breakout.runs.directory import RunDirectory
from dqn_breakout.runs.files import expanded

VIDEO_ENDINGS = (".mp4", ".gif")


@dataclasses.dataclass(frozen=True)
class EvaluationRequest:
    """What `eval.py` was asked for; its flags say what each means.

    This module imports no TensorFlow, so that a slip is told at once.
    """

    checkpoint_dir: str | None
    random: bool
    gin_file: Sequence[str]
    gin_bindings: Sequence[str]
    protocol: str
    games: int
    seed: int
    num_environments: int
    output: str | None
    video: str | None
    watch: bool

    @classmethod
    def names(cls) -> list[str]:
        """Names of the fields, which are those of the flags."""
        return [field.name for field in dataclasses.fields(cls)]

    def check(self) -> None:
        """Refuses what cannot be done.

        Raises:
            UserError: It says what is wrong and how to mend it.
        """
        if not self.checkpoint_dir and not self.random:
            raise UserError(
                "Who shall play? Give --checkpoint_dir, a run directory or its checkpoints folder, "
                "or --random for a random player."
            )
        if self.checkpoint_dir:
            RunDirectory.of_checkpoints(self.checkpoint_dir)
            if not self.random:
                checkpoint_files.existing(checkpoints_of(self.checkpoint_dir))
            if self.gin_file or self.gin_bindings:
                raise UserError(
                    "A run is evaluated with the configuration saved in it: leave --gin_file and "
                    "--gin_bindings out, or leave --checkpoint_dir out to have a random player."
                )
        if self.random and (self.video or self.watch):
            raise UserError(
                "A random player has no action values to show: leave out --random, or --video and "
                "--watch."
            )
        for name in self.gin_file:
            config.resolve(name)
        protocols.check_name(self.protocol)
        if self.games or not (self.video or self.watch):
            limits.positive_int("--games", self.games)
        limits.positive_int("--num_environments", self.num_environments)
        if self.output:
            if not self.games:
                raise UserError("With --games=0 nothing is scored: leave out --output.")
            _check_target("--output", self.output)
        if self.video:
            _check_target("--video", self.video)
            if Path(self.video).suffix.lower() not in VIDEO_ENDINGS:
                raise UserError(
                    f"--video={self.video} must end in {' or '.join(VIDEO_ENDINGS)}, which says "
                    "how it is written."
                )
        if self.watch:
            check_display()


def checkpoints_of(checkpoint_dir: str | os.PathLike[str]) -> Path:
    """The folder to look for checkpoints in, or the one checkpoint that was given.

    Raises:
        UserError: There is no such directory, or no run in it.
    """
    run = RunDirectory.of_checkpoints(checkpoint_dir)
    given = expanded(checkpoint_dir)
    return run.checkpoints if given.resolve() == run.path.resolve() else given


def check_display() -> None:
    """Makes sure that a window would be seen.

    Raises:
        UserError: There is no display.
    """
    # Without one the emulator draws to nowhere and does not complain. Who names a video driver
    # knows what they do.
    names = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    if sys.platform.startswith("linux") and not any(os.environ.get(name) for name in names):
        raise UserError(
            "There is no display to open a window on (neither DISPLAY nor WAYLAND_DISPLAY is set). "
            "Record the game instead, with --video=game.mp4."
        )


def _check_target(flag: str, name: str) -> None:
    """Refuses a file that could not be written."""
    path = Path(name)
    if path.is_dir():
        raise UserError(f"{flag}={name} is a directory; give the name of a file.")
    if not path.parent.is_dir():
        raise UserError(f"There is no directory {path.parent} to write {flag}={name} to.")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"{flag}={name} cannot be written: no permission in {path.parent}.")
