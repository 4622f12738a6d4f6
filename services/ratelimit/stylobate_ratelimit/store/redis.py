"""Counts in Redis or Valkey, shared by every process: one script call for a whole batch."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import cycle

import msgspec
from stylobate.errors import RedisUnavailableError
from stylobate.redis import RedisManager, Script

from stylobate_ratelimit.model import Algorithm, CheckGroup, GroupOutcome, Limit

_TAG = "{limits}"
"""One hash tag: a check's keys must share a slot of a cluster, and any two subjects may meet in a check."""
_COLUMNS = 5
"""Integers that the script answers for a check."""


class RedisLimitStore:
    """LimitStore on Redis. The clock is the server's."""

    def __init__(self, redis: RedisManager, timeout: timedelta = timedelta(milliseconds=500)) -> None:
        self._redis = redis
        self._timeout_s = timeout.total_seconds()
        self._script = Script.of("stylobate_ratelimit.store", "check_limits.lua")
        self._encode = msgspec.msgpack.Encoder().encode

    async def charge(self, groups: Sequence[CheckGroup]) -> list[GroupOutcome]:
        keys = _Keys()
        request = [
            (list(map(_level, group.levels)), list(group.costs) or False, keys.indexes(group))  # as check_limits.lua reads it
            for group in groups
        ]
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._redis.run(self._script, list(keys.index), [self._encode((keys.gcra, request))])
        except TimeoutError:
            raise _unavailable(self._timeout_s) from None
        return list(_outcomes(groups, answer))

    async def ready(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._redis.run(self._script, [], [self._encode(((), ()))])
        except TimeoutError:
            raise _unavailable(self._timeout_s) from None


class _Keys:
    """The distinct keys of a batch, numbered from 1 as Lua does."""

    def __init__(self) -> None:
        self.index: dict[str, int] = {}
        self.gcra: list[int] = []

    def indexes(self, group: CheckGroup) -> list[int]:
        """Return the number of each subject's key; a key is new or known."""
        index = self.index
        found: list[int] = []
        prefixes = [(_prefix(group.tenant, limit), limit.algorithm is Algorithm.GCRA) for limit in group.levels]
        for (prefix, is_gcra), subject in zip(cycle(prefixes), group.subjects, strict=False):
            key = prefix + subject
            number = index.get(key)
            if number is None:
                number = index[key] = len(index) + 1
                if is_gcra:
                    self.gcra.append(number)
            found.append(number)
        return found


def _prefix(tenant: str, limit: Limit) -> str:
    """Return what stands before the subject. Neither tenant nor name has a colon, so no subject can reach another's key."""
    kind = "g" if limit.algorithm is Algorithm.GCRA else f"w{limit.period_us}"
    return f"{_TAG}:{tenant}:{limit.name}:{kind}:"


def _level(limit: Limit) -> tuple[bool, int, int, int, int]:
    return limit.algorithm is Algorithm.GCRA, limit.limit, limit.period_us, limit.interval_us, limit.tolerance_us


def _outcomes(groups: Sequence[CheckGroup], answer: list[int]) -> Iterator[GroupOutcome]:
    """Cut the script's answer into columns."""
    start = 0
    for group in groups:
        end = start + len(group) * _COLUMNS
        allowed, level, remaining, reset_ms, retry_after_ms = (
            answer[start + column : end : _COLUMNS] for column in range(_COLUMNS)
        )
        yield GroupOutcome(list(map(bool, allowed)), level, remaining, reset_ms, retry_after_ms)
        start = end


def _unavailable(seconds: float) -> RedisUnavailableError:
    return RedisUnavailableError(f"Redis did not answer within {seconds:g} s.", retry_after=timedelta(seconds=1))
