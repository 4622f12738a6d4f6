"""``ctx.database`` of a module on MongoDB: a database of its own, reached as pymongo has it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference, SecondaryPreferred
from stylobate.database.mongodb import MongoManager
from stylobate.database.mongodb.faults import FAULTS, fault_of
from stylobate.database.mongodb.manager import SECONDARY_LAG_S
from stylobate.database.mongodb.statements import Collection
from stylobate.database.mongodb.transaction import MAJORITY
from stylobate.errors import DatabaseUnavailableError
from stylobate.modules.database import ModuleDatabase

T = TypeVar("T")
_RESERVED = frozenset({"migration", "migration_lock", "signal"})
_SNAPSHOT = ReadConcern("snapshot")


class MongoModuleDatabase(ModuleDatabase):
    """Collections of one database."""

    def __init__(self, module: str, database: MongoManager, *, may_lag: bool = False) -> None:
        super().__init__(module, "mongodb")
        self._database = database
        self._may_lag = may_lag

    @property
    def reader(self) -> ModuleDatabase:
        return MongoModuleDatabase(self._module, self._database, may_lag=True)

    def collection(self, name: str) -> Collection:
        if name in _RESERVED or name.startswith("system."):
            raise ValueError(f"{self._module}: the collection `{name}` is the platform's")
        self._database.check_held()
        found = self._database.collection(name)
        return found.with_options(read_preference=SecondaryPreferred(max_staleness=SECONDARY_LAG_S)) if self._may_lag else found

    async def transact(self, work: Callable[[AsyncClientSession], Awaitable[T]]) -> T:
        session, is_left = self._database.way().session(), False
        try:
            return await session.with_transaction(work, _SNAPSHOT, MAJORITY, ReadPreference.PRIMARY)
        except asyncio.CancelledError:
            is_left = True  # the server may not have heard of its end
            raise
        finally:
            if is_left:
                self._database.leftovers.leave(session)
            else:
                await session.end_session()


def outage_of(error: BaseException) -> DatabaseUnavailableError | None:
    """Return the platform's error for what the driver raises while the server is away; None for anything else."""
    known = fault_of(error) if isinstance(error, FAULTS) else None
    return known if isinstance(known, DatabaseUnavailableError) else None
