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
    [
        ("Breakout", "breakout"),
        ("SpaceInvaders", "space_invaders"),
        ("Qbert", "qbert"),
        ("TicTacToe3D", "tic_tac_toe_3d"),
    ],
)
def test_the_rom_of_a_game(game: str, rom: str) -> None:
    assert rom_id(game) == rom


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


@pytest.mark.parametrize("game", ["Combat", "Joust", "MazeCraze", "Warlords"])
def test_games_that_gymnasium_does_not_have_are_refused(game: str) -> None:
    """ale-py has their ROMs, for two players."""
    with pytest.raises(UserError, match=f"There is no Atari game '{game}'"):
        rom_id(game)


@pytest.mark.parametrize(
    ("wrong", "plain"),
    [
        ("ALE/Breakout-v5", "Breakout"),
        ("BreakoutDeterministic-v4", "Breakout"),
        ("SpaceInvadersNoFrameskip-v4", "SpaceInvaders"),
        ("Pong-ramDeterministic-v0", "Pong"),
        ("Qbert-v4", "Qbert"),
    ],
)
def test_of_a_full_id_the_plain_name_is_asked_for_and_why(wrong: str, plain: str) -> None:
    with pytest.raises(UserError) as caught:
        rom_id(wrong)
    assert caught.value.message == (
        f"There is no Atari game '{wrong}': did you mean {plain}? Give the plain name, without "
        "what stands around it in gymnasium's ALE/<name>-v5 ids: frames are skipped once, by "
        "create_environment.frame_skip."
    )


@pytest.mark.parametrize("wrong", ["", "xyzzy", 5, None, ["Breakout"], {"Pong": 1}])
def test_where_no_name_is_near_the_message_says_how_many_games_there_are(wrong: object) -> None:
    with pytest.raises(UserError, match=r"There is no Atari game .*: there are \d+ games\."):
        rom_id(wrong)  # type: ignore[arg-type]
