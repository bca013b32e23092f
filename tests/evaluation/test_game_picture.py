from __future__ import annotations

import itertools

import numpy as np
import pytest

from dqn_breakout.environments.spec import EnvironmentSpec
from dqn_breakout.evaluation.game_picture import CHOICE_COLOURS, GamePicture
from dqn_breakout.evaluation.shown_game import Choice, ShownStep

ACTIONS = ("NOOP", "FIRE", "RIGHT", "LEFT")


def step_of(
    values: list[float],
    action: int | None = 1,
    choice: Choice | None = Choice.BEST,
    number: int = 0,
) -> ShownStep:
    screen = np.random.default_rng(number).integers(0, 256, (210, 160, 3)).astype(np.uint8)
    return ShownStep(screen, np.array(values, np.float32), action, choice, 12.0, number, 3, False)


def panel_of(
    actions: tuple[str, ...] = ACTIONS, screen_shape: tuple[int, ...] = (210, 160)
) -> GamePicture:
    spec = EnvironmentSpec("Breakout", actions, 4, 15.0, None, ("nature",), {})
    return GamePicture(spec, "nature protocol", screen_shape)


def picture_of(step: ShownStep) -> np.ndarray:
    return np.asarray(panel_of().draw(step))


def bars_of(picture: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Where the bars have this very colour, bool `(height, width)`."""
    return np.asarray((picture[193:509, 522 + 110 : 850] == colour).all(-1))


@pytest.mark.parametrize("screen_shape", [(210, 160), (250, 160), (211, 161), (400, 600), (96, 96)])
def test_sides_are_even(screen_shape: tuple[int, int]):
    size = panel_of(screen_shape=screen_shape).size
    assert (size[0] % 2, size[1] % 2) == (0, 0)
    assert 450 < size[1] < 1000


def test_the_screen_is_enlarged_by_nearest_neighbour():
    step = step_of([0, 1, 2, 3])
    shown = picture_of(step)[21 : 21 + 630, 21 : 21 + 480]
    np.testing.assert_array_equal(shown, step.screen.repeat(3, axis=0).repeat(3, axis=1))


@pytest.mark.parametrize("choice", Choice)
def test_the_action_taken_stands_out_in_the_colour_of_its_reason(choice: Choice):
    rows = []
    for action in range(4):
        picture = picture_of(step_of([0, 1, 2, 3], action, choice))
        rows.append(np.flatnonzero(bars_of(picture, CHOICE_COLOURS[choice]).any(-1)))
        for other in set(Choice) - {choice}:
            assert not bars_of(picture, CHOICE_COLOURS[other]).any()
    # Each action has a row of its own, one below the other.
    for above, below in itertools.pairwise(rows):
        assert above.max() < below.min()


def test_nothing_stands_out_after_the_end():
    picture = picture_of(step_of([0, 1, 2, 3], None, None))
    assert not any(bars_of(picture, colour).any() for colour in CHOICE_COLOURS.values())


def test_bars_are_longer_for_higher_values():
    pictures = [picture_of(step_of([-2, 0.5, 0.75, 3], action)) for action in range(4)]
    widths = [bars_of(each, CHOICE_COLOURS[Choice.BEST]).sum(-1).max() for each in pictures]
    assert widths == sorted(widths)
    assert widths[0] < widths[1] < widths[3]


def test_bars_and_numbers_are_those_of_the_step_drawn():
    panel, step = panel_of(), step_of([3, 1, 2, 0])
    panel.draw(step_of([0, 2, 1, 3]))
    # The range of both together is that of each, so that alone it looks the same.
    after, alone = np.asarray(panel.draw(step)), picture_of(step)
    np.testing.assert_array_equal(after[193:509, 522:], alone[193:509, 522:])


def test_equal_values_and_many_actions_can_be_drawn():
    panel = panel_of(tuple(f"DOWNRIGHTFIRE{place}" for place in range(18)))
    for number in range(10):
        picture = panel.draw(step_of([-123456.0] * 18, 17, Choice.RANDOM, number))
    assert picture.size == panel.size
