"""Leases in memory, for tests."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from stylobate.leases.port import LeaseStanding


@dataclass(frozen=True, slots=True)
class _Row:
    holder: str
    token: int
    expires_at: datetime


class MemoryLeaseStore:
    """The port in a dictionary.

    :param clock: the time that counts.
    """

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._rows: dict[str, _Row] = {}

    async def acquire(self, name: str, holder: str, ttl: timedelta) -> int | None:
        """See the port."""
        now, row = self._clock(), self._rows.get(name)
        if row is not None and now < row.expires_at <= now + 2 * ttl:
            return None
        token = 1 if row is None else row.token + 1
        self._rows[name] = _Row(holder, token, now + ttl)
        return token

    async def renew(self, name: str, holder: str, token: int, ttl: timedelta) -> bool:
        """See the port."""
        now, row = self._clock(), self._rows.get(name)
        if row is None or (row.holder, row.token) != (holder, token) or row.expires_at <= now:
            return False
        self._rows[name] = _Row(holder, token, now + ttl)
        return True

    async def release(self, name: str, holder: str, token: int) -> None:
        """See the port."""
        row = self._rows.get(name)
        if row is not None and (row.holder, row.token) == (holder, token):
            self._rows[name] = _Row(holder, token, self._clock())

    async def standing(self, name: str) -> LeaseStanding | None:
        """See the port."""
        row = self._rows.get(name)
        return None if row is None else LeaseStanding(row.holder, row.expires_at - self._clock())
