"""Counts in a Redis Cluster: behind several hash tags, so that every master counts."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import chain
from typing import Any, NamedTuple

import msgspec
from stylobate.bounded_dict import BoundedDict
from stylobate.clients.limit_rows import ALLOWED, FIXED, REFUSED, decode_rows
from stylobate.errors import RedisUnavailableError
from stylobate.logs import get_logger
from stylobate.redis import RedisManager, Script
from stylobate.telemetry import counter

from stylobate_ratelimit.group_outcome import GroupOutcome
from stylobate_ratelimit.model import Algorithm, CheckGroup, LevelSet, Limit
from stylobate_ratelimit.store.redis import Charge, RedisLimitStore, outcomes_of
from stylobate_ratelimit.store.tagged_keys import SLOTS, TAGS, TaggedKeys, lane_of

_SEVERAL_SLOTS = "#!lua flags=allow-cross-slot-keys\n"
_MOST_KEPT = 4096
_Row = list[int]
"""See :mod:`stylobate.clients.limit_rows`."""
_log = get_logger("app")
_not_given_back = counter("ratelimit_charges_not_given_back", "Charges of refused checks whose master did not answer.")


class _Piece(NamedTuple):
    """What of a group is counted at one place: behind the tags of one master, or behind one tag."""

    group: int
    levels: tuple[int, ...]
    checks: Sequence[int]


class _Answered(NamedTuple):
    """What was said of a piece."""

    at: int
    """The moment of the charge, by that server's clock, in microseconds."""
    piece: _Piece
    outcome: GroupOutcome


_Plan = Sequence[tuple[int, tuple[int, ...]]]


class RedisClusterLimitStore:
    """LimitStore on a Cluster. A subject's counts all stand behind one tag, those of two subjects mostly behind two.

    Of each level nobody gets more than its limit, as everywhere. What a check is charged at one master is one step: one script
    for all tags that it has. At several it is charged at once, and given back where another one refuses the check. Until that is
    done, some milliseconds, another check may be refused that would have passed; nobody passes who would have been refused.
    """

    def __init__(self, redis: RedisManager, timeout: timedelta = timedelta(milliseconds=500)) -> None:
        self._lanes = [RedisLimitStore(redis, timeout, tag=tag) for tag in TAGS]
        self._redis = redis
        self._any = RedisLimitStore(redis, timeout, tag="")
        self._script = Script(_SEVERAL_SLOTS + self._any.script.text, "check_limits.lua")
        self._encode = msgspec.msgpack.Encoder().encode
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
        """Charge at all places at once; return the rows of each group, and what was given back, by tag and moment."""
        pieces = [_Piece(number, (*range(len(group.levels)),), range(len(group))) for number, group in enumerate(groups)]
        found: list[list[_Answered]] = [[] for _ in groups]
        if left := await self._ask(groups, pieces, found):
            await self._ask_by_tag(groups, left, found)
        back: dict[tuple[int, int], list[Charge]] = {}
        merged = [_merged(group, told, back) for group, told in zip(groups, found, strict=True)]
        if back:
            await asyncio.gather(*(self._give_back(lane, charges, at) for (lane, at), charges in back.items()))
        return merged, back

    async def _ask(self, groups: Sequence[CheckGroup], pieces: Sequence[_Piece], found: list[list[_Answered]]) -> list[_Piece]:
        """Charge pieces, and put what was said of them into ``found``, by group.

        :returns: those on which nothing was charged, because a slot is being moved to another node.
        """
        split = [*self._split(groups, pieces, self._places()).values()]
        if not split:
            return []
        parts = [[self._part(groups[piece.group], piece) for piece in some] for some in split]
        answers = await self._redis.run_here(self._script, [*map(self._request, parts)], within_s=self._timeout_s)
        left: list[_Piece] = []
        for some, part, answer in zip(split, parts, answers, strict=True):
            if answer is None:
                left += some
            elif isinstance(answer, RedisUnavailableError):
                raise answer
            else:
                _note(some, part, answer, found)
        return left

    async def _ask_by_tag(self, groups: Sequence[CheckGroup], pieces: Sequence[_Piece], found: list[list[_Answered]]) -> None:
        """Do the same with a script for each tag, which goes where the nodes say."""
        split = self._split(groups, pieces, range(len(TAGS)))
        parts = {lane: [self._part(groups[piece.group], piece) for piece in some] for lane, some in split.items()}
        requests = [self._lanes[lane].request(part) for lane, part in parts.items()]
        answers = await self._redis.run_each(self._any.script, requests, within_s=self._timeout_s)
        for (lane, part), answer in zip(parts.items(), answers, strict=True):
            _note(split[lane], part, answer, found)

    def _places(self) -> Sequence[int]:
        """Return for each tag the first of those whose master is the same."""
        masters = self._redis.masters_of(SLOTS)
        return [masters.index(master) for master in masters]

    def _request(self, part: Sequence[CheckGroup]) -> tuple[Sequence[str], Sequence[str | bytes]]:
        keys = TaggedKeys()
        gcra_keys, told = self._any.told(part, keys)
        tags = keys.tags(gcra_keys)
        return (tags[0][0],), (self._encode((gcra_keys, told, tags)), *keys.names)

    async def quiet(self, tenant: str, name: str, subject: str, lasts: timedelta) -> None:
        await self._lanes[lane_of(subject)].quiet(tenant, name, subject, lasts)

    async def reset(self, tenant: str, limit: Limit, subject: str) -> None:
        await self._lanes[lane_of(subject)].reset(tenant, limit, subject)

    async def forgive(self, tenant: str, name: str, subject: str) -> None:
        await self._lanes[lane_of(subject)].forgive(tenant, name, subject)

    async def ready(self) -> None:
        await asyncio.gather(*(lane.ready() for lane in self._lanes))

    def _split(self, groups: Sequence[CheckGroup], pieces: Sequence[_Piece], places: Sequence[int]) -> dict[int, list[_Piece]]:
        """Return what of the pieces stands at each place, in the order of the checks."""
        found: dict[int, dict[tuple[int, tuple[int, ...]], list[int]]] = {}
        for number, levels, checks in pieces:
            group = groups[number]
            width = len(group.levels)
            there = [places[lane_of(subject)] for subject in group.subjects]
            alike: dict[tuple[int, ...], list[int]] = {}
            for check in checks:
                first = check * width
                alike.setdefault(tuple([there[first + level] for level in levels]), []).append(check)
            for where, some in alike.items():
                for place, own in self._plan(where):
                    kept = tuple([levels[at] for at in own])
                    found.setdefault(place, {}).setdefault((number, kept), []).extend(some)
        return {place: [_Piece(*key, sorted(checks)) for key, checks in some.items()] for place, some in found.items()}

    def _plan(self, places: tuple[int, ...]) -> "_Plan":
        """Return which levels stand at which place, where each level's is this one."""
        plan = self._plans.get(places)
        if plan is None:
            plan = [(one, tuple(at for at, place in enumerate(places) if place == one)) for one in dict.fromkeys(places)]
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


