"""Events: written with the change they tell of, numbered by a relay, read as a log.

A service writes with :class:`Outbox` (or its own statement) into ``outbox_event``, runs a :class:`Relay`, and serves its
:class:`EventLog` through the process's :class:`EventServicer`. The tables come with ``MigrationSet.of("outbox",
"stylobate.outbox")``; the relay's lease needs the set ``leases``.
"""

from stylobate.outbox.errors import (
    EventInvalidError,
    EventPatternInvalidError,
    EventSourceUnknownError,
    PositionExpiredError,
    PositionInvalidError,
)
from stylobate.outbox.event import PARTITIONS, Event, partition_of
from stylobate.outbox.log import EventLog, LogPage
from stylobate.outbox.numbering import LoggedEvent, Numbering
from stylobate.outbox.outbox import Outbox
from stylobate.outbox.pattern import EventPattern
from stylobate.outbox.position import Position
from stylobate.outbox.publisher import CHANNEL
from stylobate.outbox.relay import Relay
from stylobate.outbox.servicer import EventServicer
from stylobate.outbox.watch import LogWatch

__all__ = [
    "CHANNEL",
    "PARTITIONS",
    "Event",
    "EventInvalidError",
    "EventLog",
    "EventPattern",
    "EventPatternInvalidError",
    "EventServicer",
    "EventSourceUnknownError",
    "LogPage",
    "LogWatch",
    "LoggedEvent",
    "Numbering",
    "Outbox",
    "Position",
    "PositionExpiredError",
    "PositionInvalidError",
    "Relay",
    "partition_of",
]
