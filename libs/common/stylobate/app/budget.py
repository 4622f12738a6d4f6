"""Bytes that all connections of a listener may hold together, and who gives way when it is too much."""

from collections import Counter
from collections.abc import Callable
from typing import Protocol

_YOUNG_S = 1.0
_SMALL = 32 * 1024
"""Bytes of a whole request that is taken in any case, with what it costs beside."""


class Holder(Protocol):
    """What a budget asks of a connection."""

    def give_way(self, *, sending: bool) -> None:
        """End the connection: all of them hold too much together."""


class Claim:
    """What a connection holds of a budget: whose it is, since when, how much, and how much has moved meanwhile."""

    __slots__ = ("begun", "is_whole", "moved", "since", "size", "whose")

    def __init__(self, whose: str, since: float, begun: int) -> None:
        self.whose = whose
        self.since = since
        self.begun = begun
        self.size = 0
        self.moved = begun
        self.is_whole = False

    def rank(self, now: float) -> tuple[bool, float, float]:
        """Return by how much this claim is rather kept than others: the young, then the quick, then the late ones."""
        age = now - self.since
        return age < _YOUNG_S, (self.moved - self.begun) / (age + 1.0), self.since


class Budget:
    """The address that holds most gives way first, and of its connections those that have made the least progress.

    A request that is whole never does: its bytes count until it is answered, and a quarter of the budget is for others even then.
    """

    def __init__(self, limit: int, whose: Callable[[Holder], str], *, sending: bool) -> None:
        """Begin empty.

        :param whose: returns whom a connection is counted for.
        :param sending: passed on to who gives way.
        """
        self._limit = limit
        self._whose = whose
        self._sending = sending
        self._claims: dict[Holder, Claim] = {}
        self._held: Counter[str] = Counter()
        """By address."""
        self._used = 0
        self._whole = 0
        """Of that, by requests that are whole."""

    def hold(self, connection: Holder, size: int, moved: int, now: float) -> None:
        """Note what the connection holds and how much has moved on it; others, or itself, give way when all is too much."""
        claim = self._claims.get(connection)
        if claim is None:
            claim = self._claims[connection] = Claim(self._whose(connection), now, moved)
        elif claim.is_whole:  # and the next one is coming
            claim.is_whole = False
            self._whole -= claim.size
        self._used += size - claim.size
        self._held[claim.whose] += size - claim.size
        claim.size = size
        claim.moved = moved
        if self._used > self._limit and self._used - self._whole > self._room:
            self._relieve(now)

    def settle(self, connection: Holder) -> bool:
        """Note that what the connection holds is a whole request; False when there is no room to keep it until it is answered.

        Room that others have taken is not a reason to refuse one, until twice the budget is used.
        """
        claim = self._claims.get(connection)
        if claim is None:
            return True
        if claim.size > _SMALL and self._whole + claim.size > self._limit:
            is_greedy = self._held[claim.whose] > self._limit // 8
            if is_greedy or self._whole + claim.size > 2 * self._limit:
                return False
        if not claim.is_whole:
            claim.is_whole = True
            self._whole += claim.size
        return True

    def release(self, connection: Holder) -> None:
        """Let the connection hold nothing."""
        claim = self._claims.pop(connection, None)
        if claim is None:
            return
        self._used -= claim.size
        self._held[claim.whose] -= claim.size
        if claim.is_whole:
            self._whole -= claim.size
        if self._held[claim.whose] <= 0:
            del self._held[claim.whose]

    @property
    def _room(self) -> int:
        """What may be held beside the requests that are whole."""
        return max(self._limit * 3 // 4 - self._whole, self._limit // 4)

    def _relieve(self, now: float) -> None:
        """Let some give way until there is room again, and some more: looking through all of them costs something too."""
        enough = self._room - self._limit // 8
        held = dict(self._held)
        unfinished = [found for found, claim in self._claims.items() if not claim.is_whole]
        unfinished.sort(key=lambda found: (-held[self._claims[found].whose], *self._claims[found].rank(now)))
        for connection in unfinished:
            if self._used - self._whole <= enough:
                break
            self.release(connection)
            connection.give_way(sending=self._sending)
