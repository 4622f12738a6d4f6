"""State objects in MongoDB: one document each, their history in the outbox, a batch of writes in one transaction."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar

from stylobate.database.mongodb import Document, MongoManager, MongoTransaction, Statements
from stylobate.health import Health
from stylobate.idempotency import IdempotencyLedger

from stylobate_state.index import Index
from stylobate_state.model import (
    HistoryEntry,
    HistoryQuery,
    Indexed,
    IndexQuery,
    IndexStanding,
    ListQuery,
    Scan,
    StateKey,
    StateRecord,
    TooMany,
    Write,
    WriteOutcome,
)
from stylobate_state.store.mongodb.documents import (
    STATE,
    behind,
    id_of,
    key_of,
    state_of,
)
from stylobate_state.store.mongodb.fence import MongoFence, next_tenant
from stylobate_state.store.mongodb.finding import counting, indexed, pipeline
from stylobate_state.store.mongodb.history import MongoHistory
from stylobate_state.store.mongodb.index_builder import MongoIndexBuilder
from stylobate_state.store.mongodb.indexes import ENTRY, MongoIndexes
from stylobate_state.store.mongodb.replica import lagging, of_one_moment
from stylobate_state.store.mongodb.sorting import sorted_part
from stylobate_state.store.mongodb.writing import MongoWriter, at_keys
from stylobate_state.store.part import Part, gather


class MongoStateStore:
    """A StateStore in the service's database, beside the outbox's collections.

    Nobody waits for another's locks: of two transactions that change the same object the later one is taken back, and made again.
    """

    has_events: ClassVar[bool] = True
    most_at_once: ClassVar[int] = 256

    def __init__(self, database: MongoManager, ledger: IdempotencyLedger[MongoTransaction]) -> None:
        self._database = database
        self._fence = MongoFence(database)
        self._indexes = MongoIndexes(database, self._fence)
        self._builder = MongoIndexBuilder(database, self._indexes, self._fence)
        self._history = MongoHistory(database)
        self.writer = MongoWriter(database, ledger, self._indexes, self._fence)

    def part(self, namespace: str) -> "MongoStateStore":
        del namespace
        return self

    async def read(self, keys: Sequence[StateKey]) -> dict[StateKey, StateRecord]:
        if not keys:
            return {}
        found = await self._database.find(STATE, at_keys(keys))
        return {state.key: state for state in map(state_of, found)}

    async def write(self, writes: Sequence[Write]) -> list[WriteOutcome]:
        return await self.writer.write(writes)

    async def list_states(self, query: ListQuery) -> Part[StateRecord]:
        async def more(count: int, left: int, last: StateRecord | None) -> list[tuple[StateRecord, int]]:
            del left
            condition = _listed(query, query.after if last is None else last.key.key)

            async def read(server: Statements) -> list[Document]:
                return await server.find(STATE, condition, sort=[("_id", 1)], limit=count)

            found = await lagging(self._database, read, may_lag=query.may_lag)
            return [(state, len(state.data)) for state in map(state_of, found)]

        return await gather(query.limit, query.max_bytes, more)

    async def scan(self, namespace: str, after: StateKey | None, most: int) -> Scan:
        tenant, key = (await next_tenant(self._database, ""), "") if after is None else (after.tenant, after.key)
        versions: list[tuple[StateKey, int]] = []
        looked = 0
        shown = {"live": 1, "schema_version": 1}
        while tenant is not None:
            condition = {"_id": behind(tenant, namespace, key)}
            found = await self._database.find(STATE, condition, shown, sort=[("_id", 1)], limit=most - looked)
            looked += len(found)
            versions += [(key_of(one["_id"]), one["schema_version"]) for one in found if one["live"]]
            if looked == most:
                return Scan(versions, looked, key_of(found[-1]["_id"]))
            tenant, key = await next_tenant(self._database, tenant), ""
        return Scan(versions, looked, None)

    async def query(self, query: IndexQuery) -> Part[Indexed] | TooMany | None:
        known = await self._indexes.is_ready(query.index)
        if known is None:
            return None
        if query.order is not None:
            return await sorted_part(self._database, known.id, query, query.order)

        async def more(count: int, left: int, last: Indexed | None) -> list[tuple[Indexed, int]]:
            del left
            place = query if last is None else replace(query, after=(last.place, last.state.key.key))
            stages = pipeline(known.id, place, count)
            found = await of_one_moment(self._database, ENTRY, stages, may_lag=query.may_lag)
            return [(one, len(one.data)) for one in map(indexed, found)]

        return await gather(query.limit, query.max_bytes, more)

    async def count(self, query: ListQuery | IndexQuery) -> int | None:
        if isinstance(query, ListQuery):
            condition, most = _listed(query, ""), query.limit
            return await lagging(self._database, lambda server: server.count(STATE, condition, limit=most), may_lag=query.may_lag)
        known = await self._indexes.is_ready(query.index)
        if known is None:
            return None
        stages = counting(known.id, query)
        found = await lagging(self._database, lambda server: server.aggregate(ENTRY, stages), may_lag=query.may_lag)
        return int(found[0]["found"]) if found else 0

    async def declare(self, indexes: Sequence[Index]) -> None:
        await self._indexes.declare(indexes)

    async def indexes(self) -> Sequence[IndexStanding]:
        return await self._indexes.read()

    async def build(self, most: int) -> bool:
        return await self._builder.build(most)

    async def list_history(self, query: HistoryQuery) -> Part[HistoryEntry]:
        return await self._history.list(query)

    async def version_before(self, key: StateKey, time: datetime) -> int:
        return await self._history.version_before(key, time)

    async def owner_before(self, key: StateKey, version: int) -> str | None:
        return await self._history.owner_before(key, version)

    async def health(self) -> Health:
        return await self._database.health()


def _listed(query: ListQuery, after: str) -> Document:
    condition: dict[str, Any] = {"_id": behind(query.tenant, query.namespace, after), "live": True}
    if query.status:
        condition["status"] = query.status
    if query.keys is None:
        return condition if query.owner is None else condition | _owned(query.tenant, query.namespace, query.owner, after)
    among = {"_id": {"$in": [id_of(StateKey(query.tenant, query.namespace, key)) for key in sorted(query.keys) if key > after]}}
    if query.owner is None:
        return condition | among
    del condition["_id"]
    return condition | {"$or": [among, _owned(query.tenant, query.namespace, query.owner, after)]}


def _owned(tenant: str, namespace: str, owner: str, after: str) -> dict[str, Any]:
    """Return what leads to the index of owners."""
    return {"_id.tenant": tenant, "_id.namespace": namespace, "owner": owner, "_id.key": {"$gt": after}, "live": True}
