"""What waits to be sent, of all connections together."""

from stylobate import telemetry

CALM = 65_536
"""Bytes that may wait for a client without it being behind."""


class Unsent:
    """Counts the bytes that wait for clients that are behind and are held for one client alone.

    A publication waits in many connections and is held once: it is not counted here, but in each connection's own limit.

    :param limit: bytes; beyond it whoever is behind and is sent more is too slow.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._total = 0
        self._gauge = telemetry.gauge("realtime_unsent_bytes", "Answers that wait for clients that are behind.")

    @property
    def is_full(self) -> bool:
        """Whether more waits than may."""
        return self._total > self._limit

    def add(self, size: int) -> None:
        """Count bytes; negative ones were sent, or given up."""
        self._total += size
        self._gauge.set(self._total)
