from __future__ import annotations

import numpy as np
import pytest

from dqn_breakout.errors import UserError
from dqn_breakout.reporting import published_curves

HEADER = "game,encoder,agent,env_steps,mean_return,std_over_seeds,seeds\n"


def names(curves):
    return [curve.name for curve in curves]


def test_reads_curves_sorted_by_env_steps(published_csv):
    curves = published_curves.read(published_csv)
    assert names(curves) == [
        "breakout/nature_cnn/DQN",
        "breakout/nature_cnn/QR-DQN",
        "breakout/impala_cnn/DQN",
        "space_invaders/nature_cnn/DQN",
    ]
    np.testing.assert_array_equal(curves[0].env_steps, [2000, 4000, 90000])
    np.testing.assert_array_equal(curves[0].mean_return, [3.0, 8.0, 500.0])
    np.testing.assert_array_equal(curves[0].std_over_seeds, [0.5, 1.0, 9.0])
    np.testing.assert_array_equal(curves[1].seeds, [4])
    assert np.isnan(curves[3].std_over_seeds[0])


@pytest.mark.parametrize("name", ["DQN/nature_cnn", "Nature_CNN/dqn", "breakout/nature_cnn/DQN"])
def test_select_by_enough_words(published_csv, name):
    curves = published_curves.read(published_csv)
    assert names(published_curves.select(curves, [name], "Breakout")) == ["breakout/nature_cnn/DQN"]


def test_select_keeps_the_order_of_the_names(published_csv):
    curves = published_curves.read(published_csv)
    picked = published_curves.select(curves, ["qr-dqn", "impala_cnn"], "Breakout")
    assert names(picked) == ["breakout/nature_cnn/QR-DQN", "breakout/impala_cnn/DQN"]


def test_select_all_of_a_game(published_csv):
    curves = published_curves.read(published_csv)
    assert len(published_curves.select(curves, [], "Breakout")) == 3
    assert names(published_curves.select(curves, [], "SpaceInvaders")) == [
        "space_invaders/nature_cnn/DQN"
    ]
    assert len(published_curves.select(curves, [], None)) == 4


@pytest.mark.parametrize(
    ("name", "game", "words"),
    [
        ("DQN", "Breakout", "'DQN' means several curves; give one of breakout/nature_cnn/DQN, br"),
        ("Rainbow", "Breakout", "'Rainbow' is no published curve of Breakout; give one of"),
        ("space_invaders/DQN", "Breakout", "is no published curve of Breakout"),
        ("DQN", "Pong", "There is no published curve of Pong; those given are of breakout, space"),
    ],
)
def test_select_refuses(published_csv, name, game, words):
    curves = published_curves.read(published_csv)
    with pytest.raises(UserError) as error:
        published_curves.select(curves, [name], game)
    assert words in error.value.message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "has no column game, encoder"),
        ("game,encoder,agent,env_steps,mean_return\n", "has no column std_over_seeds, seeds"),
        (HEADER, "holds no curve"),
        (HEADER + "pong,n,DQN,5,1.0,0.1,5\npong,n,DQN,6\n", "Line 3 of"),
        (HEADER + "pong,n,DQN,5.5,1.0,0.1,5\n", "env_steps must be a whole number of 0 or more"),
        (HEADER + "pong,n,DQN,5,high,0.1,5\n", "mean_return must be a number, but is 'high'"),
        (HEADER + "pong,n,DQN,5,nan,0.1,5\n", "mean_return must be a number, but is 'nan'"),
        (HEADER + "pong,n,DQN,5,1.0,0.1,0\n", "seeds must be a whole number of 1 or more"),
        (HEADER + "p,n,DQN,5,1,0,5\np,n,DQN,5,2,0,5\n", "the curve p/n/DQN twice at 5 env_steps"),
        (HEADER + '"pong,n,DQN,5,1.0,0.1,5\n', "is not CSV"),
    ],
)
def test_read_refuses_and_names_the_place(tmp_path, content, words):
    path = tmp_path / "published.csv"
    path.write_text(content)
    with pytest.raises(UserError) as error:
        published_curves.read(path)
    assert words in error.value.message


def test_read_refuses_what_is_no_text(tmp_path):
    path = tmp_path / "published.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is not UTF-8 text"):
        published_curves.read(path)


def test_read_refuses_a_missing_file(tmp_path):
    with pytest.raises(UserError, match="cannot be read: No such file"):
        published_curves.read(tmp_path / "nothing.csv")
