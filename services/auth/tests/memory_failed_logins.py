"""Failed logins in memory: the parts of the memory store and its transactions."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from stylobate_auth.failed_login import FailedLogins


class MemoryFailedLoginChanges:
    """The part of a transaction."""

    tables: Any

    async def take_failed_logins(self, now: datetime, most: int) -> list[FailedLogins]:
        """See the port."""
        due = sorted((at, place) for place, (_, at) in self.tables.failed.items() if at <= now)[:most]
        taken = [(place, self.tables.failed.pop(place)[0]) for _, place in due]
        return [failed for place, failed in taken if place in self.tables.accounts]


class MemoryFailedLoginCounts:
    """The part of the store."""

    _tables: Any

    async def add_failed_logins(self, failed: Sequence[FailedLogins], tell_at: datetime) -> None:
        """See the port."""
        for one in failed:
            place = one.tenant, one.account_id
            known, at = self._tables.failed.get(place, (replace(one, count=0), tell_at))
            first, last = min(known.first_at, one.first_at), max(known.last_at, one.last_at)
            self._tables.failed[place] = replace(one, count=known.count + one.count, first_at=first, last_at=last), at
