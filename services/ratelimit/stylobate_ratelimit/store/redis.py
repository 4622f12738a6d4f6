"""Counts in Redis or Valkey, shared by every process: one script call for a whole batch."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import cycle
from typing import Literal, NamedTuple

import msgspec
from stylobate.bounded_dict import BoundedDict
from stylobate.redis import RedisManager, Script

from stylobate_ratelimit.model import Algorithm, CheckGroup, GroupOutcome, LevelSet, Limit

_TAG = "limits"
_COLUMNS = 6
"""Integers that the script answers for a check, before those of its levels."""
_MOST_KEPT = 4096
_US, _MS = timedelta(microseconds=1), timedelta(milliseconds=1)


class RedisLimitStore:
    """LimitStore on one Redis: all keys carry one hash tag, for any two subjects may meet in a check. Its clock counts."""

    def __init__(self, redis: RedisManager, timeout: timedelta = timedelta(milliseconds=500), *, tag: str = _TAG) -> None:
        """Keep the parts.

        :param tag: what the keys' slot in a Cluster is told from.
        """
        self._redis = redis
        self._tag = f"{{{tag}}}"
        self._timeout_s = timeout.total_seconds()
        self._script = Script.of("stylobate_ratelimit.store", "check_limits.lua")
        self._encode = msgspec.msgpack.Encoder().encode
        self._kept: BoundedDict[LevelSet, _Packed] = BoundedDict(_MOST_KEPT)
        self._give_back = Script.of("stylobate_ratelimit.store", "give_back.lua")

    async def charge(self, groups: Sequence[CheckGroup]) -> list[GroupOutcome]:
        return (await self.charge_at(groups))[0]

    async def charge_at(self, groups: Sequence[CheckGroup]) -> tuple[list[GroupOutcome], int]:
        """Charge, and return beside the outcomes the moment by the server's clock, in microseconds."""
        index: dict[str, int] = {}
        gcra: list[int] = []
        request = []
        for group in groups:
            packed = self._packed(group.levels)
            keys = _numbered(packed, group.subjects, index, gcra)
            refusals = packed.refusals and _refusals(packed.refusals, group.subjects, index)
            request.append((packed.levels, group.costs or False, keys, refusals))
        answer = await self._run(tuple(index), (gcra, request))
        return list(_outcomes(groups, answer)), answer[-1]

    async def give_back(self, charges: Sequence["Charge"], charged_at: int) -> None:
        """Take charges of that moment back, as far as time has not done so. Raises RedisUnavailableError."""
        index: dict[str, int] = {}
        told = []
        for tenant, limit, subject, units, full_ms in charges:
            number = index.setdefault(_prefix(self._tag, tenant, limit) + subject, len(index) + 1)
            is_gcra = limit.algorithm is Algorithm.GCRA
            told.append((number, is_gcra, units * limit.interval_us if is_gcra else units, max(0, full_ms - 1) * 1000))
        await self._redis.run(self._give_back, tuple(index), (charged_at, self._encode(told)), within_s=self._timeout_s)

    async def quiet(self, tenant: str, name: str, subject: str, lasts: timedelta) -> None:
        await self._redis.call("SET", _refusal_prefix(self._tag, tenant, name) + subject, "banned", "PX", max(1, lasts // _MS))

    async def reset(self, tenant: str, limit: Limit, subject: str) -> None:
        await self._redis.call(
            "DEL", _prefix(self._tag, tenant, limit) + subject, _refusal_prefix(self._tag, tenant, limit.name) + subject
        )

    async def forgive(self, tenant: str, name: str, subject: str) -> None:
        await self._redis.call("DEL", _refusal_prefix(self._tag, tenant, name) + subject)

    async def ready(self) -> None:
        await self._run((), ((), ()))

    async def _run(self, keys: Sequence[str], batch: object) -> list[int]:
        answer: list[int] = await self._redis.run(self._script, keys, (self._encode(batch),), within_s=self._timeout_s)
        return answer

    def _packed(self, levels: LevelSet) -> "_Packed":
        packed = self._kept.get(levels)
        if packed is None:
            packed = _Packed(
                [_level(limit) for limit in levels.limits],
                [
                    (_prefix(self._tag, tenant, limit), limit.algorithm is Algorithm.GCRA)
                    for tenant, limit in zip(levels.tenants, levels.limits, strict=True)
                ],
                any(limit.ban is not None for limit in levels.limits)
                and [
                    _refusal_prefix(self._tag, tenant, limit.name) if limit.ban else None
                    for tenant, limit in zip(levels.tenants, levels.limits, strict=True)
                ],
            )
            self._kept.put(levels, packed)
        return packed


class Charge(NamedTuple):
    """What a subject was charged at a limit."""

    tenant: str
    limit: Limit
    subject: str
    units: int
    full_ms: int
    """Until the limit was full again, as the charge was answered."""


class _Packed(NamedTuple):
    """What the script is told of levels."""

    levels: list[tuple[int, ...]]
    """As check_limits.lua reads them."""
    prefixes: list[tuple[str, bool]]
    """What stands before a subject in its key, and whether it is a GCRA key."""
    refusals: list[str | None] | Literal[False]
    """What stands before a subject in the key of its refusals, None at a level that bans nobody; False: none does."""


def _numbered(packed: _Packed, subjects: Sequence[str], index: dict[str, int], gcra: list[int]) -> list[int]:
    """Return the number of each subject's key in the batch, from 1 as Lua counts; a key is new or known.

    :param index: of the batch's keys, in their order. :param gcra: the numbers of its GCRA keys.
    """
    found: list[int] = []
    for (prefix, is_gcra), subject in zip(cycle(packed.prefixes), subjects, strict=False):
        key = prefix + subject
        number = index.get(key)
        if number is None:
            number = index[key] = len(index) + 1
            if is_gcra:
                gcra.append(number)
        found.append(number)
    return found


def _refusals(prefixes: list[str | None], subjects: Sequence[str], index: dict[str, int]) -> list[int]:
    """Return the number of the key of each subject's refusals, 0 where nobody is banned for them."""
    return [
        0 if prefix is None else index.setdefault(prefix + subject, len(index) + 1)
        for prefix, subject in zip(cycle(prefixes), subjects, strict=False)
    ]


def _prefix(tag: str, tenant: str, limit: Limit) -> str:
    """Return what stands before the subject. Neither tenant nor name has a colon, so no subject can reach another's key."""
    kind = "g" if limit.algorithm is Algorithm.GCRA else f"w{limit.period_us}"
    return f"{tag}:{tenant}:{limit.name}:{kind}:"


def _refusal_prefix(tag: str, tenant: str, name: str) -> str:
    return f"{tag}:{tenant}:{name}:r:"


def _level(limit: Limit) -> tuple[int, ...]:
    after, within_us = (limit.ban.after, limit.ban.within // _US) if limit.ban else (0, 0)
    numbers = (limit.limit, limit.period_us, limit.interval_us, limit.tolerance_us, limit.cost)
    return limit.algorithm is Algorithm.GCRA, *numbers, limit.is_shadow, after, within_us


def _outcomes(groups: Sequence[CheckGroup], answer: list[int]) -> Iterator[GroupOutcome]:
    """Cut the script's answer into columns."""
    start = 0
    for group in groups:
        width = len(group.levels)
        row = _COLUMNS + (2 * width if width > 1 else 0)
        end = start + len(group) * row
        allowed, level, remaining, reset_ms, retry_after_ms, flags = (
            answer[start + column : end : row] for column in range(_COLUMNS)
        )
        standings: list[int] = []
        if width > 1:
            for at in range(start + _COLUMNS, end, row):
                standings += answer[at : at + 2 * width]
        yield GroupOutcome(list(map(bool, allowed)), level, remaining, reset_ms, retry_after_ms, flags, standings=standings)
        start = end
