"""A dictionary of bounded size, for what may be forgotten."""

from itertools import islice
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedDict(dict[K, V]):
    """Forgets the eighth that was put there first, when it is full.

    :param most: entries.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def put(self, key: K, value: V) -> None:
        """Keep a value, as the last one to be forgotten."""
        self.pop(key, None)
        if len(self) >= self._most:
            for old in list(islice(self, max(1, self._most // 8))):
                del self[old]
        self[key] = value
