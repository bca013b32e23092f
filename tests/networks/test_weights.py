"""The short name of a network's weights."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import tensorflow as tf

from dqn_breakout.networks.weights import weights_sha256


def test_it_is_the_hash_of_the_weights_bytes_in_order() -> None:
    variables = [tf.Variable([[1.0, -2.0], [0.5, 4.0]]), tf.Variable([3.0])]
    expected = hashlib.sha256(struct.pack("<5f", 1.0, -2.0, 0.5, 4.0, 3.0)).hexdigest()
    assert weights_sha256(variables) == expected
    assert weights_sha256(variables[::-1]) != expected
    assert weights_sha256([]) == hashlib.sha256().hexdigest()
    before = weights_sha256(variables)
    variables[1].assign([float(np.nextafter(np.float32(3.0), np.float32(4.0)))])
    assert weights_sha256(variables) != before  # The last bit matters.
