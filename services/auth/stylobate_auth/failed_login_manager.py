"""Failed logins as events: one for an account and a minute, with how many there were, and only where there were several.

An event for each would let strangers fill the log that hooks read. What is noted here costs a login nothing, whether there is
such an account or not: else the time that it takes would tell.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from stylobate.errors import UnavailableError
from stylobate.outbox import Event
from stylobate.stopping import goes_on

from stylobate_auth.failed_login import FailedLogins
from stylobate_auth.store.port import AuthStore

WINDOW = timedelta(minutes=1)
"""What one event is about: this long, from when the first failure was written down."""
LEAST = 3
"""Failures within it that make an event: fewer are an owner's slips, and a stranger's one try at each of many accounts."""
_MOST_NOTED = 10_000
"""Accounts that a process holds at a time; further ones are in the audit records alone."""
_AT_ONCE = 500
_EVERY_S = 5.0


class FailedLoginManager:
    """Counts them in memory, puts them together in the database, and tells of them.

    :param clock: the time in UTC.
    """

    def __init__(self, store: AuthStore, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._noted: dict[tuple[str, str], FailedLogins] = {}

    def note(self, tenant: str, account_id: str) -> None:
        """Count a failed login of an account."""
        now = self._clock()
        self._add(FailedLogins(tenant, account_id, 1, now, now))

    async def run(self) -> None:
        """Write down what was noted, and tell of what is due. Forever."""
        while goes_on():
            await asyncio.sleep(_EVERY_S)
            with suppress(UnavailableError):  # the database's own check says so
                await self.step()

    async def step(self) -> None:
        """Do so once. Raises DatabaseUnavailableError: what was noted stays to be written down."""
        now = self._clock()
        noted, self._noted = self._noted, {}
        try:
            await self._store.add_failed_logins([*noted.values()], now + WINDOW)
        except BaseException:
            meanwhile, self._noted = self._noted, noted
            for later in meanwhile.values():
                self._add(later)
            raise
        async with self._store.transaction() as transaction:
            due = await transaction.take_failed_logins(now, _AT_ONCE)
            await transaction.emit(*(_event(found) for found in due if found.count >= LEAST))

    def _add(self, failed: FailedLogins) -> None:
        key = failed.tenant, failed.account_id
        found = self._noted.get(key)
        if found is not None:
            self._noted[key] = found.with_later(failed)
        elif len(self._noted) < _MOST_NOTED:
            self._noted[key] = failed


def _event(failed: FailedLogins) -> Event:
    """Return the event that tells of them. It names the account, and nobody who tried."""
    data = {
        "user_id": failed.account_id,
        "count": failed.count,
        "first_at": failed.first_at.isoformat(),
        "last_at": failed.last_at.isoformat(),
    }
    return Event.new("auth.login.failed", failed.account_id, data, source="auth", tenant=failed.tenant, actor="service:auth")
