"""How processors are shared, in processes that have no threads yet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PROGRAM = """
import dqn_breakout, sys
from dqn_breakout import config, experiment, threads
from dqn_breakout.errors import UserError
import tensorflow as tf
try:
    for number, lanes in ((16, 2), (2, 2), (1, 2), (6, 4), (8, None)):
        bindings = [] if lanes is None else [f"create_q_network.convolution_lanes = {lanes}"]
        config.parse([], bindings)
        threads.share(number)
        threading = tf.config.threading
        print(threading.get_intra_op_parallelism_threads(),
              threading.get_inter_op_parallelism_threads())
    config.parse([], ["create_q_network.convolution_lanes = 0"])
    threads.share()
except UserError as error:
    print(error.message)
"""


@pytest.mark.slow
def test_each_lane_has_a_thread_and_games_and_targets_one_more_each() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    *shared, refused = ended.stdout.splitlines()
    assert shared == ["8 4", "1 4", "1 4", "1 6", "8 3"]
    assert refused.startswith("create_q_network.convolution_lanes must be ")
