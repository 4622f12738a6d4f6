"""Events in memory, for tests: outbox, log and numbering in one."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from stylobate.database.memory import MemoryTransaction
from stylobate.outbox.errors import EventWrittenError, PositionExpiredError
from stylobate.outbox.event import PARTITIONS, Event, LoggedEvent
from stylobate.outbox.pattern import EventPattern
from stylobate.outbox.port import BATCH, LogPage
from stylobate.outbox.position import Position, position_to_go_on

_Subject = tuple[str, str, str]


class MemoryEventLog:
    """The three ports on lists. It is always the same database, so no epoch begins by itself.

    :param source: the service's name.
    :param clock: by which events grow old.
    """

    def __init__(self, source: str, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.source = source
        self.types: Sequence[EventPattern] = ()
        self.written: list[Event] = []
        """Every event, in the order of the commits."""
        self._clock = clock
        self._unnumbered: list[Event] = []
        self._log: list[list[LoggedEvent]] = [[] for _ in range(PARTITIONS)]
        self._head = self._pruned = Position.origin()
        self._epochs: list[tuple[str, list[int]]] = []
        self._token = 0
        self._ids: set[str] = set()
        self._versions: defaultdict[_Subject, dict[int, str]] = defaultdict(dict)
        self._numbers: dict[str, int] = {}
        self._locks: defaultdict[_Subject, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._callbacks: list[Callable[[], None]] = []

    # Outbox

    async def append(
        self, transaction: MemoryTransaction, events: Sequence[Event], *, stream: str, version: int | None = None
    ) -> None:
        if not isinstance(transaction, MemoryTransaction):
            raise ValueError("events are appended inside a transaction")  # noqa: TRY004  as the port says
        subjects = [(event.tenant, stream, event.subject) for event in events]
        if version is not None and len(set(subjects)) > 1:
            raise ValueError("one version counts for one subject")
        for subject in sorted(set(subjects)):
            await transaction.hold(self._locks[subject])
        versions = [] if version is None else list(range(version, version + len(events)))
        if any(event.id in self._ids for event in events) or any(one in self._versions[subjects[0]] for one in versions):
            raise EventWrittenError(f"a version of {stream} {events[0].subject}, or the event, was written already")

        def commit() -> None:
            written = [replace(event, source=self.source) for event in events]
            self.written += written
            self._unnumbered += written
            self._ids.update(event.id for event in events)
            if versions:
                self._versions[subjects[0]].update(zip(versions, (event.id for event in events), strict=True))

        transaction.on_commit(commit)

    # EventLog

    async def head(self) -> Position:
        return self._head

    async def oldest(self) -> Position:
        return self._pruned

    async def before(self, time: datetime) -> Position:
        first = {
            partition: min(logged.number for logged in log if logged.event.time >= time) - 1
            for partition, log in enumerate(self._log)
            if any(logged.event.time >= time for logged in log)
        }
        return self._head.advanced(first)

    async def check(self, position: Position, partitions: Iterable[int] | None = None) -> None:
        asked = list(range(PARTITIONS) if partitions is None else partitions)
        oldest, head = self._pruned, self._head
        if position.epoch == head.epoch and all(
            oldest.numbers[partition] <= position.numbers[partition] <= head.numbers[partition] for partition in asked
        ):
            return
        names = ["", *(epoch for epoch, _ in self._epochs)]
        known = names.index(position.epoch) if position.epoch in names else len(names) - 2
        starts = [start for _, start in self._epochs[known:]]
        there = position_to_go_on(position, asked, oldest=oldest, head=head, starts=starts)
        raise PositionExpiredError(metadata={"position": str(there)})

    async def read(
        self,
        position: Position,
        partitions: Sequence[int] | None = None,
        types: Sequence[EventPattern] = (),
        limit: int = 256,
        *,
        carried: bool = True,
    ) -> LogPage:
        """See the port; nothing is ever carried here."""
        del carried
        wanted = list(range(PARTITIONS) if partitions is None else partitions)
        await self.check(position, wanted)
        each, reached, events = max(1, limit // max(1, len(wanted))), dict[int, int](), list[LoggedEvent]()
        for partition in wanted:
            behind = (logged for logged in self._log[partition] if logged.number > position.numbers[partition])
            chosen = [one for one in behind if not types or any(kind.matches(one.event.type) for kind in types)][:each]
            reached[partition] = chosen[-1].number if len(chosen) == each else self._head.numbers[partition]
            events += chosen
        return LogPage(events, position.advanced(reached))

    async def numbers(self, tenant: str, stream: str, versions: Mapping[str, int]) -> dict[str, int]:
        ids = {subject: self._versions[tenant, stream, subject].get(version, "") for subject, version in versions.items()}
        return {subject: self._numbers[one] for subject, one in ids.items() if one in self._numbers}

    async def prune(self, older_than: timedelta, *, batch: int = 1000) -> int:
        """See the port; all in one step."""
        del batch
        removed, edge = 0, self._clock() - older_than
        for partition, log in enumerate(self._log):
            while log and log[0].event.time < edge:
                self._pruned = self._pruned.advanced({partition: log.pop(0).number})
                removed += 1
        return removed

    # Numbering

    async def claim(self, token: int) -> bool:
        if token < self._token:
            return False
        self._token = token
        return True

    async def number(self, token: int) -> list[LoggedEvent] | None:
        return self.number_now() if token == self._token else []

    def number_now(self) -> list[LoggedEvent]:
        """Do the same as whoever holds the lease."""
        batch, self._unnumbered = self._unnumbered[:BATCH], self._unnumbered[BATCH:]
        numbered = []
        for event in batch:
            number = self._head.numbers[event.partition] + 1
            self._head = self._head.advanced({event.partition: number})
            numbered.append(LoggedEvent(event, event.partition, number))
            self._log[event.partition].append(numbered[-1])
            self._numbers[event.id] = number
        return numbered

    async def settle(self, token: int, epoch: str) -> str:
        del token, epoch
        return ""

    async def begin(self, epoch: str, reason: str, *, token: int | None = None, starts: Mapping[int, int] | None = None) -> bool:
        del reason
        if token not in {None, self._token}:
            return False
        shared = [min(number, (starts or {}).get(partition, number)) for partition, number in enumerate(self._head.numbers)]
        self._epochs.append((epoch, shared))
        self._head, self._pruned = replace(self._head, epoch=epoch), replace(self._pruned, epoch=epoch)
        return True

    @asynccontextmanager
    async def listen(self, callback: Callable[[], None]) -> AsyncIterator[None]:
        self._callbacks.append(callback)
        try:
            yield
        finally:
            self._callbacks.remove(callback)

    async def tell(self) -> None:
        for callback in self._callbacks:
            callback()
