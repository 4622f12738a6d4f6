"""Counts of this process alone: what a limit that guards something goes by while the ratelimit service cannot be asked."""

from collections.abc import Callable, Sequence
from time import monotonic
from typing import NamedTuple

from stylobate.api.ratelimit.v1.ratelimit_service_pb2 import Policy
from stylobate.bounded_dict import BoundedDict

_MOST = 100_000
"""Subjects that are counted; past it those charged longest ago are forgotten, so that made-up ones cannot fill the memory."""
_DUST_S = 1e-9
"""What sums of floats are off by."""


class Counted(NamedTuple):
    """A level of a check: whose charges are counted, and how many there may be."""

    tenant: str
    policy: Policy
    subject: str


class LocalCounts:
    """Charges policies in memory, by the generic cell rate: the burst (else the limit) at once, the limit a period over time.

    :param clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = monotonic, most: int = _MOST) -> None:
        self._clock = clock
        self._times: BoundedDict[tuple[str, str, str], float] = BoundedDict(most)
        """By tenant, policy and subject: the theoretical arrival time."""

    def __len__(self) -> int:
        """Return how many subjects are counted."""
        return len(self._times)

    def charge(self, levels: Sequence[Counted], cost: int) -> tuple[int, float]:
        """Charge every level, or none when one refuses.

        Returns the place of the level that refused and the seconds until a retry can pass; 0 seconds when it was charged.
        """
        now = self._clock()
        after: dict[tuple[str, str, str], float] = {}
        refused, wait = 0, 0.0
        for place, (tenant, policy, subject) in enumerate(levels):
            interval = (policy.period.seconds + policy.period.nanos / 1e9) / policy.limit
            key = (tenant, policy.name, subject)
            tolerance = (policy.burst or policy.limit) * interval
            # further ahead than this limit lets anyone be: another limit of that name, before its rule was changed
            before = max(self._times.get(key, now), now)
            if before > now + tolerance:
                before = now + tolerance
                self._times.put(key, before)  # or whoever is refused would wait until all of it has passed
            after[key] = before + cost * (policy.cost or 1) * interval
            over = after[key] - now - tolerance
            if over > max(wait, _DUST_S):
                refused, wait = place, over
        if not wait:
            for key, time in after.items():
                self._times.put(key, time)
        return refused, wait
