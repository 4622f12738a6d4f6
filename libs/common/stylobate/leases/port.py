"""The port to where leases are kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol


@dataclass(frozen=True, slots=True)
class LeaseStanding:
    """A lease as it is kept."""

    holder: str
    remaining: timedelta
    """Until it ends, by the store's clock; negative since it ended."""


class LeaseStore(Protocol):
    """One row for each name. Every method is one atomic step for each lease, and the clock that counts is the store's.

    A lease that lasts longer than twice the ttl was written while that clock was ahead, and counts as free. Any method raises
    UnavailableError without an answer: a change may have happened then.
    """

    async def acquire(self, name: str, holder: str, ttl: timedelta) -> int | None:
        """Take the lease if it is free, and return its token; None while it is held, by this holder too.

        Of many that ask at once one gets it. The first token of a name is 1, and each is higher than all before.
        """

    async def renew(self, holder: str, tokens: Mapping[str, int], ttl: timedelta) -> set[str]:
        """Let leases last for a ttl from now, each by itself; return the names of those that do.

        One that has ended, or is not this holder's under its token, stays as it is.

        :param tokens: by name.
        """

    async def release(self, name: str, holder: str, token: int) -> None:
        """End it now; changes nothing when it is not this holder's under this token."""

    async def standing(self, name: str) -> LeaseStanding | None:
        """Return the lease, one that has ended too; None when nobody ever took it."""
