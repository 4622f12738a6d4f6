"""What statements over many rows are given."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any


def columns(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    """Return rows, at least one, as the arrays that ``unnest`` takes."""
    return [list(column) for column in zip(*rows, strict=True)]


def lock_key(purpose: bytes, *names: str) -> int:
    """Return the 64-bit key of an advisory lock; two things on one key only wait for each other, or are told to try again."""
    text = "\0".join(names)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, person=purpose).digest(), "big", signed=True)
