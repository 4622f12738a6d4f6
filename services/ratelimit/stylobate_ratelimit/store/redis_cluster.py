"""Counts in a Redis Cluster: behind several hash tags, so that every master counts."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import NamedTuple
from zlib import crc32

from stylobate.bounded_dict import BoundedDict
from stylobate.clients.limit_rows import ALLOWED, FIXED, REFUSED
from stylobate.errors import RedisUnavailableError
from stylobate.logs import get_logger
from stylobate.redis import RedisManager, spread_tags
from stylobate.telemetry import counter

from stylobate_ratelimit.group_outcome import GroupOutcome
from stylobate_ratelimit.model import Algorithm, CheckGroup, LevelSet, Limit
from stylobate_ratelimit.store.redis import Charge, RedisLimitStore, outcomes_of

TAGS = spread_tags("limits", 8)
"""Each counts in a slot of its own. Another number of them would begin every count anew."""
_MOST_KEPT = 4096
_Row = list[int]
"""See :mod:`stylobate.clients.limit_rows`."""
_log = get_logger("app")
_not_given_back = counter("ratelimit_charges_not_given_back", "Charges of refused checks whose master did not answer.")


class _Piece(NamedTuple):
    """What of a group is counted behind one tag."""

    group: int
    levels: tuple[int, ...]
    checks: list[int]


class _Answered(NamedTuple):
    """What was said of a piece."""

    lane: int
    """The number of its tag."""
    at: int
    """The moment of the charge, by that server's clock, in microseconds."""
    piece: _Piece
    outcome: GroupOutcome


_Plan = Sequence[tuple[int, tuple[int, ...]]]


