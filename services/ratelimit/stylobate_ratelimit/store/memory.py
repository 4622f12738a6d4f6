"""Counts in this process: for tests, and for as long as Redis is down."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from time import monotonic

from stylobate.clients.limit_rows import ALLOWED, REFUSED

from stylobate_ratelimit.group_outcome import GroupOutcome
from stylobate_ratelimit.model import Algorithm, Charge, CheckGroup, Limit

_US = 1_000_000
_LONGEST_MS = 2**32 - 1


@dataclass(slots=True)
class _Level:
    """One level of one check, before it is decided."""

    limit: Limit
    refusals: str
    """The key of its refusals."""
    over: int
    """Charges or time over the limit if charged; over 0 refuses."""
    retry_us: int
    charge: Callable[[], None]
    look: Callable[[], tuple[int, int]]
    """Tells how it stands: what is left, and the microseconds until it is full again."""


_Counted = tuple[int, int, Callable[[], None], Callable[[], tuple[int, int]]]
"""The last four of :class:`_Level`."""


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
        self._quiet: dict[str, int] = {}
        """Until when no refusals are counted of a subject, by their key."""
        self._sweep_at = 1024

    missing = None
    is_spread = False

    async def charge(self, groups: Sequence[CheckGroup]) -> list[GroupOutcome]:
        return (await self.charge_at(groups))[0]

    async def charge_at(self, groups: Sequence[CheckGroup]) -> tuple[list[GroupOutcome], int]:
        now = round(self._clock() * _US)
        self._forget(now)
        return [self._group(group, now) for group in groups], now

    async def give_back(self, charges: Sequence[Charge], charged_at: int) -> None:
        gone = max(0, round(self._clock() * _US) - charged_at)
        for tenant, limit, subject, units, full_ms in charges:
            kind = "g" if limit.algorithm is Algorithm.GCRA else f"w{limit.period_us}"
            key = f"{kind}:{tenant}:{limit.name}:{subject}"
            if key in self._times:  # as give_back.lua reckons
                taken = units * limit.interval_us
                self._times[key] -= max(0, taken - gone, min(taken, max(0, full_ms - 1) * 1000 - gone))
                self._expiry[key] = self._times[key]
            log = self._logs.get(key, [])
            for _ in range(min(units, log.count(charged_at))):
                log.remove(charged_at)

    async def quiet(self, tenant: str, name: str, subject: str, lasts: timedelta) -> None:
        key = f"r:{tenant}:{name}:{subject}"
        self._logs.pop(key, None)
        self._quiet[key] = self._expiry[key] = round(self._clock() * _US) + lasts // timedelta(microseconds=1)

    async def reset(self, tenant: str, limit: Limit, subject: str) -> None:
        kind = "g" if limit.algorithm is Algorithm.GCRA else f"w{limit.period_us}"
        for key in (f"{kind}:{tenant}:{limit.name}:{subject}", f"r:{tenant}:{limit.name}:{subject}"):
            if key in self._expiry:
                self._drop(key)

    async def forgive(self, tenant: str, name: str, subject: str) -> None:
        key = f"r:{tenant}:{name}:{subject}"
        if key in self._expiry:
            self._drop(key)

    async def ready(self) -> None:
        """See the port; always."""

    def __len__(self) -> int:
        """Return how many subjects are counted."""
        return len(self._expiry)

    def _group(self, group: CheckGroup, now: int) -> GroupOutcome:
        rows: list[list[int]] = []
        levels, width = group.levels, len(group.levels)
        for index in range(len(group)):
            cost = group.costs[index] if group.costs else 1
            subjects = group.subjects[index * width : (index + 1) * width]
            check = [
                self._level(limit, f"{tenant}:{limit.name}:{subject}", cost, now)
                for limit, tenant, subject in zip(levels.limits, levels.tenants, subjects, strict=True)
            ]
            rows.append(self._decide(check, now))
        return GroupOutcome.of(rows)

    def _level(self, limit: Limit, key: str, cost: int, now: int) -> _Level:
        cost *= limit.cost
        if limit.algorithm is Algorithm.GCRA:
            return _Level(limit, f"r:{key}", *self._gcra(limit, f"g:{key}", cost, now))
        return _Level(limit, f"r:{key}", *self._window(limit, f"w{limit.period_us}:{key}", cost, now))

    def _gcra(self, limit: Limit, key: str, cost: int, now: int) -> _Counted:
        before = max(self._times.get(key, now), now)
        if before > now + limit.tolerance_us:
            # Too far ahead: by another limit of this name, or a clock that was put back. Kept so, though nothing is charged, or
            # whoever is refused would wait until the clock has caught up.
            before = self._times[key] = self._expiry[key] = now + limit.tolerance_us
        after = before + cost * limit.interval_us
        over = after - now - limit.tolerance_us

        def charge() -> None:
            self._times[key] = self._expiry[key] = after

        def look() -> tuple[int, int]:
            ahead = max(self._times.get(key, now) - now, 0)
            return (limit.tolerance_us - ahead) // limit.interval_us, ahead

        return over, over, charge, look

    def _window(self, limit: Limit, key: str, cost: int, now: int) -> _Counted:
        log = self._logs.get(key, [])
        if log and log[-1] > now:
            log[:] = [min(time, now) for time in log]
        del log[: bisect_right(log, now - limit.period_us)]
        over = len(log) + cost - limit.limit
        retry = (log[over - 1] if over <= len(log) else now) + limit.period_us - now if over > 0 else 0

        def charge() -> None:
            self._logs.setdefault(key, log).extend([now] * cost)
            self._expiry[key] = now + limit.period_us

        def look() -> tuple[int, int]:
            return max(0, limit.limit - len(log)), log[-1] + limit.period_us - now if log else 0

        return over, retry, charge, look

    def _decide(self, check: list[_Level], now: int) -> list[int]:
        """Charge a check, or do not; return its row."""
        refusing = [index for index, level in enumerate(check) if level.over > 0 and not level.limit.is_shadow]
        flags = 0
        for index, level in enumerate(check):
            if level.over > 0:
                if index in refusing:
                    flags += (2 << 2 * index) * self._is_refused_often(level, now)
                elif not refusing:
                    flags += 1 << 2 * index
            elif not refusing:
                level.charge()
        standings = [(remaining, _milliseconds(reset_us)) for remaining, reset_us in (level.look() for level in check)]
        if refusing:
            chosen = max(refusing, key=lambda index: check[index].retry_us)
        else:
            enforced = [index for index, level in enumerate(check) if not level.limit.is_shadow] or [0]
            chosen = min(enforced, key=lambda index: standings[index][0])
        retry_ms = _milliseconds(check[chosen].retry_us) if refusing else 0
        row = [REFUSED if refusing else ALLOWED, chosen, *standings[chosen], retry_ms, flags]
        return row + [number for pair in standings for number in pair] if len(check) > 1 else row

    def _is_refused_often(self, level: _Level, now: int) -> bool:
        """Note a refusal; return whether its subject is to be banned."""
        ban, key = level.limit.ban, level.refusals
        if ban is None or self._quiet.get(key, now) > now:
            return False
        within_us = ban.within // timedelta(microseconds=1)
        log = self._logs.setdefault(key, [])
        log.append(now)
        del log[: -ban.after]
        self._quiet.pop(key, None)
        self._expiry[key] = now + within_us
        return len(log) == ban.after and now - log[0] < within_us

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
        self._quiet.pop(key, None)


def _milliseconds(us: int) -> int:
    return min(_LONGEST_MS, -(-us // 1000))
