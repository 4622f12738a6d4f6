"""The presence port: who is subscribed to a channel, on every node."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from stylobate_realtime.protocol.messages import ClientInfo


class PresenceEntry(Struct, frozen=True, gc=False):
    """One connection in one channel."""

    topic: str
    info: ClientInfo


class Presence(Protocol):
    """Keeps an entry per connection and topic. A cache: what is lost comes back at the next refresh."""

    async def put(self, entries: Sequence[PresenceEntry]) -> None:
        """Add or renew entries; each expires by itself a while after its last renewal.

        :raises RealtimeUnavailableError: nothing is sure to have been kept.
        """

    async def remove(self, topic: str, client: str) -> None:
        """Remove an entry, at once and for every node; nothing happens when there is none. Raises RealtimeUnavailableError."""

    async def entries(self, topic: str) -> dict[str, ClientInfo]:
        """Return the entries that have not expired, by client id. Raises RealtimeUnavailableError."""
