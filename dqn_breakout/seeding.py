"""Named random streams: every random number of a run comes from (seed, stream name, position).

Two streams never share numbers, adding a stream never shifts another, and a position can be written
down: that is what makes a run repeatable and a resume exact.
"""

from __future__ import annotations

import hashlib


def stream_key(seed: int, name: str) -> int:
    """The key of the stream `name` of a run.

    Args:
        seed: The run's seed, any integer.
        name: The stream's name, such as "replay/sampling".

    Returns:
        A whole number in [0, 2**31), equal on every machine.
    """
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
