from __future__ import annotations

import numpy as np
import pytest

from dqn_breakout.reporting import published_curves


def test_reads_curves_in_the_order_of_the_file(published_csv):
    curves = published_curves.read(published_csv)
    assert list(curves) == [
        "breakout/nature_cnn/DQN",
        "breakout/None/QR-DQN",
        "breakout/impala_cnn/DQN",
        "space_invaders/nature_cnn/DQN",
    ]
    np.testing.assert_array_equal(curves["breakout/nature_cnn/DQN"]["mean_return"], [8, 3, 500])
    np.testing.assert_array_equal(curves["breakout/None/QR-DQN"]["seeds"], [4])
    assert np.isnan(curves["space_invaders/nature_cnn/DQN"]["std_over_seeds"].iloc[0])


@pytest.mark.parametrize(
    ("names", "game", "picked"),
    [
        (["Nature_CNN/dqn"], "Breakout", ["breakout/nature_cnn/DQN"]),
        (["qr-dqn", "impala_cnn"], None, ["breakout/None/QR-DQN", "breakout/impala_cnn/DQN"]),
        ([], "SpaceInvaders", ["space_invaders/nature_cnn/DQN"]),
    ],
)
def test_select_by_enough_words(published_csv, names, game, picked):
    assert published_curves.select(published_curves.read(published_csv), names, game) == picked
