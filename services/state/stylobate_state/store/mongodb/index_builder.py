"""Building an index over a namespace that is full already in MongoDB, beside the writes, some objects at a time.

Objects are entered in the order of tenants and keys. How far it has come is kept in the transaction that enters them, so that
the next builder, after a kill too, goes on there. Each object is changed a little by that (``built``), so that a writer who is at
it at the same moment and the builder cannot both be committed: one of them looks again. When all are in, writers refuse what
would be amiss (``is_strict``); if nothing is then, it is ready.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from bson import Int64
from pymongo import InsertOne, UpdateOne
from pymongo.errors import PyMongoError
from stylobate.database.mongodb import Document, DuplicateError, MongoManager, MongoTransaction, micros
from stylobate.logs import get_logger

from stylobate_state.index import Hold, Index, problem
from stylobate_state.model import StateRecord
from stylobate_state.store.mongodb.batch import Place, Value, placed
from stylobate_state.store.mongodb.documents import STATE, behind, id_of, state_of
from stylobate_state.store.mongodb.fence import MongoFence, is_refused, next_tenant
from stylobate_state.store.mongodb.indexes import ENTRY, INDEX, MongoIndexes, as_text, entry_id

UNHEARD = timedelta(minutes=1)
"""An index that nobody has declared for so long is removed: processes of another release may declare it still."""
_log = get_logger("app")


class MongoIndexBuilder:
    """Builds what is not ready, and removes what nobody declares."""

    def __init__(self, database: MongoManager, indexes: MongoIndexes, fence: MongoFence) -> None:
        self._database = database
        self._indexes = indexes
        self._fence = fence

    async def build(self, most: int) -> bool:
        """See StateStore."""
        await self._fence.mend()  # who began it may have been killed before its index was known to all
        await self._indexes.read()
        has_more = await self._remove(most)
        rows = await self._database.find(INDEX, {"is_ready": False, "is_dropped": False}, sort=[("_id", 1)])
        for row in sorted(rows, key=lambda one: (one["problem"] != "", one["_id"])):
            index = Index.defined(row["namespace"], row["definition"])
            if index is None:
                continue  # of a release that knows other bytes
            try:
                if await self._database.transact(partial(self._enter, id_=row["_id"], index=index, most=most)):
                    return True
                await self._finish(row["_id"], index, row["problem"])
            except DuplicateError:
                return True  # a writer was faster with a value; nothing of these was entered
            except PyMongoError as error:
                if not is_refused(error):
                    raise
                await self._fence.refused({index.namespace}, self._indexes.newest, error)
                return True
        return has_more

    async def _enter(self, transaction: MongoTransaction, id_: int, index: Index, most: int) -> bool:
        """Enter some objects; return whether there are others behind them."""
        # the change of the index's document keeps a second builder out, whatever became of its lease
        condition = {"_id": id_, "is_ready": False, "is_dropped": False}
        standing = await transaction.find_and_update(INDEX, condition, {"$inc": {"steps": 1}})
        if standing is None:
            return False
        tenant, key = standing["place"] or ("", "")
        found = await transaction.find(STATE, {"_id": behind(tenant, index.namespace, key)}, sort=[("_id", 1)], limit=most)
        if found:
            await self._insert(transaction, id_, index, [state_of(one) for one in found])
            key = found[-1]["_id"]["key"]
        else:
            following = await next_tenant(transaction, tenant)
            if following is None:
                return False
            tenant, key = following, ""
        await transaction.update_one(INDEX, {"_id": id_}, {"$set": {"place": [tenant, key]}, "$inc": {"entered": len(found)}})
        return True

    async def _insert(self, transaction: MongoTransaction, id_: int, index: Index, objects: Sequence[StateRecord]) -> None:
        known = {"known": Int64(self._indexes.newest), "built": Int64(id_)}
        await transaction.bulk(STATE, [UpdateOne({"_id": id_of(one.key)}, {"$set": known}) for one in objects], ordered=False)
        places = [(one, place) for one in objects if (place := placed(index, one)) is not None]
        there = await transaction.find(
            ENTRY, {"_id": {"$in": [entry_id(id_, one.key.tenant, one.key.key) for one, _ in places]}}, {"_id": 1}
        )
        entered = {one["_id"]["key"] for one in there}
        missing = [(one, place) for one, place in places if one.key.key not in entered]
        wanted = {Value(id_, one.key.tenant, place.sort) for one, place in missing if place.hold is Hold.ALONE}
        taken = await self._indexes.holders(transaction, sorted(wanted))
        documents = []
        for one, place in missing:
            value = Value(id_, one.key.tenant, place.sort)
            is_second = place.hold is Hold.ALONE and taken.setdefault(value, one.key.key) != one.key.key
            documents.append(_entry(id_, one, place._replace(hold=Hold.DUPLICATE) if is_second else place))
        await transaction.bulk(ENTRY, [InsertOne(document) for document in documents])

    async def _finish(self, id_: int, index: Index, known: str) -> None:
        """Make it ready, or say why it cannot be."""
        await self._database.transact(lambda transaction: self._release(transaction, id_))
        said = await self._problem(id_, index)
        if not said:
            await self._indexes.tighten(id_)  # no duplicate comes in behind the look
            said = await self._problem(id_, index)
            if said:
                await self._indexes.loosen(id_)
            else:
                await self._database.update_one(INDEX, {"_id": id_}, {"$set": {"is_ready": True, "problem": ""}})
                _log.info("index_ready", namespace=index.namespace, index=str(index))
        if said and said != known:
            await self._database.update_one(INDEX, {"_id": id_}, {"$set": {"problem": said}})
            _log.error("index_not_ready", namespace=index.namespace, index=str(index), problem=said)

    async def _release(self, transaction: MongoTransaction, id_: int) -> None:
        """Give values to duplicates whose rival has gone: the first of several takes them."""
        waiting = await transaction.find(ENTRY, {"_id.index": id_, "hold": 2}, sort=[("_id", 1)])
        for one in waiting:
            tenant, sort = one["_id"]["tenant"], one["sort"]
            if await transaction.find_one(ENTRY, _alone(id_, tenant, sort)) is None:
                await transaction.update_one(ENTRY, {"_id": one["_id"]}, {"$set": {"hold": 1}})

    async def _problem(self, id_: int, index: Index) -> str:
        amiss = await self._database.find_one(ENTRY, {"_id.index": id_, "hold": {"$gt": 1}}, sort=[("_id", 1)])
        if amiss is None:
            return ""
        holder = None
        if amiss["hold"] == int(Hold.DUPLICATE):
            found = await self._database.find_one(ENTRY, _alone(id_, amiss["_id"]["tenant"], amiss["sort"]))
            holder = found["_id"]["key"] if found is not None else ""
        return problem(index, amiss["_id"]["key"], holder)

    async def _remove(self, most: int) -> bool:
        """Remove entries of indexes that nobody declares; return whether there are more."""
        oldest = Int64(micros(datetime.now(UTC) - UNHEARD))
        unheard = {"is_dropped": False, "declared_at": {"$lt": oldest}}
        for row in await self._database.find(INDEX, unheard, {"_id": 1}):
            if await self._database.transact(partial(self._drop, id_=row["_id"], unheard=unheard)):
                await self._fence.close()  # no write enters anything into it from then on
        has_more = False
        for row in await self._database.find(INDEX, {"is_dropped": True}, {"_id": 1}):
            some = await self._database.find(ENTRY, {"_id.index": row["_id"]}, {"_id": 1}, limit=most)
            if some:
                await self._database.delete(ENTRY, {"_id": {"$in": [one["_id"] for one in some]}})
                has_more = True
            else:
                await self._database.delete(INDEX, {"_id": row["_id"]})
        return has_more

    async def _drop(self, transaction: MongoTransaction, id_: int, unheard: Document) -> bool:
        row = await transaction.find_and_update(INDEX, {"_id": id_} | unheard, {"$set": {"is_dropped": True, "is_ready": False}})
        if row is None:
            return False
        await self._fence.begin(transaction)
        _log.info("index_dropped", namespace=row["namespace"], definition=row["definition"])
        return True


def _entry(id_: int, state: StateRecord, place: Place) -> Document:
    owner: dict[str, Any] = {} if place.owner is None else {"owner": place.owner}
    return {
        "_id": entry_id(id_, state.key.tenant, state.key.key),
        "sort": as_text(place.sort),
        "hold": int(place.hold),
        **owner,
    }


def _alone(id_: int, tenant: str, sort: str) -> Document:
    return {"_id.index": id_, "_id.tenant": tenant, "sort": sort, "hold": 1}
