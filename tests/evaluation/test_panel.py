from __future__ import annotations

import numpy as np
import pytest

from dqn_breakout.evaluation.panel import _CHOICE_COLOURS, Panel
from dqn_breakout.evaluation.shown_game import Choice, ShownStep

ACTIONS = ("NOOP", "FIRE", "RIGHT", "LEFT")


def step_of(
    values: list[float],
    action: int | None = 1,
    choice: Choice | None = Choice.BEST,
    number: int = 0,
) -> ShownStep:
    screen = np.random.default_rng(number).integers(0, 256, (210, 160, 3)).astype(np.uint8)
    return ShownStep(screen, np.array(values, np.float32), action, choice, 12.0, number, 3)


def panel_of(actions: tuple[str, ...] = ACTIONS, scale: int = 3) -> Panel:
    return Panel("Breakout", "nature protocol", actions, (210, 160), 15.0, scale)


def pixels_of(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Rows of the bars that have this very colour."""
    left = 480 + 2 * 21
    bars = picture[172 : 630 + 21 - 142, left:]
    return np.flatnonzero((bars == colour).all(-1).any(-1))


@pytest.mark.parametrize("scale", [2, 3])
@pytest.mark.parametrize("screen_shape", [(210, 160), (250, 160), (211, 161)])
def test_sides_are_even(scale: int, screen_shape: tuple[int, int]):
    panel = Panel("Game", "protocol", ACTIONS, screen_shape, 15.0, scale)
    assert panel.size[0] % 2 == 0
    assert panel.size[1] % 2 == 0


def test_the_screen_is_enlarged_by_nearest_neighbour():
    step = step_of([0, 1, 2, 3])
    picture = np.asarray(panel_of().draw(step))
    shown = picture[21 : 21 + 630, 21 : 21 + 480]
    np.testing.assert_array_equal(shown, step.screen.repeat(3, axis=0).repeat(3, axis=1))


def test_the_action_taken_stands_out_in_the_colour_of_its_reason():
    for choice, colour in _CHOICE_COLOURS.items():
        rows = {}
        for action in range(4):
            picture = np.asarray(panel_of().draw(step_of([0, 1, 2, 3], action, choice)))
            rows[action] = pixels_of(picture, colour)
            for other in _CHOICE_COLOURS.values():
                assert other == colour or pixels_of(picture, other).size == 0
        # Each action has a row of its own, one below the other.
        for action in range(3):
            assert rows[action].max() < rows[action + 1].min()


def test_nothing_stands_out_after_the_end():
    picture = np.asarray(panel_of().draw(step_of([0, 1, 2, 3], None, None)))
    for colour in _CHOICE_COLOURS.values():
        assert pixels_of(picture, colour).size == 0


def test_bars_are_longer_for_higher_values():
    colour = _CHOICE_COLOURS[Choice.BEST]
    widths = []
    for action in range(4):
        picture = np.asarray(panel_of().draw(step_of([-2, 0.5, 0.75, 3], action)))
        row = picture[172:509, 480 + 42 :]
        widths.append(int((row == colour).all(-1).sum(-1).max()))
    assert widths == sorted(widths)
    assert widths[0] < widths[1] < widths[3]


def test_equal_values_and_many_actions_can_be_drawn():
    names = tuple(f"DOWNRIGHTFIRE{place}" for place in range(18))
    panel = panel_of(names, scale=2)
    for number in range(10):
        picture = panel.draw(step_of([-123456.0] * 18, 17, Choice.RANDOM, number))
    assert picture.size == panel.size
