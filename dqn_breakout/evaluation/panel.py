"""Draws a moment of a game: the screen, and beside it what the network thinks of each action."""

from __future__ import annotations

import collections
import functools
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dqn_breakout.evaluation.shown_game import Choice, ShownStep

_BACKGROUND = (17, 19, 26)
_CARD = (27, 30, 40)
_TROUGH = (41, 45, 58)
_TEXT = (236, 238, 244)
_MUTED = (140, 146, 163)
_IDLE = (88, 95, 117)
_CHOICE_COLOURS = {
    Choice.BEST: (72, 199, 164),
    Choice.RANDOM: (245, 176, 65),
    Choice.SERVE: (122, 162, 247),
}
_CHOICE_LABELS = {
    Choice.BEST: "best action",
    Choice.RANDOM: "random",
    Choice.SERVE: "serve by the rules",
}

# What the pictures need beside the game's own colours.
COLOURS = (_BACKGROUND, _TROUGH, _TEXT, _MUTED, _IDLE, *_CHOICE_COLOURS.values())

# How many steps decide the range of the bars, and how many the curve shows.
_RANGE_STEPS = 60
_CURVE_STEPS = 150

# Lengths below are in units of a third of a screen pixel, as magnified: at scale 3 one unit is one
# pixel of the picture.
_MARGIN = 21
_PANEL_WIDTH = 330
_HEADER_HEIGHT = 172
_FOOTER_HEIGHT = 142
_CURVE_TOP = 112
_CURVE_BOTTOM = 26
_LARGEST_ROW = 56
_SMALLEST_FONT = 8  # in pixels: anything smaller cannot be read


_Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont


