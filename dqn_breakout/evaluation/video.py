"""Writes one evaluation game as a video: mp4 to keep, gif for a page."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
from collections.abc import Generator
from pathlib import Path

import imageio_ffmpeg

from dqn_breakout import errors
from dqn_breakout.errors import UserError
from dqn_breakout.evaluation.evaluate import Agent, EachStep
from dqn_breakout.evaluation.game_picture import GamePicture
from dqn_breakout.evaluation.protocols import EvaluationProtocol
from dqn_breakout.evaluation.shown_game import ShownStep, shown_environment, shown_game
from dqn_breakout.runs.files import expanded

_LAST_PICTURE_SECONDS = 2.0
# Codec, colours and ffmpeg's options. mp4: what every player and browser shows, the index in front,
# so that a page can start it at once. gif: smaller pictures that share one palette of few colours,
# so that what stands still costs nothing.
_SMALLER = "scale=iw*2/3:-1:flags=area,split[a][b]"
_PALETTE = "[a]palettegen=max_colors=64[p];[b][p]paletteuse=dither=none"
_ENCODERS = {
    ".mp4": ("libx264", "yuv420p", "-crf 20 -preset veryfast -movflags +faststart"),
    ".gif": ("gif", "pal8", f"-filter_complex {_SMALLER};{_PALETTE}"),
}


def record_game(
    agent: Agent,
    path: str | os.PathLike[str],
    protocol: EvaluationProtocol,
    seed: int,
    *,
    max_seconds: float | None = None,
    caption: str = "",
    each_step: EachStep | None = None,
) -> ShownStep:
    """Plays a game and writes it down at the game's own pace, with action values beside it.

    Args:
        agent: Who plays.
        path: Where to write, .mp4 or .gif. It appears there whole or not at all.
        protocol: The rules.
        seed: Of the game and the random actions.
        max_seconds: When the game is left; None for its end (.gif: after 30 seconds, as its
            pictures are held in memory, 15 MB a second).
        caption: A few words beside the protocol's name.
        each_step: Called after every step; what it raises ends the game, and no video is left.

    Returns:
        The last moment that the video shows, for two seconds more.

    Raises:
        UserError: The video cannot be written, or the game does not start.
    """
    # Absolute, or ffmpeg takes a:b.mp4 for a protocol; what a link leads to, not the link.
    target = Path(os.path.realpath(expanded(path)))
    ending = target.suffix.lower()
    temporary = target.with_name(f".{target.stem}.{os.getpid()}.tmp{ending}")
    if max_seconds is None:
        max_seconds = 30.0 if ending == ".gif" else math.inf
    subtitle = ", ".join(filter(None, (f"{protocol.name} protocol", caption)))
    try:
        with shown_environment(protocol, seed, "rgb_array") as environment:
            spec = environment.pyenv.spec
            game = shown_game(environment, agent, protocol, seed)
            first = next(game)
            pictures = GamePicture(spec, subtitle, first.screen.shape)
            stays = round(_LAST_PICTURE_SECONDS * spec.steps_per_second)
            writer = _writer(temporary, pictures.size, spec.steps_per_second)
            with contextlib.closing(writer):
                for step in itertools.chain([first], game):
                    if each_step is not None:
                        each_step()
                    picture = pictures.draw(step).tobytes()
                    writer.send(picture)
                    if step.env_steps >= max_seconds * spec.steps_per_second:
                        break
                for _ in range(stays):
                    writer.send(picture)
        _check_whole(temporary, 1 + step.env_steps + stays)
        os.replace(temporary, target)
    except (OSError, RuntimeError) as error:  # RuntimeError: ffmpeg is not there, or has no video.
        reason = errors.first_line(error)
        raise UserError(f"The video {target} cannot be written: {reason}.") from error
    finally:
        temporary.unlink(missing_ok=True)
    return step


def _check_whole(path: Path, pictures: int) -> None:
    """Counts a video's pictures: nobody says whether ffmpeg could write its last bytes."""
    if imageio_ffmpeg.count_frames_and_secs(path)[0] != pictures:
        raise OSError("it came out cut short, as on a full disk")


def _writer(
    path: Path, size: tuple[int, int], pictures_per_second: float
) -> Generator[None, bytes | None, None]:
    """Takes the pictures of a video, RGB, until it is closed."""
    codec, colours, options = _ENCODERS[path.suffix]
    writer: Generator[None, bytes | None, None] = imageio_ffmpeg.write_frames(
        path,
        size,
        fps=pictures_per_second,
        codec=codec,
        pix_fmt_out=colours,
        output_params=options.split(),
        macro_block_size=1,
        quality=None,  # said by the options
        ffmpeg_log_level="error",
    )
    writer.send(None)
    return writer
