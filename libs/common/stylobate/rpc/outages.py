"""Says what answers are due to: whatever is unavailable or too slow is logged with its cause, once and then now and then."""

from collections.abc import Callable
from time import monotonic

import grpc
import grpc.aio

from stylobate.bounded_dict import BoundedDict
from stylobate.errors import StylobateError
from stylobate.logs import get_logger

_CODES = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
_AGAIN_S = 10.0
_MAX_KINDS = 1000
_MAX_TEXT = 300
_log = get_logger("app")


class Outages:
    """Notes errors that answer 503 or 504, whatever they are called, and says each kind at most every 10 s.

    :param event: of the log line.
    :param clock: seconds, monotonic.
    """

    def __init__(self, event: str, clock: Callable[[], float] = monotonic) -> None:
        self._event = event
        self._clock = clock
        self._said: BoundedDict[tuple[str, ...], tuple[float, int]] = BoundedDict(_MAX_KINDS)
        """By kind: when it was said last, and how often it was since."""

    def note(self, where: str, error: StylobateError, request_id: str) -> None:
        """Take note of an error; nothing for one that is not an outage.

        :param where: what failed: a method, a route.
        """
        if error.code not in _CODES:
            return
        service = error.metadata.get("service", "")
        kind = (where, error.reason, error.domain, service)
        now = self._clock()
        said_at, since = self._said.get(kind, (-_AGAIN_S, 0))
        if now - said_at < _AGAIN_S:
            self._said[kind] = said_at, since + 1
            return
        self._said.put(kind, (now, 0))
        facts = {"domain": error.domain, "service": service, "cause": cause_of(error), "request_id": request_id}
        said = {name: value for name, value in facts.items() if value}
        _log.warning(self._event, where=where, reason=error.reason, detail=error.detail, times=since + 1, **said)


def cause_of(error: StylobateError) -> str:
    """Return what is behind an error, for a log: what a driver or the transport said; empty when nobody knows."""
    found = error.__cause__
    if isinstance(found, StylobateError):
        return cause_of(found) or f"{found.reason}: {found.detail}"[:_MAX_TEXT]
    if isinstance(found, grpc.aio.AioRpcError):
        return f"{found.code().name}: {found.details()}"[:_MAX_TEXT]
    if found is not None:
        return f"{type(found).__name__}: {found}"[:_MAX_TEXT]
    return error.metadata.get("cause", "")