class RedisClusterLimitStore:
    """LimitStore on a Cluster. A subject's counts all stand behind one tag, those of two subjects mostly behind two.

    Of each level nobody gets more than its limit, as everywhere. What a check is charged behind one tag is one step. Behind
    several it is charged at once, and given back where another tag refuses the check. Until that is done, some milliseconds,
    another check may be refused that would have passed; nobody passes who would have been refused.
    """

    def __init__(self, redis: RedisManager, timeout: timedelta = timedelta(milliseconds=500)) -> None:
        self._lanes = [RedisLimitStore(redis, timeout, tag=tag) for tag in TAGS]
        self._redis = redis
        self._script = self._lanes[0].script
        self._timeout_s = timeout.total_seconds()
        self._plans: BoundedDict[tuple[int, ...], _Plan] = BoundedDict(_MOST_KEPT)
        self._parts: BoundedDict[tuple[LevelSet, tuple[int, ...]], LevelSet] = BoundedDict(_MOST_KEPT)

    async def charge(self, groups: Sequence[CheckGroup]) -> list[GroupOutcome]:
        found, back = await self._charge(groups)
        if back:
            await self._charge_again(groups, found, back)
        return [*map(GroupOutcome.of, found)]

    async def _charge_again(
        self, groups: Sequence[CheckGroup], found: list[list[_Row]], back: dict[tuple[int, int], list[Charge]]
    ) -> None:
        """Decide again what was refused for the sake of charges that are gone now."""
        given = {(charge.tenant, charge.limit.name, charge.subject) for charges in back.values() for charge in charges}
        contested = [_contested(group, rows, given) for group, rows in zip(groups, found, strict=True)]
        some = [number for number, checks in enumerate(contested) if checks]
        if some:
            parts = [groups[number].without(set(range(len(groups[number]))) - contested[number]) for number in some]
            for number, fresh in zip(some, (await self._charge(parts))[0], strict=True):
                for check, row in zip(sorted(contested[number]), fresh, strict=True):
                    found[number][check] = row

    async def _charge(self, groups: Sequence[CheckGroup]) -> tuple[list[list[_Row]], dict[tuple[int, int], list[Charge]]]:
        """Charge behind all tags at once; return the rows of each group, and what was given back, by tag and moment."""
        lanes = self._split(groups)
        if not lanes:
            return [[] for _ in groups], {}
        parts = {lane: [self._part(groups[piece.group], piece) for piece in pieces] for lane, pieces in lanes.items()}
        requests = [self._lanes[lane].request(part) for lane, part in parts.items()]
        answers = await self._redis.run_each(self._script, requests, within_s=self._timeout_s)
        found: list[list[_Answered]] = [[] for _ in groups]
        for (lane, part), answer in zip(parts.items(), answers, strict=True):
            outcomes, at = outcomes_of(part, answer)
            for piece, outcome in zip(lanes[lane], outcomes, strict=True):
                found[piece.group].append(_Answered(lane, at, piece, outcome))
        back: dict[tuple[int, int], list[Charge]] = {}
        merged = [_merged(group, told, back) for group, told in zip(groups, found, strict=True)]
        if back:
            await asyncio.gather(*(self._give_back(lane, charges, at) for (lane, at), charges in back.items()))
        return merged, back

    async def quiet(self, tenant: str, name: str, subject: str, lasts: timedelta) -> None:
        await self._lanes[lane_of(subject)].quiet(tenant, name, subject, lasts)

    async def reset(self, tenant: str, limit: Limit, subject: str) -> None:
        await self._lanes[lane_of(subject)].reset(tenant, limit, subject)

    async def forgive(self, tenant: str, name: str, subject: str) -> None:
        await self._lanes[lane_of(subject)].forgive(tenant, name, subject)

    async def ready(self) -> None:
        await asyncio.gather(*(lane.ready() for lane in self._lanes))

    def _split(self, groups: Sequence[CheckGroup]) -> dict[int, list[_Piece]]:
        """Return what stands behind each tag, in the order of the checks."""
        lanes: dict[int, dict[tuple[int, tuple[int, ...]], _Piece]] = {}
        for number, group in enumerate(groups):
            width = len(group.levels)
            places = tuple(map(lane_of, group.subjects))
            for check in range(len(group)):
                for lane, levels in self._plan(places[check * width : (check + 1) * width]):
                    pieces = lanes.setdefault(lane, {})
                    piece = pieces.get((number, levels))
                    if piece is None:
                        piece = pieces[number, levels] = _Piece(number, levels, [])
                    piece.checks.append(check)
        return {lane: list(pieces.values()) for lane, pieces in lanes.items()}

    def _plan(self, places: tuple[int, ...]) -> "_Plan":
        """Return which levels stand behind which tag, where each level's is this one."""
        plan = self._plans.get(places)
        if plan is None:
            plan = [(lane, tuple(at for at, place in enumerate(places) if place == lane)) for lane in dict.fromkeys(places)]
            self._plans.put(places, plan)
        return plan

    def _part(self, group: CheckGroup, piece: _Piece) -> CheckGroup:
        whole, kept = group.levels, piece.levels
        key = whole, kept
        levels = self._parts.get(key)
        if levels is None:
            levels = LevelSet(tuple(whole.limits[at] for at in kept), tuple(whole.tenants[at] for at in kept))
            self._parts.put(key, levels)
        width, subjects, costs = len(whole), group.subjects, group.costs
        return CheckGroup(
            levels,
            [subjects[check * width + level] for check in piece.checks for level in kept],
            [costs[check] for check in piece.checks] if costs else (),
        )

    async def _give_back(self, lane: int, charges: Sequence[Charge], at: int) -> None:
        try:
            await self._lanes[lane].give_back(charges, at)
        except RedisUnavailableError as error:  # they go by themselves, as charges do
            _not_given_back.inc(len(charges))
            _log.debug("charges_not_given_back", charges=len(charges), error=str(error))


class _Told(NamedTuple):
    """What was said of a check behind one tag."""

    lane: int
    at: int
    levels: tuple[int, ...]
    """Of the check, those that stand there."""
    row: _Row

    @property
    def is_allowed(self) -> bool:
        """Whether none of these levels refuses."""
        return self.row[0] == ALLOWED

    @property
    def flags(self) -> int:
        """Of these levels."""
        return self.row[5]

    def standings(self) -> Iterator[tuple[int, int, int, bool]]:
        """Give for each level its number in the check, what is left, the milliseconds until it is full, and if it was charged."""
        row = self.row
        for at, level in enumerate(self.levels):
            start = FIXED + 2 * at if len(self.levels) > 1 else 2
            yield level, row[start], row[start + 1], self.is_allowed and not self.flags >> 2 * at & 1


