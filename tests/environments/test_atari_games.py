"""Names of games, and what is said about wrong ones."""

from __future__ import annotations

import gymnasium
import pytest
from ale_py import roms

from dqn_breakout.environments.atari_games import rom_id
from dqn_breakout.errors import UserError


def test_every_game_of_gymnasium_has_its_rom() -> None:
    found = {
        spec.name: rom_id(spec.name)
        for spec in gymnasium.registry.values()
        if spec.namespace == "ALE" and spec.version == 5
    }
    assert len(found) > 50
    assert set(found.values()) <= set(roms.get_all_rom_ids())
    assert (found["SpaceInvaders"], found["TicTacToe3D"]) == ("space_invaders", "tic_tac_toe_3d")


RULE = (
    " create_environment.game takes the names of gymnasium's ALE/<name>-v5 ids, such as Breakout "
    "or SpaceInvaders."
)
PLAIN = (
    " Give the plain name, without what stands around it in gymnasium's ALE/<name>-v5 ids: frames "
    "are skipped once, by create_environment.frame_skip."
)


@pytest.mark.parametrize(
    ("wrong", "hint", "rule"),
    [
        ("Brakeout", "did you mean Breakout", RULE),
        ("breakout", "did you mean Breakout?", RULE),
        ("space_invaders", "did you mean SpaceInvaders?", RULE),
        ("Space Invaders", "did you mean SpaceInvaders?", RULE),
        ("ALE/Breakout-v5", "did you mean Breakout?", PLAIN),
        ("BreakoutDeterministic-v4", "did you mean Breakout?", PLAIN),
        ("SpaceInvadersNoFrameskip-v4", "did you mean SpaceInvaders?", PLAIN),
        ("Pong-ramDeterministic-v0", "did you mean Pong?", PLAIN),
        ("BrakeoutNoFrameskip-v4", "did you mean Breakout", RULE),
        # ale-py has its ROM, for two players.
        ("Warlords", "", RULE),
        ("", "there are 104 games.", RULE),
        ("xyzzy", "there are 104 games.", RULE),
        (None, "there are 104 games.", RULE),
        (["Breakout"], "there are 104 games.", RULE),
    ],
)
def test_a_wrong_name_is_refused_with_the_nearest(wrong: object, hint: str, rule: str) -> None:
    with pytest.raises(UserError) as caught:
        rom_id(wrong)  # type: ignore[arg-type]
    assert caught.value.message.startswith(f"There is no Atari game {wrong!r}: {hint}")
    assert caught.value.message.endswith(rule)