class Panel:
    """Draws the steps of one game, in order.

    Attributes:
        size: Width and height of the pictures in pixels, both even.
    """

    def __init__(
        self,
        title: str,
        subtitle: str,
        action_names: Sequence[str],
        screen_shape: tuple[int, ...],
        env_steps_per_second: float,
        scale: int,
    ):
        """Lays the picture out.

        Args:
            title: First line of the panel.
            subtitle: Second line, smaller.
            action_names: Name of each action.
            screen_shape: Height and width of the emulator's screen, in pixels.
            env_steps_per_second: The game's own pace, for the clock.
            scale: How many times the screen is enlarged.
        """
        self._action_names = action_names
        self._env_steps_per_second = env_steps_per_second
        self._scale = scale
        self._screen_size = (screen_shape[1] * scale, screen_shape[0] * scale)
        self._left = self._units(2 * _MARGIN) + self._screen_size[0]
        self._right = self._left + self._units(_PANEL_WIDTH)
        width = self._right + self._units(_MARGIN)
        height = self._screen_size[1] + 2 * self._units(_MARGIN)
        # H.264 with 4:2:0 colours wants even sides.
        self.size = (width + width % 2, height + height % 2)

        top, bottom = self._top(_HEADER_HEIGHT), self._bottom(_FOOTER_HEIGHT)
        pitch = min(self._units(_LARGEST_ROW), (bottom - top) // len(action_names))
        self._rows = [top + place * pitch + pitch // 2 for place in range(len(action_names))]
        self._bar_thickness = min(round(pitch * 0.6), self._units(27))
        self._bar_font = _font(min(self._units(16), round(pitch * 0.62)))
        self._values: collections.deque[np.ndarray] = collections.deque(maxlen=_RANGE_STEPS)
        self._best_values: collections.deque[float] = collections.deque(maxlen=_CURVE_STEPS)
        self._still = self._draw_still(title, subtitle)

    def draw(self, step: ShownStep) -> Image.Image:
        """The picture of the game's next step, RGB."""
        self._values.append(step.action_values)
        self._best_values.append(float(step.action_values.max()))
        picture = self._still.copy()
        screen = Image.fromarray(step.screen).resize(self._screen_size, Image.Resampling.NEAREST)
        picture.paste(screen, (self._units(_MARGIN), self._units(_MARGIN)))
        picture.paste(self._draw_shapes(step), (self._left, self._rows[0] - self._bar_thickness))
        self._write(ImageDraw.Draw(picture), step)
        return picture

    def _units(self, length: float) -> int:
        return round(length * self._scale / 3)

    def _font(self, size: float) -> _Font:
        return _font(self._units(size))

    def _top(self, length: float) -> int:
        """A height measured from the panel's upper edge."""
        return self._units(_MARGIN + length)

    def _bottom(self, length: float) -> int:
        """A height measured from the panel's lower edge."""
        return self._units(_MARGIN) + self._screen_size[1] - self._units(length)

    def _draw_still(self, title: str, subtitle: str) -> Image.Image:
        """What is the same in every picture."""
        picture = Image.new("RGB", self.size, _BACKGROUND)
        pen = ImageDraw.Draw(picture)
        caption = self._font(13)
        for y, text, colour, font in (
            (self._top(0), title, _TEXT, self._font(28)),
            (self._top(38), subtitle, _MUTED, self._font(15)),
            (self._top(78), "SCORE", _MUTED, caption),
            (self._top(152), "ACTION VALUES", _MUTED, caption),
        ):
            pen.text((self._left, y), text, colour, font, anchor="lt")
        x, y = self._left, self._bottom(7)
        side = self._units(10)
        for choice, colour in _CHOICE_COLOURS.items():
            label = _CHOICE_LABELS[choice]
            pen.rectangle((x, y - side // 2, x + side, y + side // 2), colour)
            pen.text((x + self._units(16), y), label, _MUTED, caption, anchor="lm")
            x += self._units(34) + round(pen.textlength(label, caption))
        return picture

    def _draw_shapes(self, step: ShownStep) -> Image.Image:
        """Bars and curve, drawn twice as large and halved, which smooths their edges."""
        top = self._rows[0] - self._bar_thickness
        size = (self._right - self._left, self._bottom(_CURVE_BOTTOM) - top + 1)
        shapes = Image.new("RGB", (2 * size[0], 2 * size[1]), _BACKGROUND)
        pen = ImageDraw.Draw(shapes)
        self._draw_bars(pen, step, top)
        curve_top = self._bottom(_CURVE_TOP) - top
        self._draw_curve(pen, (0, 2 * curve_top, 2 * size[0] - 1, 2 * size[1] - 1))
        return shapes.reduce(2)

    def _draw_bars(self, pen: ImageDraw.ImageDraw, step: ShownStep, top: int) -> None:
        recent = np.stack(self._values)
        low, high = float(recent.min()), float(recent.max())
        widest = max(pen.textlength(name, self._bar_font) for name in self._action_names)
        left = 2 * (round(widest) + self._units(12))
        right = 2 * (self._right - self._left - self._units(62))
        half = self._bar_thickness
        radius = half // 2
        for place, value in enumerate(step.action_values.tolist()):
            y = 2 * (self._rows[place] - top)
            pen.rounded_rectangle((left, y - half, right, y + half), radius, _TROUGH)
            share = (value - low) / (high - low) if high > low else 1.0
            end = left + max(2 * radius, round(share * (right - left)))
            colour = self._colour(step, place) or _IDLE
            pen.rounded_rectangle((left, y - half, end, y + half), radius, colour)

    def _draw_curve(self, pen: ImageDraw.ImageDraw, box: tuple[int, int, int, int]) -> None:
        pen.rounded_rectangle(box, 2 * self._units(6), _CARD)
        low, high = min(self._best_values), max(self._best_values)
        spread = high - low or 1.0
        inset = 2 * self._units(8)
        left, top, right, bottom = box[0] + inset, box[1] + inset, box[2] - inset, box[3] - inset
        across = (right - left) / (_CURVE_STEPS - 1)
        start = right - across * (len(self._best_values) - 1)
        points = [
            (start + across * place, bottom - (value - low) / spread * (bottom - top))
            for place, value in enumerate(self._best_values)
        ]
        colour = _CHOICE_COLOURS[Choice.BEST]
        if len(points) > 1:
            pen.line(points, colour, max(2, 2 * self._units(2)), joint="curve")
        dot = 2 * self._units(4)
        x, y = points[-1]
        pen.ellipse((x - dot, y - dot, x + dot, y + dot), colour)

    def _write(self, pen: ImageDraw.ImageDraw, step: ShownStep) -> None:
        """Writes what changes, and what stands over the shapes."""
        span = round(_CURVE_STEPS / self._env_steps_per_second)
        at = (self._left, self._bottom(_FOOTER_HEIGHT - 8))
        caption = f"BEST VALUE, LAST {span} SECONDS"
        pen.text(at, caption, _MUTED, self._font(13), anchor="lt")
        score = f"{step.score:,.0f}"
        pen.text((self._left, self._top(98)), score, _TEXT, self._font(44), anchor="lt")
        minutes, seconds = divmod(int(step.env_steps / self._env_steps_per_second), 60)
        lines = [f"step {step.env_steps:,}", f"{minutes}:{seconds:02d}"]
        if step.action is None:
            lines.append("time is up" if step.truncated else "game over")
        elif step.lives:
            lines.append(f"{step.lives} {'life' if step.lives == 1 else 'lives'}")
        for place, line in enumerate(lines):
            at = (self._right, self._top(78 + 21 * place))
            pen.text(at, line, _TEXT if place == 2 else _MUTED, self._font(16), anchor="rt")
        for place, name in enumerate(self._action_names):
            y = self._rows[place]
            colour = self._colour(step, place) or _MUTED
            value = _value(float(step.action_values[place]))
            pen.text((self._left, y), name, colour, self._bar_font, anchor="lm")
            pen.text((self._right, y), value, colour, self._bar_font, anchor="rm")

    def _colour(self, step: ShownStep, place: int) -> tuple[int, int, int] | None:
        """The colour of the action that was taken; None for the others."""
        if step.choice is None or place != step.action:
            return None
        return _CHOICE_COLOURS[step.choice]


@functools.cache
def _font(pixels: int) -> _Font:
    """Pillow's own font, so that pictures are the same everywhere."""
    return ImageFont.load_default(max(_SMALLEST_FONT, pixels))


def _value(value: float) -> str:
    """An action value in about six characters; neighbours often differ in the third decimal."""
    decimals = 3 if abs(value) < 10 else 1 if abs(value) < 1000 else 0
    return f"{value:.{decimals}f}"
