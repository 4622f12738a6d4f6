"""Counts in a Redis Cluster: behind several hash tags, so that every master counts."""

import asyncio
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

import msgspec
from stylobate.clients.limit_rows import ALLOWED
from stylobate.errors import RedisUnavailableError
from stylobate.logs import get_logger
from stylobate.redis import RedisManager, Script
from stylobate.telemetry import counter

from stylobate_ratelimit.group_outcome import GroupOutcome
from stylobate_ratelimit.model import Charge, CheckGroup, Limit
from stylobate_ratelimit.stand_in import StandIn
from stylobate_ratelimit.store.merging import Answered, Back, Row, Told, all_allowed, contested, merged
from stylobate_ratelimit.store.port import Missing
from stylobate_ratelimit.store.redis import RedisLimitStore
from stylobate_ratelimit.store.tagged_keys import HERE, NOWHERE, SLOTS, TAGS, Batch, Places, Share, lane_of

_SEVERAL_SLOTS = "#!lua flags=allow-cross-slot-keys\n"
_log = get_logger("app")
_not_given_back = counter("ratelimit_charges_not_given_back", "Charges of refused checks whose master did not answer.")


class RedisClusterLimitStore:
    """LimitStore on a Cluster. A subject's counts all stand behind one tag, those of two subjects mostly behind two.

    Of each level nobody gets more than its limit, as everywhere. What a check is charged at one master is one step: one script
    for all tags that it has. At several it is charged at once, and given back where another one refuses the check. Until that is
    done, some milliseconds, another check may be refused that would have passed; nobody passes who would have been refused.

    A master that does not answer is asked no more until :meth:`ready` has seen it answer; meanwhile ``stand_in`` decides in its
    place. What that refuses is asked nowhere else.
    """

    def __init__(self, redis: RedisManager, stand_in: StandIn, timeout: timedelta = timedelta(milliseconds=500)) -> None:
        self._lanes = [RedisLimitStore(redis, timeout, tag=tag) for tag in TAGS]
        self._redis = redis
        self._stand_in = stand_in
        self._any = RedisLimitStore(redis, timeout, tag="")
        self._script = Script(_SEVERAL_SLOTS + self._any.script.text, "check_limits.lua")
        self._encode = msgspec.msgpack.Encoder().encode
        self._timeout_s = timeout.total_seconds()
        self._away: dict[int, str] = {}
        """By tag why it cannot be asked."""

    is_spread = True

    @property
    def missing(self) -> Missing | None:
        if not self._away:
            return None
        masters = self._redis.masters_of(SLOTS)
        away = {masters[lane]: cause for lane, cause in self._away.items()}
        count = len({*masters})
        causes = "; ".join(f"{':'.join(map(str, node))}: {cause}" if node else cause for node, cause in away.items())
        return Missing(len(self._away) / len(TAGS), f"{count - len(away)} of {count} masters answer, not {causes}")

    async def charge(self, groups: Sequence[CheckGroup]) -> list[GroupOutcome]:
        found, degraded, back = await self._charge(groups)
        if back:
            await self._charge_again(groups, found, degraded, back)
        return [*map(GroupOutcome.of, found, degraded)]

    async def _charge_again(
        self, groups: Sequence[CheckGroup], found: list[list[Row]], degraded: Sequence[set[int]], back: Back
    ) -> None:
        """Decide again what was refused for the sake of charges that are gone now."""
        given = {(charge.tenant, charge.limit.name, charge.subject) for charges in back.values() for charge in charges}
        again = [sorted(contested(group, rows, given)) for group, rows in zip(groups, found, strict=True)]
        some = [number for number, checks in enumerate(again) if checks]
        if some:
            parts = [groups[number].without(set(range(len(groups[number]))) - set(again[number])) for number in some]
            rows, ours, _ = await self._charge(parts)
            for number, fresh, own in zip(some, rows, ours, strict=True):
                degraded[number].update(again[number][at] for at in own)
                for check, row in zip(again[number], fresh, strict=True):
                    found[number][check] = row

    async def _charge(self, groups: Sequence[CheckGroup]) -> tuple[list[list[Row]], list[set[int]], Back]:
        """Charge at all places at once; return the rows of each group, its degraded checks, and what was given back."""
        masters = self._redis.masters_of(SLOTS)
        of_tags = [HERE if lane in self._away else masters.index(master) for lane, master in enumerate(masters)]
        found: list[list[Answered]] = [[] for _ in groups]
        places = None
        if self._away:
            places = _places(groups, of_tags)
            await self._ask_here(groups, places, found)
        told, lost, moved = await self._ask_masters(groups, of_tags, places)
        back: Back = {}
        if places is None and not lost and not moved and all(one.has_passed for some in told for one in some):
            return (
                [all_allowed(group, some) for group, some in zip(groups, told, strict=True)],
                [set() for _ in groups],
                back,
            )
        places = places or _places(groups, of_tags)
        _note(groups, places, told, found)
        if moved:
            lanes = [
                [lane_of(subject) if place in moved else NOWHERE for subject, place in zip(group.subjects, there, strict=True)]
                for group, there in zip(groups, places, strict=True)
            ]
            if gone := await self._ask_tags(groups, lanes, found):
                self._away.update(gone)
                await self._ask_here(groups, _here(lanes, gone), found)
        if lost:
            self._away.update({lane: lost[place] for lane, place in enumerate(of_tags) if place in lost})
            await self._ask_here(groups, _here(places, lost), found)
        rows = [merged(group, answered, back) for group, answered in zip(groups, found, strict=True)]
        if back:
            await asyncio.gather(*(self._give_back(place, charges, at) for (place, at), charges in back.items()))
        return rows, [_degraded(answered) for answered in found], back

    async def _ask_masters(
        self, groups: Sequence[CheckGroup], of_tags: Sequence[int], places: Sequence[Places] | None
    ) -> tuple[list[list[Told]], dict[int, str], set[int]]:
        """Charge at the masters.

        :returns: what was said, by group; the places that did not answer, and why; and those where nothing was charged, as a slot
            is on the move.
        """
        shares = self._shares(groups, of_tags, places)
        told: list[list[Told]] = [[] for _ in groups]
        lost: dict[int, str] = {}
        moved: set[int] = set()
        if not shares:  # there is no check, or none that the stand-in has not refused
            return told, lost, moved
        calls: list[tuple[Sequence[str], Sequence[str | bytes]]] = [
            ((TAGS[next(iter(share.tags))],), (self._encode(share.message), *share.keys)) for share in shares.values()
        ]
        answers = await self._redis.run_here(self._script, calls, within_s=self._timeout_s)
        for (place, share), answer in zip(shares.items(), answers, strict=True):
            if answer is None:
                moved.add(place)
            elif isinstance(answer, RedisUnavailableError):
                lost[place] = _cause(answer)
            else:
                _read(place, share, answer, told)
        return told, lost, moved

    async def _ask_tags(
        self, groups: Sequence[CheckGroup], lanes: Sequence[Places], found: Sequence[list[Answered]]
    ) -> dict[int, str]:
        """Do the same with a script for each tag, which goes where the nodes say; return those that did not answer, and why."""
        shares = self._shares(groups, range(len(TAGS)), lanes)
        calls = (
            self._redis.run(self._any.script, (TAGS[lane], *share.keys), (self._encode(share.message),), within_s=self._timeout_s)
            for lane, share in shares.items()
        )
        told: list[list[Told]] = [[] for _ in groups]
        lost: dict[int, str] = {}
        answers = await asyncio.gather(*calls, return_exceptions=True)
        for (lane, share), answer in zip(shares.items(), answers, strict=True):
            if isinstance(answer, RedisUnavailableError):
                lost[lane] = _cause(answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                _read(lane, share, answer, told)
        _note(groups, lanes, told, found)
        return lost

    async def _ask_here(self, groups: Sequence[CheckGroup], places: Sequence[list[int]], found: Sequence[list[Answered]]) -> None:
        """Have the stand-in decide what is counted ``HERE``; what it refuses is then counted nowhere else."""
        for number, (group, there) in enumerate(zip(groups, places, strict=True)):
            width = len(group.levels)
            alike: dict[tuple[int, ...], list[int]] = {}
            for check in range(len(group)):
                own = tuple([level for level in range(width) if there[check * width + level] == HERE])
                if own:
                    alike.setdefault(own, []).append(check)
            for own, checks in alike.items():
                part = group.without(set(range(len(group))) - set(checks))
                outcome, at = await self._stand_in.charge(part if len(own) == width else part.of_levels(own))
                rows = (outcome if len(own) == width else outcome.of_levels(own, width)).split()
                found[number].append(Answered(at, HERE, tuple(there), checks, rows))
                for check, row in zip(checks, rows, strict=True):
                    if row[0] != ALLOWED:
                        there[check * width : (check + 1) * width] = [NOWHERE] * width

    def _shares(self, groups: Sequence[CheckGroup], of_tags: Sequence[int], places: Sequence[Places] | None) -> dict[int, Share]:
        return Batch(groups, [self._any.packed(group.levels) for group in groups], of_tags, places).shares

    async def ready(self) -> None:
        lanes = [*self._away]
        told = await asyncio.gather(*(self._lanes[lane].ready() for lane in lanes), return_exceptions=True)
        for lane, error in zip(lanes, told, strict=True):
            if error is None:
                self._away.pop(lane, None)
        if failed := [error for error in told if error is not None]:
            raise failed[0]

    async def quiet(self, tenant: str, name: str, subject: str, lasts: timedelta) -> None:
        await self._lane(subject).quiet(tenant, name, subject, lasts)

    async def reset(self, tenant: str, limit: Limit, subject: str) -> None:
        await self._lane(subject).reset(tenant, limit, subject)

    async def forgive(self, tenant: str, name: str, subject: str) -> None:
        await self._lane(subject).forgive(tenant, name, subject)

    def _lane(self, subject: str) -> RedisLimitStore:
        """Return where a subject is counted. Raises RedisUnavailableError at once where that does not answer."""
        lane = lane_of(subject)
        if lane in self._away:
            raise RedisUnavailableError(metadata={"cause": self._away[lane]})
        return self._lanes[lane]

    async def _give_back(self, place: int, charges: Sequence[Charge], at: int) -> None:
        if place == HERE:
            await self._stand_in.give_back(charges, at)
            return
        try:
            await self._lanes[place].give_back(charges, at)
        except RedisUnavailableError as error:  # they go by themselves, as charges do
            _not_given_back.inc(len(charges))
            _log.debug("charges_not_given_back", charges=len(charges), error=str(error))


def _here(places: Sequence[Places], lost: Collection[int]) -> list[list[int]]:
    """Return where is counted what was not answered for: here, and the rest is not counted again."""
    return [[HERE if place in lost else NOWHERE for place in there] for there in places]


def _cause(error: RedisUnavailableError) -> str:
    return error.metadata.get("cause", error.detail)


def _places(groups: Sequence[CheckGroup], of_tags: Sequence[int]) -> list[list[int]]:
    """Return where each subject of each group is counted."""
    return [[of_tags[lane_of(subject)] for subject in group.subjects] for group in groups]


def _read(place: int, share: Share, answer: Sequence[Any], told: Sequence[list[Told]]) -> None:
    """Put what a script said to the groups that it is of."""
    at = answer[-1]
    of_groups = zip(share.groups, share.checks, answer[:-1:3], answer[1:-1:3], answer[2:-1:3], strict=True)
    for group, checks, rows, refused, flagged in of_groups:
        told[group].append(Told(at, place, checks, rows, refused, bool(flagged)))


def _note(
    groups: Sequence[CheckGroup], places: Sequence[Places], told: Sequence[Sequence[Told]], found: Sequence[list[Answered]]
) -> None:
    """Put what was said of each check to what was found."""
    for group, there, some, answered in zip(groups, places, told, found, strict=True):
        answered += [Answered(one.at, one.place, there, one.own, one.of_own(group)) for one in some]


def _degraded(answered: Sequence[Answered]) -> set[int]:
    """Return the checks that were not wholly decided by the masters."""
    return {check for one in answered if one.place == HERE for check in one.checks}
