"""Counts in Redis or Valkey, shared by every process: one script call for a whole batch."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import msgspec
from stylobate.bounded_dict import BoundedDict
from stylobate.redis import RedisManager, Script

from stylobate_ratelimit.group_outcome import GroupOutcome
from stylobate_ratelimit.model import Algorithm, Charge, CheckGroup, LevelSet, Limit

_TAG = "limits"
_MOST_KEPT = 4096
_US, _MS = timedelta(microseconds=1), timedelta(milliseconds=1)


class RedisLimitStore:
    """LimitStore on one Redis: all keys carry one hash tag, for any two subjects may meet in a check. Its clock counts."""

    def __init__(self, redis: RedisManager, timeout: timedelta = timedelta(milliseconds=500), *, tag: str = _TAG) -> None:
        """Keep the parts.

        :param tag: what the keys' slot in a Cluster is told from; empty: the key itself says it, see tagged_keys.py.
        """
        self._redis = redis
        self._tag = f"{{{tag}}}" if tag else ""
        self._timeout_s = timeout.total_seconds()
        self.script = Script.of("stylobate_ratelimit.store", "check_limits.lua")
        self._encode = msgspec.msgpack.Encoder().encode
        self._kept: BoundedDict[LevelSet, Packed] = BoundedDict(_MOST_KEPT)
        self._give_back = Script.of("stylobate_ratelimit.store", "give_back.lua")

    missing = None
    is_spread = False

    async def charge(self, groups: Sequence[CheckGroup]) -> list[GroupOutcome]:
        return (await self.charge_at(groups))[0]

    async def charge_at(self, groups: Sequence[CheckGroup]) -> tuple[list[GroupOutcome], int]:
        """Charge, and return beside the outcomes the moment by the server's clock, in microseconds."""
        keys, arguments = self._request(groups)
        answer = await self._redis.run(self.script, keys, arguments, within_s=self._timeout_s)
        return outcomes_of([*map(len, groups)], answer)

    def _request(self, groups: Sequence[CheckGroup]) -> tuple[Sequence[str], Sequence[bytes]]:
        """Return keys and arguments of the script that charges them."""
        keys = _Keys()
        kept = [self.packed(group.levels) for group in groups]
        columns = [[keys.column(*place, group.subjects) for place in one.gcra] for one, group in zip(kept, groups, strict=True)]
        gcra_keys = len(keys.names)
        request = []
        for one, group, column in zip(kept, groups, columns, strict=True):
            for place in one.windows:
                column.insert(place[1], keys.column(*place, group.subjects))
            refusals = [keys.column(*place, group.subjects) if place[0] else () for place in one.refusals]
            request.append((one.levels, group.costs or False, column, refusals or False))
        return keys.names, (self._encode((gcra_keys, request)),)

    async def give_back(self, charges: Sequence[Charge], charged_at: int) -> None:
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
        await self._redis.run(self.script, (self._tag,), (self._encode((0, ())),), within_s=self._timeout_s)

    def packed(self, levels: LevelSet) -> "Packed":
        """Return what the script is told of levels."""
        packed = self._kept.get(levels)
        if packed is None:
            width, limits = len(levels), levels.limits
            pairs = [*zip(levels.tenants, limits, strict=True)]
            places = [(_prefix(self._tag, *pair), at, width) for at, pair in enumerate(pairs)]
            bans = [
                (_refusal_prefix(self._tag, tenant, limit.name) if limit.ban else "", at, width)
                for at, (tenant, limit) in enumerate(pairs)
            ]
            packed = Packed(
                msgspec.Raw(self._encode([_level(limit) for limit in limits])),
                [place for place, limit in zip(places, limits, strict=True) if limit.algorithm is Algorithm.GCRA],
                [place for place, limit in zip(places, limits, strict=True) if limit.algorithm is Algorithm.WINDOW],
                bans if any(limit.ban for limit in limits) else (),
            )
            self._kept.put(levels, packed)
        return packed


def outcomes_of(counts: Sequence[int], answer: Sequence[Any]) -> tuple[list[GroupOutcome], int]:
    """Return what the script says of groups with these counts of checks, and the moment by the server's clock in microseconds."""
    told = zip(counts, answer[:-1:3], answer[1:-1:3], answer[2:-1:3], strict=True)
    return [GroupOutcome(count, rows, refused, bool(flagged)) for count, rows, refused, flagged in told], answer[-1]


Place = tuple[str, int, int]
"""What stands before the subjects of a level in their keys, the level, and how many there are."""


class Packed(NamedTuple):
    """What the script is told of levels."""

    levels: msgspec.Raw
    """As check_limits.lua reads them."""
    gcra: list[Place]
    windows: list[Place]
    refusals: Sequence[Place]
    """Of the keys of refusals; with nothing before them at a level that bans nobody, none where none does."""


class _Keys:
    """The keys of a batch, each once."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._numbers: dict[str, dict[str, int]] = {}
        """By what stands before a subject, and subject: its key's number, from 1 as Lua counts."""

    def column(self, prefix: str, level: int, width: int, subjects: Sequence[str]) -> list[int]:
        """Return the numbers of the keys of a level, check by check."""
        column = subjects[level::width]
        new, numbers = dict.fromkeys(column), self._numbers.get(prefix)
        if numbers is None:
            numbers = self._numbers[prefix] = {}
        else:
            new = dict.fromkeys([subject for subject in new if subject not in numbers])
        first = len(self.names) + 1
        numbers.update(zip(new, range(first, first + len(new)), strict=True))
        self.names += [prefix + subject for subject in new]
        return [numbers[subject] for subject in column]


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
