"""Events: written with the change they tell of, numbered by a relay, read as a log.

A service's store writes with an :class:`Outbox`, the service runs a :class:`Relay`, and its :class:`EventLog` is served by the
process's :class:`EventServicer`. PostgreSQL's tables come with ``MigrationSet.of("outbox", "stylobate.outbox")``; the relay's
lease needs the set ``leases``.
"""

from stylobate.outbox.errors import PositionExpiredError
from stylobate.outbox.event import PARTITIONS, Event, LoggedEvent, partition_of
from stylobate.outbox.pattern import EventPattern
from stylobate.outbox.port import EventLog, Outbox
from stylobate.outbox.position import Position
from stylobate.outbox.publisher import CHANNEL
from stylobate.outbox.relay import Relay
from stylobate.outbox.servicer import EventServicer

__all__ = [
    "CHANNEL",
    "PARTITIONS",
    "Event",
    "EventLog",
    "EventPattern",
    "EventServicer",
    "LoggedEvent",
    "Outbox",
    "Position",
    "PositionExpiredError",
    "Relay",
    "partition_of",
]
