"""The store of counts: a port with an adapter for Redis and one in memory."""

from collections.abc import Sequence
from typing import Protocol

from stylobate_ratelimit.model import CheckGroup, GroupOutcome


class LimitStore(Protocol):
    """Counts charges.

    Atomicity: a batch is one step; no other batch of any process comes between its checks. Order: checks are decided in
    the order given, groups first to last, and each sees what the earlier ones charged. All or none: a check is charged at
    every level, or at no level when one of them refuses. Time is the store's own clock, the same for every process that
    shares it; when it is put back, nobody is refused for longer than a period, however far it was ahead. Expiry: a subject
    that is left alone for as long as its limit needs to be full again is forgotten, whatever happened before. Missing: a
    subject that is not known has its whole limit. Counts of two tenants, of two limits (name, algorithm, a window's period)
    and of two subjects are apart.
    """

    async def charge(self, groups: Sequence[CheckGroup]) -> list[GroupOutcome]:
        """Decide and charge a batch.

        :param groups: at most 256 checks together; names of a group's levels differ; costs within each limit's capacity.
        :raises RedisUnavailableError: when the store does not answer; whether it charged is then unknown.
        """

    async def ready(self) -> None:
        """Return when the store answers. Raises RedisUnavailableError."""
