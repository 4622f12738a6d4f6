"""The databases that a restore marks and fills, and the moments and rows of either kind of them."""

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

from stylobate.database.copying import Into, Moment, schemas_there, snapshot
from stylobate.database.filling import adding, filling
from stylobate.database.restoring import Home, PostgresHome
from stylobate.launcher.backup.places import Place

if TYPE_CHECKING:
    from stylobate.database.mongodb.copying import MongoMoments


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
    from stylobate.database.mongodb import filling as mongodb  # noqa: PLC0415

    async with (mongodb.filling if is_new else mongodb.adding)(place.url, place.service) as on_mongodb:
        yield on_mongodb
