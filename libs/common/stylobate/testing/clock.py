"""A clock that moves only when told."""

from datetime import UTC, datetime, timedelta

_START = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)


class FakeClock:
    """Hand it in wherever ``Callable[[], datetime]`` is asked for: calling it gives the time (UTC).

    ``clock.seconds`` stands in for ``time.monotonic`` and ``loop.time``.
    """

    def __init__(self, now: datetime = _START) -> None:
        self._start = now
        self._now = now

    def __call__(self) -> datetime:
        """Return the time it was set to."""
        return self._now

    def seconds(self) -> float:
        """Return the seconds that went by since the clock was made."""
        return (self._now - self._start).total_seconds()

    def advance(self, by: timedelta) -> datetime:
        """Let time go by and return the new time. Raises ValueError for a step back; see :meth:`set`."""
        if by < timedelta():
            raise ValueError("time does not run backwards; use set() for a clock that was put back")
        self._now += by
        return self._now

    def set(self, now: datetime) -> None:
        """Put the clock, backwards too."""
        self._now = now
