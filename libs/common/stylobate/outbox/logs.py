"""Which logs keep the events of a service, as whoever reads them asks it."""

from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from stylobate.api.events.v1.event_service_pb2 import ListLogsRequest
from stylobate.errors import StylobateError
from stylobate.outbox.pattern import EventPattern
from stylobate.rpc import from_rpc_error

_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True)
class LogName:
    """One log of a service."""

    source: str
    """What reads call it; the first one is named like the service."""
    types: tuple[EventPattern, ...] = ()
    """The types of events that are in it; none: all of the service's."""

    def has(self, pattern: EventPattern) -> bool:
        """Return whether events of a pattern may be in it."""
        return not self.types or any(kind.within(pattern) is not None for kind in self.types)


async def logs_of(events: Any, service: str) -> list[LogName]:
    """Return the logs of a service.

    :param events: a stub of its EventService. :raises StylobateError: it does not answer.
    """
    try:
        found = await events.ListLogs(ListLogsRequest(service=service), timeout=_WITHIN_S)
    except (StylobateError, grpc.aio.AioRpcError) as error:
        failed = from_rpc_error(error) if isinstance(error, grpc.aio.AioRpcError) else error
        if failed.code is grpc.StatusCode.UNIMPLEMENTED:  # of the release before, which has one
            return [LogName(service)]
        raise failed from error
    return [LogName(log.source, tuple(map(EventPattern.parse, log.types))) for log in found.logs]
