"""Leases in memory, for tests."""

from collections.abc import Callable, Mapping
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

    async def renew(self, holder: str, tokens: Mapping[str, int], ttl: timedelta) -> set[str]:
        """See the port."""
        now = self._clock()
        ours = {
            name: _Row(holder, token, now + ttl) for name, token in tokens.items() if self._is_alive(name, holder, token, now)
        }
        self._rows.update(ours)
        return set(ours)

    def _is_alive(self, name: str, holder: str, token: int, now: datetime) -> bool:
        row = self._rows.get(name)
        return row is not None and (row.holder, row.token) == (holder, token) and row.expires_at > now

    async def release(self, name: str, holder: str, token: int) -> None:
        """See the port."""
        row = self._rows.get(name)
        if row is not None and (row.holder, row.token) == (holder, token):
            self._rows[name] = _Row(holder, token, self._clock())

    async def standing(self, name: str) -> LeaseStanding | None:
        """See the port."""
        row = self._rows.get(name)
        return None if row is None else LeaseStanding(row.holder, row.expires_at - self._clock())
