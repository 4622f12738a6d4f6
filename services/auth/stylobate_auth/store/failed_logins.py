"""What auth keeps of failed logins until they are told: its part of the port."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from stylobate_auth.failed_login import FailedLogins


class FailedLoginChanges(Protocol):
    """What a transaction does with them."""

    async def take_failed_logins(self, now: datetime, most: int) -> list[FailedLogins]:
        """Remove some that are to be told by now; return those of accounts that there are. Nobody else gets them."""


class FailedLoginCounts(Protocol):
    """How they are counted."""

    async def add_failed_logins(self, failed: Sequence[FailedLogins], tell_at: datetime) -> None:
        """Add failed logins, each of another account, to those that are kept of it.

        :param tell_at: when those are told of whom none are kept; the others stay at their time.
        """
