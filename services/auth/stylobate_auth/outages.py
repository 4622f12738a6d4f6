"""When the database could not be asked, as this process noticed: time that nobody is to be blamed for."""

from collections import deque
from collections.abc import Callable
from datetime import timedelta
from time import monotonic

LONGEST = timedelta(minutes=10)
"""What of the past is forgiven at most."""
_NOTICED_S = 2.0
"""Without an answer for so long; the database is asked twice a second."""


class Outages:
    """Remembers the last outages.

    :param clock: seconds, never put back.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._answered_at: float | None = None
        self._gaps: deque[tuple[float, float]] = deque(maxlen=32)

    def answered(self, asked_at: float) -> None:
        """Note that the database answered what was asked then."""
        before, self._answered_at = self._answered_at, asked_at
        if before is not None and asked_at - before > _NOTICED_S:
            self._gaps.append((before, asked_at))

    def within(self, past: timedelta) -> timedelta:
        """Return how much of the time since then was an outage, the present one too, but no more than :data:`LONGEST`."""
        now = self._clock()
        since = now - past.total_seconds()
        gaps = list(self._gaps)
        if self._answered_at is not None and now - self._answered_at > _NOTICED_S:
            gaps.append((self._answered_at, now))
        return min(LONGEST, timedelta(seconds=sum(max(0.0, end - max(begin, since)) for begin, end in gaps)))
