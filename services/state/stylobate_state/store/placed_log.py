"""The log of one namespace that stands in a database of its own, or with others in one: the part of that database's log."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from stylobate.outbox import EventLog, EventPattern, Position
from stylobate.outbox.port import APART, LogPage

from stylobate_state.store.places import PlaceStore


class PlacedLog:
    """An EventLog of a namespace. Its numbers are those of the whole log: events of other namespaces are passed over."""

    def __init__(self, log: EventLog, namespace: str, places: PlaceStore) -> None:
        self.source = f"{log.source}{APART}{namespace}"
        self.types: Sequence[EventPattern] = (EventPattern.parse(f"{log.source}.{namespace}.*"),)
        self._nothing = EventPattern.parse(f"{log.source}.{namespace}.-")
        self._log = log
        self._namespace = namespace
        self._places = places

    async def head(self) -> Position:
        return await self._log.head()

    async def oldest(self) -> Position:
        return await self._log.oldest()

    async def opening(self) -> Position:
        return Position.of(await self._places.opening(self._namespace), (await self._log.head()).epoch)

    async def before(self, time: datetime) -> Position:
        return await self._log.before(time)

    async def check(self, position: Position, partitions: Iterable[int] | None = None) -> None:
        await self._log.check(position, partitions)

    async def read(
        self,
        position: Position,
        partitions: Sequence[int] | None = None,
        types: Sequence[EventPattern] = (),
        limit: int = 256,
    ) -> LogPage:
        (own,) = self.types
        wanted = [found for kind in types if (found := kind.within(own)) is not None] if types else [own]
        return await self._log.read(position, partitions, wanted or [self._nothing], limit)

    async def numbers(self, tenant: str, stream: str, versions: Mapping[str, int]) -> dict[str, int]:
        return await self._log.numbers(tenant, stream, versions)

    async def prune(self, older_than: timedelta, *, batch: int = 1000) -> int:
        """Remove nothing: the log has other namespaces too."""
        del older_than, batch
        return 0
