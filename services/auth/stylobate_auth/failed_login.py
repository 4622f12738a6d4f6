"""Failed logins of an account, counted, as plain data."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self


@dataclass(frozen=True, slots=True)
class FailedLogins:
    """Those of one account within some time. Times are in UTC."""

    tenant: str
    account_id: str
    count: int
    first_at: datetime
    last_at: datetime

    def with_later(self, later: Self) -> Self:
        """Return these and later ones together."""
        return replace(self, count=self.count + later.count, last_at=later.last_at)
