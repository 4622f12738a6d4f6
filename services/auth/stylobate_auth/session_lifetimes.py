"""How long sessions and what belongs to them hold."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class SessionLifetimes:
    """Of every session."""

    sliding: timedelta
    """How long one lives that nobody refreshes."""
    absolute: timedelta
    """How long one lives, however often it is refreshed."""
    grace: timedelta
    """How long a refresh token that was used is answered with the same next one."""

    def end(self, opened_at: datetime, now: datetime) -> datetime:
        """Return when a session ends that is refreshed now and never again."""
        return min(now + self.sliding, opened_at + self.absolute)
