"""Counts in a Redis Cluster: behind several hash tags, so that every master counts."""

import asyncio
from collections.abc import Awaitable, Collection, Sequence
from datetime import timedelta
from typing import Any

import msgspec
from stylobate.errors import RedisUnavailableError
from stylobate.logs import get_logger
from stylobate.redis import RedisManager, Script
from stylobate.redis.link import Reply
from stylobate.telemetry import counter

from stylobate_ratelimit.group_outcome import GroupOutcome
from stylobate_ratelimit.model import Charge, CheckGroup, Limit
from stylobate_ratelimit.stand_in import StandIn
from stylobate_ratelimit.store.merging import Answered, Back, Row, contested, merged
from stylobate_ratelimit.store.port import Missing
from stylobate_ratelimit.store.redis import RedisLimitStore, outcomes_of
from stylobate_ratelimit.store.tagged_keys import HERE, NOWHERE, SLOTS, TAGS, Piece, Places, Request, lane_of, requests

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
        places = [[of_tags[lane_of(subject)] for subject in group.subjects] for group in groups]
        found: list[list[Answered]] = [[] for _ in groups]
        if self._away:
            await self._ask_here(groups, places, found)
        lost, moved = await self._ask_masters(groups, places, found)
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
        back: Back = {}
        rows = [merged(group, told, back) for group, told in zip(groups, found, strict=True)]
        if back:
            await asyncio.gather(*(self._give_back(place, charges, at) for (place, at), charges in back.items()))
        return rows, [_degraded(told) for told in found], back

    async def _ask_masters(
        self, groups: Sequence[CheckGroup], places: Sequence[Places], found: Sequence[list[Answered]]
    ) -> tuple[dict[int, str], set[int]]:
        """Charge at the masters, and put what was said into ``found``, by group.

        :returns: the places that did not answer, and why; and those where nothing was charged, as a slot is on the move.
        """
        asked = requests(groups, places, [self._any.packed(group.levels) for group in groups])
        lost: dict[int, str] = {}
        moved: set[int] = set()
        if not asked:
            return lost, moved
        calls = [self._to_master(request) for request in asked.values()]
        answers = await self._redis.run_here(self._script, calls, within_s=self._timeout_s)
        for (place, request), answer in zip(asked.items(), answers, strict=True):
            if answer is None:
                moved.add(place)
            elif isinstance(answer, RedisUnavailableError):
                lost[place] = _cause(answer)
            else:
                _note(request, answer, found)
        return lost, moved

    async def _ask_tags(
        self, groups: Sequence[CheckGroup], places: Sequence[Places], found: Sequence[list[Answered]]
    ) -> dict[int, str]:
        """Do the same with a script for each tag, which goes where the nodes say; return those that did not answer, and why."""
        asked = requests(groups, places, [self._any.packed(group.levels) for group in groups])
        answers = await asyncio.gather(*map(self._to_tag, asked.values()), return_exceptions=True)
        lost: dict[int, str] = {}
        for (lane, request), answer in zip(asked.items(), answers, strict=True):
            if isinstance(answer, RedisUnavailableError):
                lost[lane] = _cause(answer)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                _note(request, answer, found)
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
                told = outcome if len(own) == width else outcome.of_levels(own, width)
                found[number].append(Answered(at, Piece(number, HERE, tuple(there), checks), told))
                for check, allowed in zip(checks, told.allowed, strict=True):
                    if not allowed:
                        there[check * width : (check + 1) * width] = [NOWHERE] * width

    def _to_master(self, request: Request) -> tuple[Sequence[str], Sequence[str | bytes]]:
        master, told, keys = request.of_several_tags
        return (master,), (self._encode(told), *keys)

    def _to_tag(self, request: Request) -> Awaitable[Reply]:
        keys, told = request.of_one_tag
        return self._redis.run(self._any.script, keys, (self._encode(told),), within_s=self._timeout_s)

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


def _note(request: Request, answer: Sequence[Any], found: Sequence[list[Answered]]) -> None:
    """Put what a script said of pieces to the groups that they are of."""
    outcomes, at = outcomes_of([len(piece.checks) for piece in request.pieces], answer)
    for piece, outcome in zip(request.pieces, outcomes, strict=True):
        found[piece.group].append(Answered(at, piece, outcome))


def _degraded(told: Sequence[Answered]) -> set[int]:
    """Return the checks that were not wholly decided by the masters."""
    return {check for _, piece, _ in told if piece.place == HERE for check in piece.checks}
