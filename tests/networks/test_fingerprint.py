"""The short name of a network's weights."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import tensorflow as tf

from dqn_breakout.networks.fingerprint import weights_sha256


def test_it_is_the_hash_of_the_weights_bytes_in_order() -> None:
    variables = [tf.Variable([[1.0, -2.0], [0.5, 4.0]]), tf.Variable([3.0])]
    expected = hashlib.sha256(struct.pack("<5f", 1.0, -2.0, 0.5, 4.0, 3.0)).hexdigest()
    assert weights_sha256(variables) == expected
    assert weights_sha256(variables[::-1]) != expected
    assert weights_sha256([]) == hashlib.sha256().hexdigest()


def test_the_last_bit_matters() -> None:
    variable = tf.Variable([1.0, 2.0])
    before = weights_sha256([variable])
    variable.assign([1.0, float(np.nextafter(np.float32(2.0), np.float32(3.0)))])
    after = weights_sha256([variable])
    variable.assign([1.0, 2.0])
    assert weights_sha256([variable]) == before != after
