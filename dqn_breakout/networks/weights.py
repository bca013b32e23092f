"""A network's weights as one short name, to tell whether two are the same to the last bit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import tensorflow as tf


def weights_sha256(variables: Iterable[tf.Variable]) -> str:
    """SHA-256 over the variables' values in order: little-endian bytes, C order.

    Args:
        variables: `q_network.variables`, say.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for variable in variables:
        values = np.ascontiguousarray(variable.numpy())
        digest.update(values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()
