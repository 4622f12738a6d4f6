"""Counts in this process: for tests, and for as long as Redis is down."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from time import monotonic

from stylobate_ratelimit.model import Algorithm, CheckGroup, GroupOutcome, Limit

_US = 1_000_000
_LONGEST_MS = 2**32 - 1


@dataclass(slots=True)
class _Standing:
    """One level of one check, before it is decided."""

    over: int
    """Charges over the limit if charged; over 0 refuses."""
    remaining: int
    """After the charge, or now where it is refused."""
    reset_us: int
    retry_us: int
    charge: Callable[[], None]


class MemoryLimitStore:
    """LimitStore in memory. Not shared: each process counts by itself, and a restart forgets."""

    def __init__(self, clock: Callable[[], float] = monotonic, most_subjects: int = 100_000) -> None:
        """Count.

        :param clock: seconds.
        :param most_subjects: past it, what was counted first is forgotten, so that made-up addresses cannot fill the memory.
        """
        self._clock = clock
        self._most = most_subjects
        self._times: dict[str, int] = {}
        """GCRA, by key: the theoretical arrival time in microseconds."""
        self._logs: dict[str, list[int]] = {}
        """Window, by key: the times of charges in microseconds, oldest first."""
        self._expiry: dict[str, int] = {}
        self._sweep_at = 1024

    async def charge(self, groups: Sequence[CheckGroup]) -> list[GroupOutcome]:
        now = round(self._clock() * _US)
        self._forget(now)
        return [self._group(group, now) for group in groups]

    async def ready(self) -> None:
        """See the port; always."""

    def __len__(self) -> int:
        """Return how many subjects are counted."""
        return len(self._expiry)

    def _group(self, group: CheckGroup, now: int) -> GroupOutcome:
        rows: list[tuple[bool, int, int, int, int]] = []
        width = len(group.levels)
        for index in range(len(group)):
            cost = group.costs[index] if group.costs else 1
            subjects = group.subjects[index * width : (index + 1) * width]
            standings = [
                self._standing(limit, f"{group.tenant}:{limit.name}:{subject}", cost, now)
                for limit, subject in zip(group.levels, subjects, strict=True)
            ]
            rows.append(_decide(standings))
        return GroupOutcome(*map(list, zip(*rows, strict=True))) if rows else GroupOutcome([], [], [], [], [])

    def _standing(self, limit: Limit, key: str, cost: int, now: int) -> _Standing:
        if limit.algorithm is Algorithm.GCRA:
            return self._gcra(limit, f"g:{key}", cost, now)
        return self._window(limit, f"w{limit.period_us}:{key}", cost, now)

    def _gcra(self, limit: Limit, key: str, cost: int, now: int) -> _Standing:
        before = max(self._times.get(key, now), now)
        if before > now + limit.tolerance_us:
            # Too far ahead: by another limit of this name, or a clock that was put back. Kept so, though nothing is charged, or
            # whoever is refused would wait until the clock has caught up.
            before = self._times[key] = self._expiry[key] = now + limit.tolerance_us
        after = before + cost * limit.interval_us
        over = after - now - limit.tolerance_us
        final = before if over > 0 else after

        def charge() -> None:
            self._times[key] = self._expiry[key] = after

        return _Standing(over, (limit.tolerance_us - (final - now)) // limit.interval_us, final - now, over, charge)

    def _window(self, limit: Limit, key: str, cost: int, now: int) -> _Standing:
        log = self._logs.get(key, [])
        if log and log[-1] > now:
            log[:] = [min(time, now) for time in log]
        del log[: bisect_right(log, now - limit.period_us)]
        over = len(log) + cost - limit.limit
        retry = (log[over - 1] if over <= len(log) else now) + limit.period_us - now if over > 0 else 0
        newest = now if over <= 0 and cost else log[-1] if log else now - limit.period_us

        def charge() -> None:
            self._logs.setdefault(key, log).extend([now] * cost)
            self._expiry[key] = now + limit.period_us

        remaining = max(0, limit.limit - len(log) - (cost if over <= 0 else 0))
        return _Standing(over, remaining, newest + limit.period_us - now, retry, charge)

    def _forget(self, now: int) -> None:
        if len(self._expiry) < self._sweep_at:
            return
        gone = [key for key, expiry in self._expiry.items() if expiry <= now]
        for key in gone:
            self._drop(key)
        for key in list(islice(self._expiry, max(0, len(self._expiry) - self._most))):
            self._drop(key)
        self._sweep_at = max(1024, min(2 * len(self._expiry), self._most + self._most // 8))

    def _drop(self, key: str) -> None:
        del self._expiry[key]
        self._times.pop(key, None)
        self._logs.pop(key, None)


def _decide(standings: list[_Standing]) -> tuple[bool, int, int, int, int]:
    """Charge a check, or do not; return its outcome in the order of :class:`GroupOutcome`."""
    refusing = [index for index, standing in enumerate(standings) if standing.over > 0]
    if refusing:
        level = max(refusing, key=lambda index: standings[index].retry_us)
    else:
        level = min(range(len(standings)), key=lambda index: standings[index].remaining)
        for standing in standings:
            standing.charge()
    chosen = standings[level]
    retry_us = chosen.retry_us if refusing else 0
    return not refusing, level, chosen.remaining, _milliseconds(chosen.reset_us), _milliseconds(retry_us)


def _milliseconds(us: int) -> int:
    return min(_LONGEST_MS, -(-us // 1000))