def _merged(group: CheckGroup, answered: Sequence[_Answered], back: dict[tuple[int, int], list[Charge]]) -> list[_Row]:
    """Make one row of what was said of each check; what is to be given back is put into ``back``, by tag and moment."""
    if all(not one.outcome.refused and not one.outcome.is_flagged for one in answered):
        return _all_allowed(group, answered)
    told: list[list[_Told]] = [[] for _ in range(len(group))]
    for lane, at, piece, outcome in answered:
        for row, check in zip(outcome.split(), piece.checks, strict=True):
            told[check].append(_Told(lane, at, piece.levels, row))
    return [some[0].row if len(some) == 1 else _together(group, check, some, back) for check, some in enumerate(told)]


def _all_allowed(group: CheckGroup, answered: Sequence[_Answered]) -> list[_Row]:
    """Do it where no check is refused, as with most batches."""
    width = len(group.levels)
    rows: list[_Row] = [[ALLOWED, 0, 0, 0, 0, 0, *([0] * 2 * width)] for _ in range(len(group))]
    for one in answered:
        alone = len(one.piece.levels) == 1
        for told, check in zip(one.outcome.split(), one.piece.checks, strict=True):
            row = rows[check]
            for at, level in enumerate(one.piece.levels):
                start, place = 2 if alone else FIXED + 2 * at, FIXED + 2 * level
                row[place], row[place + 1] = told[start], told[start + 1]
    strict = [FIXED + 2 * level for level, limit in enumerate(group.levels.limits) if not limit.is_shadow] or [FIXED]
    for row in rows:
        place = min(strict, key=row.__getitem__)
        row[1:4] = (place - FIXED) // 2, row[place], row[place + 1]
    return rows if width > 1 else [row[:FIXED] for row in rows]


def _contested(group: CheckGroup, rows: Sequence[_Row], given: set[tuple[str, str, str]]) -> set[int]:
    """Return the checks that were refused at a count of which something was given back since, where no refusal is counted."""
    levels, width = group.levels, len(group.levels)
    return {
        check
        for check, row in enumerate(rows)
        if row[0] != ALLOWED
        and levels.limits[level := row[1]].ban is None
        and (levels.tenants[level], levels.limits[level].name, group.subjects[check * width + level]) in given
    }


def _together(group: CheckGroup, check: int, told: Sequence[_Told], back: dict[tuple[int, int], list[Charge]]) -> _Row:
    """Decide a check that stands behind several tags: allowed behind all, or charged behind none."""
    levels, width = group.levels, len(group.levels)
    refused = [one for one in told if not one.is_allowed]
    standings, flags = [0] * 2 * width, 0
    for one in told:
        for level, left, full_ms, is_charged in one.standings():
            limit = levels.limits[level]
            units = (group.costs[check] if group.costs else 1) * limit.cost if refused and is_charged else 0
            if units:
                charge = Charge(levels.tenants[level], limit, group.subjects[check * width + level], units, full_ms)
                back.setdefault((one.lane, one.at), []).append(charge)
            taken_ms = units * limit.interval_us // 1000 if limit.algorithm is Algorithm.GCRA else 0
            standings[2 * level : 2 * level + 2] = left + units, max(0, full_ms - taken_ms)
        for at, level in enumerate(one.levels if one.flags else ()):
            flag = one.flags >> 2 * at & 3
            flags |= (flag & 2 if refused and one.is_allowed else flag) << 2 * level  # no shadow refuses what is refused anyway
    if refused:
        worst = max(refused, key=lambda one: one.row[4])
        _, level, remaining, reset_ms, retry_after_ms = worst.row[:5]
        return [REFUSED, worst.levels[level], remaining, reset_ms, retry_after_ms, flags, *standings]
    strict = [level for level, limit in enumerate(levels.limits) if not limit.is_shadow] or [0]
    tight = min(strict, key=lambda level: standings[2 * level])
    return [ALLOWED, tight, standings[2 * tight], standings[2 * tight + 1], 0, flags, *standings]


def lane_of(subject: str) -> int:
    """Return the number of the tag that a subject is counted behind."""
    return crc32(subject.encode()) % len(TAGS)
