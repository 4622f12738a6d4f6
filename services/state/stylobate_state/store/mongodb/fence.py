"""What keeps writers out who do not know enough, in MongoDB: the validator of ``state``.

A document that is written must say that its writer knows the newest *generation* of the indexes, and be of a namespace that
stands here. To change the validator MongoDB takes the collection for itself: it waits until every transaction that has touched it
has ended, and whoever writes afterwards is held to it. So after :meth:`MongoFence.close` no write is under way, or can begin,
that does not know what was committed before.
"""

from collections.abc import Awaitable, Collection
from functools import partial
from typing import Any, Protocol, TypeVar

from bson import Int64
from pymongo.errors import BulkWriteError, OperationFailure, PyMongoError
from stylobate.database.mongodb import MongoManager, MongoTransaction

from stylobate_state.errors import StateMovedError
from stylobate_state.store.mongodb.documents import STATE, behind, of_later_tenants

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
FENCE = "state_fence"
PLACE = "state_place"
GENERATION, _TURN = "generation", "turn"
_REFUSED = 121
_PATIENCE_MS = 20_000
"""For writes that are under way. The transaction that holds the turn lives three times as long."""


class _Work(Protocol[T_co]):
    def __call__(self, transaction: MongoTransaction, /, generation: int) -> Awaitable[T_co]: ...


class MongoFence:
    """The fence of one database."""

    def __init__(self, database: MongoManager) -> None:
        self._database = database

    async def generation(self) -> int:
        """Return the newest generation."""
        found = await self._database.find_one(FENCE, {"_id": GENERATION})
        return 0 if found is None else int(found["value"])

    async def begin(self, transaction: MongoTransaction) -> int:
        """Begin another generation with a transaction. It counts once :meth:`close` has returned."""
        found = await transaction.find_and_update(FENCE, {"_id": GENERATION}, {"$inc": {"value": Int64(1)}}, upsert=True)
        assert found is not None  # noqa: S101  of an upsert
        return int(found["value"])

    async def close(self) -> None:
        """Hold every write to what is committed by now. Waits for those that are under way."""

        async def take_turn(transaction: MongoTransaction) -> None:
            # whoever waits for the turn reads what was committed before he got it: no validator gives way to an older one
            await transaction.find_and_update(FENCE, {"_id": _TURN}, {"$inc": {"value": Int64(1)}}, upsert=True)
            found = await transaction.find_one(FENCE, {"_id": GENERATION})
            elsewhere = await transaction.find(PLACE, {"elsewhere": {"$ne": None}}, sort=[("_id", 1)])
            generation = 0 if found is None else found["value"]
            await self._database.command(
                {
                    "collMod": STATE,
                    "validator": _validator(generation, [row["_id"] for row in elsewhere]),
                    "maxTimeMS": _PATIENCE_MS,
                }
            )
            await transaction.update_one(FENCE, {"_id": GENERATION}, {"$max": {"fenced": Int64(generation)}})

        await self._database.transact(take_turn)

    async def mend(self) -> None:
        """Finish what another began and did not close, if there is any."""
        found = await self._database.find_one(FENCE, {"_id": GENERATION})
        if found is not None and found.get("fenced", 0) < found["value"]:
            await self.close()

    async def refused(self, namespaces: Collection[str], known: int, error: PyMongoError) -> None:
        """Raise StateMovedError if one of these stands elsewhere; else the writer knew too little.

        :param known: the generation that it knew.
        """
        row = await self._database.find_one(PLACE, {"_id": {"$in": sorted(namespaces)}, "elsewhere": {"$ne": None}})
        if row is not None:
            raise StateMovedError(row["_id"]) from error
        if await self.generation() <= known:
            await self.close()  # the validator is of another time than what is kept: after a restore of a part


def is_refused(error: PyMongoError) -> bool:
    """Return whether the fence refused a write."""
    if isinstance(error, BulkWriteError):
        return any(one.get("code") == _REFUSED for one in error.details.get("writeErrors", ()))
    return isinstance(error, OperationFailure) and error.code == _REFUSED


def _validator(generation: int, elsewhere: list[str]) -> dict[str, Any]:
    known: dict[str, Any] = {"known": {"$gte": Int64(generation)}}
    if not elsewhere:
        return known
    # what a move brings says which version it brought: whoever writes another one does not carry it
    is_carried = {"$expr": {"$eq": ["$carried", "$version"]}}
    return known | {"$or": [{"_id.namespace": {"$nin": elsewhere}}, is_carried]}


async def next_tenant(database: MongoManager | MongoTransaction, tenant: str) -> str | None:
    """Return the first tenant behind this one that has any object; None: there is none."""
    found = await database.find_one(STATE, {"_id": of_later_tenants(tenant)}, {"_id": 1}, sort=[("_id", 1)])
    return None if found is None else str(found["_id"]["tenant"])


async def has_objects(database: MongoManager, namespace: str, *, older_than: int | None = None) -> bool:
    """Return whether anything was ever written in a namespace.

    :param older_than: only what was written last by who did not know this generation; None: whoever did.
    """
    older = {} if older_than is None else {"known": {"$lt": Int64(older_than)}}
    tenant = await next_tenant(database, "")
    while tenant is not None:
        if await database.find_one(STATE, {"_id": behind(tenant, namespace, "")} | older, {"_id": 1}) is not None:
            return True
        tenant = await next_tenant(database, tenant)
    return False


async def knowing(database: MongoManager, namespaces: Collection[str], work: _Work[T]) -> T:
    """Do work in a transaction that changes objects and enters nothing into indexes; it is given the generation to write.

    :raises StateMovedError: one of the namespaces stands elsewhere.
    """
    fence = MongoFence(database)
    while True:
        generation = await fence.generation()
        try:
            return await database.transact(partial(work, generation=generation))
        except PyMongoError as error:
            if not is_refused(error):
                raise
            await fence.refused(namespaces, generation, error)
