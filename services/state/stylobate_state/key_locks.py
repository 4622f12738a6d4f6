"""Taking turns at a key: changes made from what was read do not spoil each other within one process."""

import asyncio
from collections import deque
from collections.abc import Hashable, Sequence
from types import TracebackType


class KeyLocks:
    """A lock per key, kept only while someone holds or waits for it. Whoever lets go hands it to the next in line."""

    def __init__(self) -> None:
        self._lines: dict[Hashable, deque[asyncio.Future[None]]] = {}

    def __len__(self) -> int:
        """Return how many keys are held."""
        return len(self._lines)

    def hold(self, keys: Sequence[Hashable]) -> "Held":
        """Return a context manager that waits for the keys, one after the other in this order, and holds them.

        Two that want the same keys name them in the same order: else they wait for each other.
        """
        return Held(self, keys)

    def take_free(self, key: Hashable) -> bool:
        """Hold the key until :meth:`release`, if nobody does; return whether it is held now."""
        if key in self._lines:
            return False
        self._lines[key] = deque()
        return True

    async def take(self, key: Hashable) -> None:
        """Wait for the key, in order of arrival, and hold it until :meth:`release`."""
        line = self._lines.get(key)
        if line is None:
            self._lines[key] = deque()
            return
        turn = asyncio.get_running_loop().create_future()
        line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it was handed over at the same moment
                self.release(key)
            raise

    def release(self, key: Hashable) -> None:
        """Hand the key to the next in line who still waits."""
        line = self._lines[key]
        while line:
            turn = line.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del self._lines[key]


class Held:
    """Keys that are held within a block. A class, not a generator: this is on the path of every write."""

    __slots__ = ("_held", "_keys", "_locks")

    def __init__(self, locks: KeyLocks, keys: Sequence[Hashable]) -> None:
        self._locks = locks
        self._keys = keys
        self._held = 0

    async def __aenter__(self) -> None:
        """Take them."""
        try:
            for key in self._keys:
                await self._locks.take(key)
                self._held += 1
        except BaseException:
            self._let_go()
            raise

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Let go of them."""
        self._let_go()

    def _let_go(self) -> None:
        for key in self._keys[: self._held]:
            self._locks.release(key)
