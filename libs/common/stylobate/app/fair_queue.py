"""A queue in which nobody waits behind all that one other has brought."""

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class FairQueue(Generic[T]):
    """Gives back one thing of each owner in turn; of one owner, the first first."""

    def __init__(self) -> None:
        """Begin empty."""
        self._lines: dict[str, deque[T]] = {}
        """By owner, in the order of their turns."""

    def __bool__(self) -> bool:
        """Return whether anything waits."""
        return bool(self._lines)

    def put(self, owner: str, thing: T) -> None:
        """Add the thing behind those of its owner."""
        line = self._lines.get(owner)
        if line is None:
            line = self._lines[owner] = deque()
        line.append(thing)

    def pop(self) -> T:
        """Return the first thing of the owner whose turn it is. Raises StopIteration when nothing waits."""
        owner = next(iter(self._lines))
        line = self._lines.pop(owner)
        thing = line.popleft()
        if line:
            self._lines[owner] = line
        return thing
