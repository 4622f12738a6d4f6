"""The hook store in memory, for tests."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from stylobate.hooks.port import DeadLetter, HookStanding, Kept, Move, Place, Rebased
from stylobate.outbox import PARTITIONS, Event, LoggedEvent, Position

_Key = tuple[str, str, int]


@dataclass(slots=True)
class _Row:
    number: int
    epoch: str
    updated_at: datetime
    token: int = 0


class MemoryHookStore:
    """The port in dictionaries.

    :param clock: the time of changes.
    """

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._rows: dict[_Key, _Row] = {}
        self._aside: dict[int, tuple[Place, Kept, datetime]] = {}
        self._dead: dict[tuple[str, str, int, str, int], DeadLetter] = {}
        """By hook, source, partition, epoch and number."""
        self._seq = 0

    async def unknown(self, source: str, hooks: Sequence[str]) -> list[str]:
        """See the port."""
        return [hook for hook in hooks if (hook, source, 0) not in self._rows]

    async def add(self, source: str, hooks: Sequence[str], position: Position) -> None:
        """See the port."""
        for hook in hooks:
            for partition, number in enumerate(position.numbers):
                self._rows.setdefault((hook, source, partition), _Row(number, position.epoch, self._clock()))

    async def take(self, source: str, hooks: Sequence[str], token: int) -> Mapping[str, Position]:
        """See the port."""
        taken: dict[str, Position] = {}
        for (hook, of, partition), row in self._rows.items():
            if of == source and hook in hooks and row.token <= token:
                row.token = token
                taken[hook] = (taken.get(hook) or Position.origin(row.epoch)).advanced({partition: row.number})
        return taken

    async def holds(self, hook: str, source: str, token: int) -> bool:
        """See the port."""
        return any(key[:2] == (hook, source) and row.token == token for key, row in self._rows.items())

    async def move(self, moves: Sequence[Move]) -> list[bool | Exception]:
        """See the port."""
        return [self._move(move.place, move.number) for move in moves]

    async def bury(self, place: Place, logged: LoggedEvent, attempts: int, error: str) -> bool:
        """See the port."""
        if not self._move(place, logged.number):
            return False
        self._bury(place, logged.number, logged.event, attempts, error)
        return True

    async def bury_gap(self, place: Place, number: int, error: str, *, move_to: int) -> bool:
        """See the port."""
        if not self._move(place, move_to):
            return False
        self._bury(place, number, None, 0, error)
        return True

    async def rebase(self, hook: str, source: str, token: int, epoch: str, places: Sequence[Rebased]) -> bool:
        """See the port."""
        if not await self.holds(hook, source, token):
            return False
        for to in places:
            row = self._rows[hook, source, to.partition]
            if to.error is not None:
                self._bury(Place(hook, source, to.partition, token, row.epoch), to.lost, None, 0, to.error)
            row.number, row.epoch, row.updated_at = to.number, epoch, self._clock()
        return True

    async def put_aside(self, place: Place, logged: LoggedEvent) -> bool:
        """See the port."""
        if not self._move(place, logged.number):
            return False
        if not any(_is_at(place, logged.number, at, kept) for at, kept, _ in self._aside.values()):
            self._seq += 1
            self._aside[self._seq] = (place, Kept(self._seq, logged, 0, 0.0), self._clock())
        return True

    async def subjects_aside(self, hook: str, source: str) -> Mapping[int, Mapping[tuple[str, str], int]]:
        """See the port."""
        found: dict[int, dict[tuple[str, str], int]] = {}
        for place, kept, _ in self._aside.values():
            if (place.hook, place.source) == (hook, source):
                counts, key = found.setdefault(place.partition, {}), (kept.logged.event.tenant, kept.logged.event.subject)
                counts[key] = counts.get(key, 0) + 1
        return found

    async def first_aside(self, place: Place, tenant: str, subject: str) -> Kept | None:
        """See the port."""
        for at, kept, since in self._aside.values():
            event = kept.logged.event
            if _key(at) == _key(place) and (event.tenant, event.subject) == (tenant, subject):
                return replace(kept, age_s=(self._clock() - since).total_seconds())
        return None

    async def failed_aside(self, place: Place, kept: Kept, attempts: int, error: str) -> bool:
        """See the port."""
        del error
        if self._is_mine(place) and kept.seq in self._aside:
            at, row, since = self._aside[kept.seq]
            self._aside[kept.seq] = (at, replace(row, attempts=attempts), since)
        return self._is_mine(place)

    async def done_aside(self, place: Place, kept: Kept) -> bool:
        """See the port."""
        if self._is_mine(place):
            self._aside.pop(kept.seq, None)
        return self._is_mine(place)

    async def bury_aside(self, place: Place, kept: Kept, attempts: int, error: str) -> bool:
        """See the port."""
        if self._is_mine(place) and (row := self._aside.pop(kept.seq, None)) is not None:
            self._bury(row[0], kept.logged.number, kept.logged.event, attempts, error)
        return self._is_mine(place)

    async def listing(self) -> list[HookStanding]:
        """See the port."""
        found = []
        for hook, source in sorted({key[:2] for key in self._rows}):
            rows = [self._rows[hook, source, partition] for partition in range(PARTITIONS)]
            aside = sum((place.hook, place.source) == (hook, source) for place, _, _ in self._aside.values())
            dead = sum((letter.hook, letter.source) == (hook, source) for letter in self._dead.values())
            position = Position.of([row.number for row in rows], rows[0].epoch)
            found.append(HookStanding(hook, source, position, max(row.updated_at for row in rows), aside, dead))
        return found

    async def rewind(self, hook: str, source: str, position: Position) -> bool:
        """See the port."""
        if (hook, source, 0) not in self._rows:
            return False
        for partition, number in enumerate(position.numbers):
            row = self._rows[hook, source, partition]
            self._rows[hook, source, partition] = _Row(number, position.epoch, self._clock(), row.token + 1)
        return True

    def _is_mine(self, place: Place) -> bool:
        row = self._rows.get(_key(place))
        return row is not None and row.token == place.token

    def _move(self, place: Place, number: int) -> bool:
        row = self._rows.get(_key(place))
        if row is None or (row.token, row.epoch) != (place.token, place.epoch):
            return False
        row.number, row.updated_at = max(row.number, number), self._clock()
        return True

    async def dead_letters(self, *, hook: str = "", ids: Sequence[int] = (), most: int = 100) -> list[DeadLetter]:
        """See the port."""
        found = [letter for letter in self._dead.values() if letter.hook == hook or not hook]
        return sorted((letter for letter in found if letter.id in ids or not ids), key=lambda letter: -letter.id)[:most]

    async def redrive(self, ids: Sequence[int]) -> list[int]:
        """See the port."""
        gone = [(key, letter) for key, letter in self._dead.items() if letter.id in ids and key[:3] in self._rows]
        for key, letter in gone:
            if letter.event is not None:
                del self._dead[key]
                self._seq += 1
                logged = LoggedEvent(letter.event, letter.partition, letter.number)
                place = Place(letter.hook, letter.source, letter.partition, 0, key[3])
                self._aside[self._seq] = (place, Kept(self._seq, logged, 0, 0.0), self._clock())
        driven = [letter for _, letter in gone if letter.event is not None]
        for hook, source in {(letter.hook, letter.source) for letter in driven}:
            for partition in range(PARTITIONS):
                self._rows[hook, source, partition].token += 1
        return sorted(letter.id for letter in driven)

    async def drop(self, ids: Sequence[int]) -> list[int]:
        """See the port."""
        gone = {key: letter.id for key, letter in self._dead.items() if letter.id in ids}
        for key in gone:
            del self._dead[key]
        return sorted(gone.values())

    def _bury(self, place: Place, number: int, event: Event | None, attempts: int, error: str) -> None:
        key = (place.hook, place.source, place.partition, place.epoch, number)
        if key not in self._dead:
            self._seq += 1
            self._dead[key] = DeadLetter(self._seq, *key[:3], number, event, attempts, error, self._clock())


def _key(place: Place) -> _Key:
    return place.hook, place.source, place.partition


def _is_at(place: Place, number: int, at: Place, kept: Kept) -> bool:
    return (_key(at), at.epoch, kept.logged.number) == (_key(place), place.epoch, number)
