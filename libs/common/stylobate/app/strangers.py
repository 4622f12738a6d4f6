"""Connections of strangers: none of their requests was ever charged to anybody."""

from heapq import heapify, heappop, heapreplace
from typing import Protocol

_FEW = 8
"""Of one address, that are never too many."""


class Stranger(Protocol):
    """What the register of strangers asks of a connection."""

    def give_up(self) -> bool:
        """Let go of the connection, with the answer that it is owed; False: a request of it is about to be admitted."""


class Strangers:
    """How many there are of each address. When they are too many, the address that has most gives up its oldest.

    Who sends a request as soon as it is connected is a stranger for a moment only, and no crowd of others takes its place. While
    more is asked than the process can do, many wait for their turn: those are told that it does not come.
    """

    def __init__(self, most: int) -> None:
        """Begin with nobody."""
        self._most = most
        self._count = 0
        self._by_owner: dict[str, dict[Stranger, None]] = {}

    @property
    def are_many(self) -> bool:
        """Whether there are too many, so that one must be closed."""
        return self._count > self._most // 2

    def add(self, owner: str, stranger: Stranger) -> None:
        """Count a connection that was just accepted."""
        self._by_owner.setdefault(owner, {})[stranger] = None
        self._count += 1
        if self._count > self._most:
            self._thin_out()

    def remove(self, owner: str, stranger: Stranger) -> None:
        """Count it no longer: it has become known, or is gone."""
        theirs = self._by_owner.get(owner)
        if theirs is None or stranger not in theirs:
            return
        del theirs[stranger]
        self._count -= 1
        if not theirs:
            del self._by_owner[owner]

    def _thin_out(self) -> None:
        """Let the greediest make room, for some more than the one: looking for them costs something too."""
        surplus = self._count - self._most * 7 // 8
        crowds = [(-len(theirs), owner) for owner, theirs in self._by_owner.items() if len(theirs) > _FEW]
        heapify(crowds)
        oldest = {owner: iter(tuple(self._by_owner[owner])) for _, owner in crowds}
        while surplus > 0 and crowds:
            size, owner = crowds[0]
            stranger = next(oldest[owner], None)
            if stranger is not None and not stranger.give_up():
                continue
            if stranger is not None:
                self.remove(owner, stranger)
                surplus -= 1
            if stranger is not None and -size - 1 > _FEW:
                heapreplace(crowds, (size + 1, owner))
            else:
                heappop(crowds)
