"""Writes one evaluation game as a video: mp4 to keep, gif for a page."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import imageio_ffmpeg
import numpy as np
from PIL import Image

from dqn_breakout import config, errors
from dqn_breakout.errors import UserError
from dqn_breakout.evaluation.panel import COLOURS, Panel
from dqn_breakout.evaluation.protocols import EvaluationProtocol
from dqn_breakout.evaluation.request import VIDEO_ENDINGS
from dqn_breakout.evaluation.shown_game import ShownGame, ShownStep

# The Atari 2600's NTSC picture rate.
ALE_FRAMES_PER_SECOND = 60

_LAST_PICTURE_SECONDS = 2.0

# A gif is for a page: smaller pictures, few colours, and not the whole game.
_GIF_SECONDS = 30.0
_GIF_COLOURS = 64
_MP4_SCALE, _GIF_SCALE = 3, 2


def record_game(
    q_network: Any,
    path: str | os.PathLike[str],
    protocol: EvaluationProtocol,
    seed: int,
    *,
    max_seconds: float | None = None,
    caption: str = "",
    each_step: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Plays a game and writes it down at the game's own pace, with action values beside it.

    Args:
        q_network: Gives action values, float32 `(B, actions)`.
        path: Where to write; its ending says how. It appears there whole or not at all.
        protocol: The rules.
        seed: Of the game and the random actions.
        max_seconds: The game is left after so many seconds; None for its end (.gif: 30 seconds,
            as its pictures are held in memory, 12 MB a second).
        each_step: Called after every step; what it raises ends the game, and no video is left.
        caption: A few words beside the protocol's name, such as how long the network was trained.

    Returns:
        `score`, unclipped, and `env_steps` when the video ends; `game_over`, whether that was the
        game's end; `seconds`, the video's length, the last picture's two seconds included.

    Raises:
        UserError: The video cannot be written, or a value is out of range.
        ValueError: The path's ending is not one of `VIDEO_ENDINGS`.
    """
    target = Path(path)
    ending = target.suffix.lower()
    if ending not in VIDEO_ENDINGS:
        raise ValueError(f"{target} ends in none of {VIDEO_ENDINGS}")
    is_gif = ending == ".gif"
    if max_seconds is None:
        max_seconds = _GIF_SECONDS if is_gif else math.inf
    per_second = ALE_FRAMES_PER_SECOND / config.value("create_environment.frame_skip")
    subtitle = ", ".join(filter(None, (f"{protocol.name} protocol", caption)))
    scale = _GIF_SCALE if is_gif else _MP4_SCALE
    write = _write_gif if is_gif else _write_mp4
    temporary = target.with_name(f".{target.stem}.{os.getpid()}.tmp{ending}")
    game = ShownGame(q_network, protocol, seed, "rgb_array")
    try:
        steps = _until(game, max_seconds * per_second, each_step)
        seconds = write(temporary, _pictures(steps, game, subtitle, per_second, scale), per_second)
        os.replace(temporary, target)
    except (OSError, RuntimeError) as error:  # imageio's, where ffmpeg is missing or ended
        reason = errors.first_line(error)
        raise UserError(f"The video {target} cannot be written: {reason}.") from error
    finally:
        temporary.unlink(missing_ok=True)
        game.close()
    return {
        "score": game.score,
        "env_steps": game.env_steps,
        "game_over": game.over,
        "seconds": seconds,
    }


def _until(
    game: ShownGame, last_env_step: float, each_step: Callable[[], None] | None
) -> Iterator[ShownStep]:
    """The game's steps up to its end, or to the given one."""
    for step in game:
        if each_step is not None:
            each_step()
        yield step
        if step.env_steps >= last_env_step:
            return


def _pictures(
    steps: Iterator[ShownStep], game: ShownGame, subtitle: str, per_second: float, scale: int
) -> Iterator[Image.Image]:
    """A picture of each step, the last one for a while longer."""
    first = next(steps)
    panel = Panel(
        config.value("create_environment.game"),
        subtitle,
        game.action_names,
        first.screen.shape,
        per_second,
        scale,
    )
    picture = panel.draw(first)
    yield picture
    for step in steps:
        picture = panel.draw(step)
        yield picture
    yield from itertools.repeat(picture, round(_LAST_PICTURE_SECONDS * per_second))


def _write_mp4(path: Path, pictures: Iterator[Image.Image], per_second: float) -> float:
    """H.264 with 4:2:0 colours, which every player and browser shows."""
    writer = imageio.get_writer(
        path,
        format="FFMPEG",
        fps=per_second,
        codec="libx264",
        pixelformat="yuv420p",
        macro_block_size=2,
        ffmpeg_log_level="error",
        # Quality by -crf, and the index in front so that a page can start it at once.
        quality=None,
        output_params=["-crf", "20", "-preset", "veryfast", "-movflags", "+faststart"],
    )
    count = 0
    with writer:
        for picture in pictures:
            writer.append_data(np.asarray(picture))
            count += 1
    # imageio does not say that ffmpeg could not write its last bytes.
    try:
        written = imageio_ffmpeg.count_frames_and_secs(str(path))[0]
    except RuntimeError:
        written = 0
    if written != count:
        raise OSError("it came out cut short, as on a full disk")
    return count / per_second


def _write_gif(path: Path, pictures: Iterator[Image.Image], per_second: float) -> float:
    """Pictures that share one palette, so that what stands still costs nothing."""
    shown = list(pictures)
    palette = _palette(shown)
    reduced = [each.quantize(palette=palette, dither=Image.Dither.NONE) for each in shown]
    # gif counts in hundredths of a second: round the moments, not the lengths, to keep the pace.
    moments = [round(100 * place / per_second) * 10 for place in range(len(reduced) + 1)]
    reduced[0].save(
        path,
        save_all=True,
        append_images=reduced[1:],
        duration=[after - before for before, after in itertools.pairwise(moments)],
        loop=0,
    )
    return moments[-1] / 1000


def _palette(pictures: list[Image.Image]) -> Image.Image:
    """The colours of a few pictures, with the panel's own for certain."""
    sample = pictures[:: max(1, len(pictures) // 8)]
    width, height = pictures[0].size
    swatch = height // 8
    sheet = Image.new("RGB", (width, (len(sample) + 1) * height))
    for place, picture in enumerate(sample):
        sheet.paste(picture, (0, place * height))
    for place, colour in enumerate(COLOURS):
        top = len(sample) * height + place * swatch
        sheet.paste(colour, (0, top, width, top + swatch))
    return sheet.quantize(_GIF_COLOURS, dither=Image.Dither.NONE)
