"""The databases that a restore marks and fills, and the moments and rows of either kind of them."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from stylobate.database import restoring
from stylobate.database.copying import Into, Moment, adding, drop_schemas, filling, schemas_there, snapshot
from stylobate.database.restoring import Mark
from stylobate.launcher.backup.places import Place

if TYPE_CHECKING:
    from stylobate.database.mongodb.copying import MongoMoments


class Home(Protocol):
    """What is marked as one: a PostgreSQL with the schemas of its services, or the database of one service in MongoDB."""

    async def mark(self, backup: str) -> None:
        """Set the mark. Raises MigrationError where it cannot be set, as the following do."""

    async def settle(self) -> None:
        """Wait until nobody brings it up to date who began before the mark was set."""

    async def marked(self) -> Mark | None:
        """Return the mark that stands there."""

    async def note_whole(self) -> None:
        """Note in the mark that all is there."""

    async def unmark(self) -> None:
        """Take the mark away."""

    async def clear(self) -> None:
        """Remove what was put there, and no mark."""

    def alone(self) -> AbstractAsyncContextManager[bool]:
        """Say whether no other restore is at work there, and keep others out for the block."""


class PostgresHome:
    """A PostgreSQL."""

    def __init__(self, url: str, services: Sequence[str]) -> None:
        self._url, self._services = url, services

    async def mark(self, backup: str) -> None:
        """See Home."""
        await restoring.mark(self._url, self._services, backup)

    async def settle(self) -> None:
        """See Home."""
        await restoring.settle(self._url, self._services)

    async def marked(self) -> Mark | None:
        """See Home."""
        return await restoring.marked(self._url)

    async def note_whole(self) -> None:
        """See Home."""
        await restoring.note_whole(self._url)

    async def unmark(self) -> None:
        """See Home."""
        await restoring.unmark(self._url)

    async def clear(self) -> None:
        """Remove the schemas: those that the mark names, where it does, else ours."""
        mark = await self.marked()
        await drop_schemas(self._url, mark.services if mark is not None else self._services)

    def alone(self) -> AbstractAsyncContextManager[bool]:
        """See Home."""
        return restoring.alone(self._url)


def homes(places: Iterable[Place]) -> list[Home]:
    """Return where schemas are put."""
    found: list[Home] = []
    on_postgres: dict[str, list[str]] = {}
    for place in places:
        if not place.is_on_mongodb:
            on_postgres.setdefault(place.url, []).append(place.service)
            continue
        from stylobate.database.mongodb.restoring import MongoHome  # noqa: PLC0415  its driver, for whoever has one

        found.append(MongoHome(place.url, place.service))
    return [*(PostgresHome(url, services) for url, services in on_postgres.items()), *found]


async def is_free(place: Place) -> bool:
    """Return whether nothing of the service is there. Raises MigrationError."""
    if not place.is_on_mongodb:
        return not await schemas_there(place.url, [place.service])
    from stylobate.database.mongodb.restoring import MongoHome  # noqa: PLC0415

    return await MongoHome(place.url, place.service).is_empty()


class Moments:
    """The moments that are read: one for all services of a PostgreSQL, one for all of a MongoDB."""

    def __init__(self) -> None:
        self._on_mongodb: MongoMoments | None = None

    def of(self, place: Place) -> AbstractAsyncContextManager[Moment]:
        """Choose the moment for all places of a URL. Raises ConfigError, MigrationError."""
        if not place.is_on_mongodb:
            return snapshot(place.url)
        if self._on_mongodb is None:
            from stylobate.database.mongodb.copying import MongoMoments  # noqa: PLC0415

            self._on_mongodb = MongoMoments()
        return self._on_mongodb.snapshot(place.url, place.service)


@asynccontextmanager
async def into(place: Place, *, is_new: bool) -> AsyncIterator[Into]:
    """Fill a schema. :param is_new: whether it is emptied of what the migrations put there; else its tables are empty."""
    if not place.is_on_mongodb:
        opened = filling if is_new else adding
        async with opened(place.url, place.service, use_role=place.use_role) as on_postgres:
            yield on_postgres
        return
    from stylobate.database.mongodb import copying  # noqa: PLC0415

    async with (copying.filling if is_new else copying.adding)(place.url, place.service) as on_mongodb:
        yield on_mongodb