def _note(pieces: Sequence[_Piece], part: Sequence[CheckGroup], answer: Sequence[Any], found: list[list[_Answered]]) -> None:
    """Put what a script said of pieces to the groups that they are of."""
    outcomes, at = outcomes_of(part, answer)
    for piece, outcome in zip(pieces, outcomes, strict=True):
        found[piece.group].append(_Answered(at, piece, outcome))


class _Told(NamedTuple):
    """What was said of a check at one place."""

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
    for at, piece, outcome in answered:
        for row, check in zip(outcome.split(), piece.checks, strict=True):
            told[check].append(_Told(at, piece.levels, row))
    return [some[0].row if len(some) == 1 else _together(group, check, some, back) for check, some in enumerate(told)]


def _all_allowed(group: CheckGroup, answered: Sequence[_Answered]) -> list[_Row]:
    """Do it where no check is refused, as with most batches."""
    width, count = len(group.levels), len(group)
    left, full = [[0] * count for _ in range(width)], [[0] * count for _ in range(width)]
    for one in answered:
        levels, numbers = one.piece.levels, decode_rows(one.outcome.rows)
        size = len(numbers) // one.outcome.count
        for at, level in enumerate(levels):
            start, lefts, fulls = FIXED + 2 * at if len(levels) > 1 else 2, left[level], full[level]
            for check, some, until in zip(one.piece.checks, numbers[start::size], numbers[start + 1 :: size], strict=True):
                lefts[check], fulls[check] = some, until
    strict = [level for level, limit in enumerate(group.levels.limits) if not limit.is_shadow] or [0]
    rows: list[_Row] = []
    for some_left, some_full in zip(zip(*left, strict=True), zip(*full, strict=True), strict=True):
        tight = min(strict, key=some_left.__getitem__)
        row = [ALLOWED, tight, some_left[tight], some_full[tight], 0, 0]
        if width > 1:
            row += chain.from_iterable(zip(some_left, some_full, strict=True))
        rows.append(row)
    return rows


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
                subject = group.subjects[check * width + level]
                charge = Charge(levels.tenants[level], limit, subject, units, full_ms)
                back.setdefault((lane_of(subject), one.at), []).append(charge)
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
