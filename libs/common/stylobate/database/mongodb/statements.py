"""The statements that stores send: the same names on a database, where each is one atomic step, and in a transaction."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

R = TypeVar("R")
Document = dict[str, Any]
Filter = Mapping[str, Any]
Update = Mapping[str, Any] | Sequence[Mapping[str, Any]]
"""Operators (``{"$set": …}``), or a pipeline, in which ``$$NOW`` is the server's clock."""
Sort = Sequence[tuple[str, int]]
Collection = AsyncCollection[Document]
_BATCH = 10_000
"""Documents in a message; the server's own choice are 101 in the first one."""
Do = Callable[[Collection, AsyncClientSession | None], Awaitable[R]]


class Changed(NamedTuple):
    """What a write did."""

    matched: int
    modified: int
    upserted: int = 0
    inserted: int = 0
    deleted: int = 0


class Statements:
    """Whatever runs statements. Each raises DatabaseUnavailableError, ValueRefusedError, or DuplicateError where it writes.

    Documents that are returned belong to the caller; in a transaction they are not to be changed (see MongoTransaction).
    """

    async def _do(self, collection: str, do: Do[R], *, is_read: bool = False) -> R:
        raise NotImplementedError

    async def find_one(
        self,
        collection: str,
        filter: Filter,  # noqa: A002  MongoDB's own word
        projection: Mapping[str, Any] | None = None,
        *,
        sort: Sort | None = None,
        hint: str | None = None,
    ) -> Document | None:
        """Return the first document that fits, or None."""
        return await self._do(
            collection, lambda on, session: on.find_one(filter, projection, sort=sort, hint=hint, session=session), is_read=True
        )

    async def find(
        self,
        collection: str,
        filter: Filter,  # noqa: A002
        projection: Mapping[str, Any] | None = None,
        *,
        sort: Sort | None = None,
        limit: int = 0,
        hint: str | None = None,
        newest: bool = False,
        of_one_moment: bool = False,
    ) -> list[Document]:
        """Return the documents that fit.

        :param limit: at most; 0: all. :param newest: also what no majority has yet; not in a transaction.
        :param of_one_moment: as in a transaction, which is so anyway: else some may be read later than others.
        """

        async def do(on: Collection, session: AsyncClientSession | None) -> list[Document]:
            if newest or (of_one_moment and session is None):
                on = on.with_options(read_concern=ReadConcern("local" if newest else "snapshot"))
            found = on.find(filter, projection, sort=sort, limit=limit, batch_size=limit or _BATCH, hint=hint, session=session)
            return await found.to_list()

        return await self._do(collection, do, is_read=True)

    async def aggregate(
        self, collection: str, pipeline: Sequence[Mapping[str, Any]], *, hint: str | None = None
    ) -> list[Document]:
        """Return what a pipeline gives."""
        options: dict[str, Any] = {} if hint is None else {"hint": hint}

        async def do(on: Collection, session: AsyncClientSession | None) -> list[Document]:
            return await (await on.aggregate(pipeline, session=session, **options)).to_list()

        return await self._do(collection, do, is_read=True)

    async def aggregate_within(self, collection: str, pipeline: Sequence[Mapping[str, Any]], most: int) -> list[Document] | None:
        """Return what a pipeline gives; None where that is more than one answer of the server holds: 16 MB.

        :param most: how many documents it gives at most.
        """

        async def do(on: Collection, session: AsyncClientSession | None) -> list[Document] | None:
            async with await on.aggregate(pipeline, session=session, batchSize=most + 1) as cursor:
                return None if cursor.cursor_id else await cursor.to_list()

        return await self._do(collection, do, is_read=True)

    async def count(self, collection: str, filter: Filter, *, limit: int = 0) -> int:  # noqa: A002
        """Return how many documents fit. :param limit: stop counting there; 0: nowhere."""
        options = {"limit": limit} if limit else {}
        return await self._do(
            collection, lambda on, session: on.count_documents(filter, session=session, **options), is_read=True
        )

    async def insert(self, collection: str, documents: Sequence[Document]) -> None:
        """Insert documents, in order; none: nothing happens. Outside a transaction those before one that fails stay."""
        if not documents:
            return

        async def do(on: Collection, session: AsyncClientSession | None) -> None:
            if len(documents) == 1:
                await on.insert_one(documents[0], session=session)
            else:
                await on.insert_many(documents, session=session)

        await self._do(collection, do)

    async def update_one(
        self,
        collection: str,
        filter: Filter,  # noqa: A002
        update: Update,
        *,
        upsert: bool = False,
        array_filters: Sequence[Mapping[str, Any]] | None = None,
    ) -> Changed:
        """Change the first document that fits; or, with ``upsert``, make it."""

        async def do(on: Collection, session: AsyncClientSession | None) -> Changed:
            done = await on.update_one(filter, update, upsert=upsert, array_filters=array_filters, session=session)
            return Changed(done.matched_count, done.modified_count, int(done.did_upsert))

        return await self._do(collection, do)

    async def update_many(self, collection: str, filter: Filter, update: Update) -> Changed:  # noqa: A002
        """Change every document that fits. Outside a transaction not at one moment."""

        async def do(on: Collection, session: AsyncClientSession | None) -> Changed:
            done = await on.update_many(filter, update, session=session)
            return Changed(done.matched_count, done.modified_count)

        return await self._do(collection, do)

    async def find_and_update(
        self,
        collection: str,
        filter: Filter,  # noqa: A002
        update: Update,
        *,
        upsert: bool = False,
        sort: Sort | None = None,
        projection: Mapping[str, Any] | None = None,
        before: bool = False,
    ) -> Document | None:
        """Change the first document that fits and return it as it is then, or as it was before; None: there was none."""
        returned = ReturnDocument.BEFORE if before else ReturnDocument.AFTER

        async def do(on: Collection, session: AsyncClientSession | None) -> Document | None:
            return await on.find_one_and_update(
                filter, update, projection, sort, upsert=upsert, return_document=returned, session=session
            )

        return await self._do(collection, do)

    async def find_and_delete(
        self,
        collection: str,
        filter: Filter,  # noqa: A002
        *,
        sort: Sort | None = None,
    ) -> Document | None:
        """Remove the first document that fits and return it; None: there was none."""
        return await self._do(collection, lambda on, session: on.find_one_and_delete(filter, sort=sort, session=session))

    async def delete(self, collection: str, filter: Filter) -> int:  # noqa: A002
        """Remove every document that fits; return how many."""

        async def do(on: Collection, session: AsyncClientSession | None) -> int:
            return (await on.delete_many(filter, session=session)).deleted_count

        return await self._do(collection, do)

    async def bulk(self, collection: str, writes: Sequence[Any], *, ordered: bool = True, quickly: bool = False) -> Changed:
        """Carry out many writes of pymongo's kinds (``UpdateOne`` …) in one message; none: nothing happens.

        :param ordered: one after the other, up to the first that fails; else all that can be.
        :param quickly: wait for the primary's memory alone: for what may be lost with it; not in a transaction.
        """
        if not writes:
            return Changed(0, 0)

        async def do(on: Collection, session: AsyncClientSession | None) -> Changed:
            on = on.with_options(write_concern=WriteConcern(1, j=False)) if quickly else on
            done = await on.bulk_write(writes, ordered=ordered, session=session)
            return Changed(done.matched_count, done.modified_count, done.upserted_count, done.inserted_count, done.deleted_count)

        return await self._do(collection, do)
