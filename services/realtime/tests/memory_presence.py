"""Presence within one process, for tests."""

from collections.abc import Callable, Sequence
from datetime import timedelta

from stylobate_realtime.presence import PresenceEntry
from stylobate_realtime.protocol.messages import ClientInfo


class MemoryPresence:
    """Entries in a dictionary.

    :param clock: seconds, monotonic.
    """

    def __init__(self, ttl: timedelta, clock: Callable[[], float]) -> None:
        self._ttl_s = ttl.total_seconds()
        self._clock = clock
        self._topics: dict[str, dict[str, tuple[ClientInfo, float]]] = {}

    async def put(self, entries: Sequence[PresenceEntry]) -> None:
        """Add or renew."""
        expires = self._clock() + self._ttl_s
        for entry in entries:
            self._topics.setdefault(entry.topic, {})[entry.info.client] = (entry.info, expires)

    async def remove(self, topic: str, client: str) -> None:
        """Remove."""
        self._topics.get(topic, {}).pop(client, None)

    async def entries(self, topic: str) -> dict[str, ClientInfo]:
        """Return who is there."""
        now = self._clock()
        return {client: info for client, (info, expires) in self._topics.get(topic, {}).items() if expires > now}
