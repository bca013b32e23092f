"""Draws a moment of a game: the screen, and beside it what the agent thinks of each action."""

from __future__ import annotations

import collections
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dqn_breakout.environments.spec import EnvironmentSpec
from dqn_breakout.evaluation.shown_game import Choice, ShownStep

_Colour: TypeAlias = tuple[int, int, int]
_BACKGROUND: _Colour = (17, 19, 26)
_TROUGH: _Colour = (41, 45, 58)
_TEXT: _Colour = (236, 238, 244)
_MUTED: _Colour = (140, 146, 163)
_IDLE: _Colour = (88, 95, 117)
CHOICE_COLOURS: dict[Choice, _Colour] = {
    Choice.BEST: (72, 199, 164),
    Choice.RANDOM: (245, 176, 65),
    Choice.SERVE: (122, 162, 247),
}

# How many steps the curve shows and the range of the bars covers.
_RECENT_STEPS = 150

# All lengths are in pixels. An Atari screen of 210 lines is shown three times as large.
_SCREEN_HEIGHT = 630
_MARGIN = 21
_PANEL_WIDTH = 330
# From the upper and the lower edge of the screen to the rows of the action values.
_HEADER_HEIGHT = 172
_FOOTER_HEIGHT = 142
_LARGEST_ROW = 56
_NAME_WIDTH = 110
_VALUE_WIDTH = 62


class GamePicture:
    """Draws the steps of one game, in order.

    Attributes:
        size: Width and height of the pictures in pixels, both even.
    """

    def __init__(self, spec: EnvironmentSpec, subtitle: str, screen_shape: tuple[int, ...]):
        """Lays the picture out.

        Args:
            spec: The game's name, its actions and its pace.
            subtitle: Second line of the panel, under the game's name.
            screen_shape: Height and width of the screen, in pixels.
        """
        self._spec = spec
        scale = max(1, round(_SCREEN_HEIGHT / screen_shape[0]))
        self._screen_size = (screen_shape[1] * scale, screen_shape[0] * scale)
        self._left = self._screen_size[0] + 2 * _MARGIN
        self._right = self._left + _PANEL_WIDTH
        self._bottom = self._screen_size[1] + _MARGIN
        # H.264 with 4:2:0 colours wants even sides.
        width, height = self._right + _MARGIN, self._bottom + _MARGIN
        self.size = (width + width % 2, height + height % 2)
        room = self._screen_size[1] - _HEADER_HEIGHT - _FOOTER_HEIGHT
        self._row_height = min(_LARGEST_ROW, room // len(spec.action_names))
        self._recent: collections.deque[np.ndarray] = collections.deque(maxlen=_RECENT_STEPS)
        self._still = self._draw_still(subtitle)

    def draw(self, step: ShownStep) -> Image.Image:
        """The picture of the game's next step, RGB."""
        self._recent.append(step.action_values)
        picture = self._still.copy()
        screen = Image.fromarray(step.screen).resize(self._screen_size, Image.Resampling.NEAREST)
        picture.paste(screen, (_MARGIN, _MARGIN))
        pen = ImageDraw.Draw(picture)
        self._draw_facts(pen, step)
        self._draw_bars(pen, step)
        self._draw_curve(pen)
        return picture

    def _draw_still(self, subtitle: str) -> Image.Image:
        """What is the same in every picture."""
        picture = Image.new("RGB", self.size, _BACKGROUND)
        pen = ImageDraw.Draw(picture)
        curve_seconds = round(_RECENT_STEPS / self._spec.steps_per_second)
        for y, text, colour, font_size in (
            (_MARGIN, self._spec.name, _TEXT, 28),
            (_MARGIN + 38, subtitle, _MUTED, 15),
            (_MARGIN + 78, "SCORE", _MUTED, 13),
            (_MARGIN + 152, "ACTION VALUES", _MUTED, 13),
            (self._bottom - 134, f"BEST VALUE, LAST {curve_seconds} SECONDS", _MUTED, 13),
        ):
            pen.text((self._left, y), text, colour, _font(font_size), anchor="lt")
        x, y = self._left, self._bottom - 7
        for choice, colour in CHOICE_COLOURS.items():
            pen.rectangle((x, y - 5, x + 10, y + 5), colour)
            pen.text((x + 16, y), choice.value, _MUTED, _font(13), anchor="lm")
            x += 34 + round(pen.textlength(choice.value, _font(13)))
        return picture

    def _draw_facts(self, pen: ImageDraw.ImageDraw, step: ShownStep) -> None:
        """The score, and at the right edge steps, clock and lives."""
        score = f"{step.score:,.0f}"
        pen.text((self._left, _MARGIN + 98), score, _TEXT, _font(44), anchor="lt")
        minutes, seconds = divmod(int(step.env_steps / self._spec.steps_per_second), 60)
        state = f"{step.lives} {'life' if step.lives == 1 else 'lives'}" if step.lives else ""
        if step.action is None:
            state = "time is up" if step.truncated else "game over"
        lines = ((f"step {step.env_steps:,}", _MUTED), (f"{minutes}:{seconds:02d}", _MUTED))
        for place, (line, colour) in enumerate((*lines, (state, _TEXT))):
            at = (self._right, _MARGIN + 78 + 21 * place)
            pen.text(at, line, colour, _font(16), anchor="rt")

    def _draw_bars(self, pen: ImageDraw.ImageDraw, step: ShownStep) -> None:
        """A row for each action: its name, a bar, its value; the one that was taken stands out."""
        low, high = np.min(self._recent), np.max(self._recent)
        left, right = self._left + _NAME_WIDTH, self._right - _VALUE_WIDTH
        font = _font(min(16, round(self._row_height * 0.62)))
        half = min(13, round(self._row_height * 0.3))
        for place, name in enumerate(self._spec.action_names):
            y = _MARGIN + _HEADER_HEIGHT + place * self._row_height + self._row_height // 2
            value = float(step.action_values[place])
            taken = CHOICE_COLOURS[step.choice] if step.choice and place == step.action else None
            share = (value - low) / (high - low) if high > low else 1.0
            end = left + max(4, round(share * (right - left)))
            pen.rounded_rectangle((left, y - half, right, y + half), half // 2, _TROUGH)
            pen.rounded_rectangle((left, y - half, end, y + half), half // 2, taken or _IDLE)
            pen.text((self._left, y), name, taken or _MUTED, font, anchor="lm")
            # Neighbours often differ in the third decimal.
            digits = f"{value:.{3 if abs(value) < 10 else 1 if abs(value) < 1000 else 0}f}"
            pen.text((self._right, y), digits, taken or _MUTED, font, anchor="rm")

    def _draw_curve(self, pen: ImageDraw.ImageDraw) -> None:
        """The best value of recent steps, the newest at the right, over the range they span."""
        left, right = self._left + 8, self._right - 8
        top, bottom = self._bottom - 104, self._bottom - 34
        pen.rounded_rectangle((left - 8, top - 8, right + 8, bottom + 8), 6, _TROUGH)
        best = np.max(self._recent, axis=1)[::-1]
        x = right - (right - left) / (_RECENT_STEPS - 1) * np.arange(len(best))
        y = bottom - (bottom - top) / (np.ptp(best) or 1.0) * (best - best.min())
        points = list(zip(x.tolist(), y.tolist(), strict=True))
        pen.line(points, CHOICE_COLOURS[Choice.BEST], 2, joint="curve")
        pen.circle(points[0], 4, CHOICE_COLOURS[Choice.BEST])


def _font(pixels: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, so that pictures are the same everywhere; 8 pixels can still be read."""
    return ImageFont.load_default(max(8, pixels))
