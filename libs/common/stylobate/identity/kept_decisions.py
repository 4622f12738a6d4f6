"""Decisions that are remembered: bounded by their number, and by what they name together."""

from collections.abc import Callable
from itertools import islice
from typing import Generic, TypeVar

K = TypeVar("K")
D = TypeVar("D")
_MOST, _MOST_NAMES = 50_000, 200_000


class KeptDecisions(Generic[K, D]):
    """Decisions with the time they were made at, by question. Forgets the eighth that came first, when there are too many.

    :param names: how many names a decision holds: of a subject that is granted much, a thousand.
    """

    def __init__(self, names: Callable[[D], int], *, most: int = _MOST, most_names: int = _MOST_NAMES) -> None:
        self._names = names
        self._most = most
        self._most_names = most_names
        self._kept: dict[K, tuple[D, float]] = {}
        self._named = 0
        self.get = self._kept.get
        """As of a dictionary."""

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._kept)

    def put(self, question: K, decided: tuple[D, float]) -> None:
        """Keep a decision, as the last one to be forgotten."""
        self._drop(question)
        named = self._names(decided[0])
        while self._kept and (len(self._kept) >= self._most or self._named + named > self._most_names):
            for old in list(islice(self._kept, max(1, len(self._kept) // 8))):
                self._drop(old)
        self._kept[question] = decided
        self._named += named

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()
        self._named = 0

    def _drop(self, question: K) -> None:
        decided = self._kept.pop(question, None)
        if decided is not None:
            self._named -= self._names(decided[0])
