"""Stacks of four frames, worked out by hand."""

from __future__ import annotations

import numpy as np

from dqn_breakout.environments.frame_stack import STACK_FRAMES
from tests.scripted_games import Move, Script, ScriptedGames, frame_of, scripted_environment

LONG = Script(1, [Move(0, 1)] * 4 + [Move(0, 0, "terminated")])
SHORT = Script(1, [Move(0, 1, "truncated")])

# The numbers of the frames in the stack at each step, oldest first.
OF_LONG = [
    [0, 0, 0, 0],
    [0, 0, 0, 1],
    [0, 0, 1, 2],
    [0, 1, 2, 3],
    [1, 2, 3, 4],
    [2, 3, 4, 5],  # LAST
    [6, 6, 6, 6],
    [6, 6, 6, 7],
    [6, 6, 7, 8],
]
OF_SHORT = [
    [0, 0, 0, 0],
    [0, 0, 0, 1],  # LAST
    [2, 2, 2, 2],
    [2, 2, 2, 3],  # LAST
    [4, 4, 4, 4],
    [4, 4, 4, 5],
    [6, 6, 6, 6],
    [6, 6, 6, 7],
    [8, 8, 8, 8],
]


def test_stacks_of_two_games_side_by_side() -> None:
    games = ScriptedGames([[LONG], [SHORT]])
    environment = scripted_environment(games).pyenv
    spec = environment.observation_spec()
    assert (spec.shape, spec.dtype, spec.minimum, spec.maximum) == ((2, 3, 4), np.uint8, 0, 255)
    assert STACK_FRAMES == 4
    stacks = [environment.reset().observation]
    stacks += [environment.step(np.zeros(2, np.int32)).observation for _ in OF_LONG[1:]]
    [(_, seeds)] = games.seeds
    # A reset in the middle of a game starts the stack anew.
    anew = environment.reset().observation[0]
    first = frame_of(0, games.seeds[1][1][0], 0)
    np.testing.assert_array_equal(anew, np.stack([first] * 4, axis=-1))
    # Compared only now: stacks that were given must not change afterwards.
    for place, numbers in enumerate([OF_LONG, OF_SHORT]):
        for stack, steps in zip(stacks, numbers, strict=True):
            expected = [frame_of(place, seeds[place], step) for step in steps]
            np.testing.assert_array_equal(stack[place], np.stack(expected, axis=-1))
            assert stack.dtype == np.uint8
