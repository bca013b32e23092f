"""Names of games, and what is said about wrong ones."""

from __future__ import annotations

import gymnasium
import pytest
from ale_py import roms

from dqn_breakout.environments import python_games  # noqa: F401  (registers the ALE ids)
from dqn_breakout.environments.roms import rom_id
from dqn_breakout.errors import UserError


@pytest.mark.parametrize(
    ("game", "rom"),
    [("Breakout", "breakout"), ("SpaceInvaders", "space_invaders"), ("Qbert", "qbert")],
)
def test_the_rom_of_a_game(game: str, rom: str) -> None:
    assert rom_id(game) == rom


@pytest.mark.xfail(reason="TicTacToe3D is taken to be TicTacToe3d")
def test_every_game_of_gymnasium_has_its_rom() -> None:
    games = [
        identity.removeprefix("ALE/").removesuffix("-v5")
        for identity in gymnasium.registry
        if identity.startswith("ALE/") and identity.endswith("-v5")
    ]
    assert len(games) > 50
    assert {rom_id(game) for game in games} <= set(roms.get_all_rom_ids())


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("Brakeout", "Breakout"),
        ("breakout", "Breakout"),
        ("ALE/Breakout-v5", "Breakout"),
        ("BreakoutNoFrameskip-v4", "Breakout"),
        ("BreakoutDeterministic-v4", "Breakout"),
        ("space_invaders", "SpaceInvaders"),
        ("Space Invaders", "SpaceInvaders"),
        ("SeaQuest", "Seaquest"),
    ],
)
def test_the_nearest_names_are_given(wrong: str, meant: str) -> None:
    with pytest.raises(UserError) as caught:
        rom_id(wrong)
    assert f"There is no Atari game {wrong!r}: did you mean {meant}" in caught.value.message
    assert "ALE/<name>-v5" in caught.value.message


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "xyzzy",
        5,
        pytest.param(
            ["Breakout"], marks=pytest.mark.xfail(raises=TypeError, reason="No name, no sentence")
        ),
    ],
)
def test_where_no_name_is_near_the_message_says_how_many_games_there_are(wrong: object) -> None:
    with pytest.raises(UserError, match=r"There is no Atari game .*: there are \d+ games\."):
        rom_id(wrong)  # type: ignore[arg-type]
