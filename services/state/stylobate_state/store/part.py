"""A part of a listing, bounded in number and in bytes of data."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")

CHUNK = 64
"""How many rows are asked for at once: what a database makes text of beyond the bound is at most as many."""


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """What a listing found up to its bounds."""

    items: Sequence[T]
    has_more: bool
    """Whether there is something behind the last item."""


class _Data(Protocol):
    @property
    def data(self) -> bytes: ...


D = TypeVar("D", bound=_Data)


def bounded(found: Sequence[D], limit: int, max_bytes: int) -> Part[D]:
    """Return as much of what lies in memory as fits the bounds."""
    size = 0
    for count, item in enumerate(found):
        size += len(item.data)
        if count and (count == limit or size > max_bytes):
            return Part(found[:count], has_more=True)
    return Part(found, has_more=False)


async def gather(limit: int, max_bytes: int, more: Callable[[int, int, T | None], Awaitable[Sequence[tuple[T, int]]]]) -> Part[T]:
    """Ask for one chunk after the other until a bound is reached. The first item is taken whatever its size.

    :param more: called with how many at most, how many bytes are left, and the last item so far; returns items with the size of
        their data, in order, and may leave out those before which as many bytes were used up already.
    """
    items: list[T] = []
    size = 0
    while True:
        step = min(CHUNK, limit + 1 - len(items))
        found = await more(step, max(max_bytes - size, 0), items[-1] if items else None)
        for item, length in found:
            if items and (len(items) == limit or size + length > max_bytes):
                return Part(items, has_more=True)
            items.append(item)
            size += length
        if not found or (len(found) < step and size <= max_bytes):
            return Part(items, has_more=False)
