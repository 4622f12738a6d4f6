"""Outcomes of checks as rows of numbers: as the store's script writes them they go to the caller, and nobody between reads them.

A row is what became of a check: how it ended, the level that its numbers are of, what is left there, milliseconds until that is
full again, milliseconds until a retry can pass, and flags for the service itself; of several levels then for each of them what is
left, and the milliseconds until it is full again. The rows of a group stand one behind the other in one MessagePack array.
"""

from collections.abc import Sequence
from itertools import chain

import msgspec

REFUSED, ALLOWED, BANNED = range(3)
"""How a check ended; the last: refused because a subject is banned."""
FIXED = 6
"""Numbers of a row before those of its levels."""
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[int]).decode


def encode_rows(rows: Sequence[Sequence[int]]) -> bytes:
    """Return rows as they are sent."""
    return _encode([*chain.from_iterable(rows)])


def decode_rows(data: bytes) -> list[int]:
    """Return the numbers of all rows; each has as many. Raises ValueError: it is something else."""
    return _decode(data)
