"""Writing state objects in MongoDB: a batch in one transaction, with its events, its entries in indexes and its timers."""

from asyncio import Lock, sleep
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain, islice
from time import monotonic
from typing import Any, TypeVar

from bson import Int64
from pymongo.errors import PyMongoError
from stylobate.database.mongodb import Document, DuplicateError, MongoManager, MongoTransaction, micros
from stylobate.database.mongodb.faults import ClashError, unavailable
from stylobate.idempotency import IdempotencyLedger
from stylobate.resilience import backoff
from stylobate.stopping import check_cancelled

from stylobate_state.model import StateKey, Taken, Write, WriteOutcome, grouped, result_of
from stylobate_state.store.ephemeral import as_kept
from stylobate_state.store.mongodb.batch import Batch, Made
from stylobate_state.store.mongodb.documents import OBJECT_BYTES, STATE, TIMER, id_of, members_of, queued, state_of
from stylobate_state.store.mongodb.events import write_events
from stylobate_state.store.mongodb.fence import MongoFence, is_refused
from stylobate_state.store.mongodb.indexes import MongoIndexes

T = TypeVar("T")
_CLASHES = frozenset(("state_entry_unique", "_id_"))
"""Unique indexes that another may have entered something into at the same moment."""


class MongoWriter:
    """The part of MongoStateStore that writes.

    Nobody waits for another's locks: of two transactions that change the same object the later one is taken back, and made again.
    """

    def __init__(
        self, database: MongoManager, ledger: IdempotencyLedger[MongoTransaction], indexes: MongoIndexes, fence: MongoFence
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._indexes = indexes
        self._fence = fence
        self._turn = Lock()

    async def write(self, writes: Sequence[Write]) -> list[WriteOutcome]:
        kept = _kept(writes)
        namespaces = {write.key.namespace for write in kept}
        return await self.knowing(namespaces, lambda transaction: self._claimed(transaction, kept))

    async def write_in(
        self, transaction: MongoTransaction, writes: Sequence[Write], *, generation: int | None = None
    ) -> list[WriteOutcome]:
        """Write, within a transaction, what has no idempotency keys; to be called under :meth:`knowing`.

        :param generation: of the projection whose objects these are.
        """
        return await self._settle(transaction, _kept(writes), generation)

    async def knowing(self, namespaces: Collection[str], work: Callable[[MongoTransaction], Awaitable[T]]) -> T:
        """Do work that writes objects of these namespaces in a transaction.

        It is done again where others were at it at the same moment, or know more indexes; of what this process has to do again
        one comes after the other, else each would undo the others all along.
        """
        pauses, until = backoff(initial=0.002, maximum=0.05), monotonic() + self._database.lock_s
        turn: AbstractAsyncContextManager[object] = nullcontext()
        while True:
            check_cancelled()
            if self._indexes.newest < 0:
                await self._indexes.read()
            try:
                async with turn, MongoTransaction(self._database, replays=False) as transaction:
                    return await work(transaction)
            except ClashError as error:
                clash = error.__cause__ or error
            except DuplicateError as error:
                if error.index not in _CLASHES:
                    raise
                clash = error
            except PyMongoError as error:
                if not is_refused(error):
                    raise
                await self._fence.refused(namespaces, self._indexes.newest, error)
                await self._indexes.read()
                clash = error
            pause = next(pauses)
            if monotonic() + pause > until:
                raise unavailable(clash)
            await sleep(pause)
            turn = self._turn

    async def _claimed(self, transaction: MongoTransaction, writes: Sequence[Write]) -> list[WriteOutcome]:
        """Write those whose keys can be claimed, with their answers."""
        groups = grouped(writes)
        claims = [group[0].claim for group in groups if group[0].claim is not None]
        if not claims:
            return await self._settle(transaction, writes)
        ours = iter(await self._ledger.claim(transaction, claims))
        is_free = [group[0].claim is None or next(ours) for group in groups]
        free = [group for group, mine in zip(groups, is_free, strict=True) if mine]
        found = iter(await self._settle(transaction, list(chain.from_iterable(free))) if free else ())
        outcomes = [list(islice(found, len(group))) for group in free]
        answers = [
            (group[0].claim, result)
            for group, outcome in zip(free, outcomes, strict=True)
            if group[0].claim is not None and (result := result_of(group, outcome)) is not None
        ]
        await self._ledger.answer(transaction, answers)
        done = iter(outcomes)
        return [
            outcome
            for group, mine in zip(groups, is_free, strict=True)
            for outcome in (next(done) if mine else [Taken()] * len(group))
        ]

    async def _settle(
        self, transaction: MongoTransaction, writes: Sequence[Write], generation: int | None = None
    ) -> list[WriteOutcome]:
        """Read what stands there, decide, write what is made."""
        present = {
            state.key: state for state in map(state_of, await transaction.find(STATE, at_keys([one.key for one in writes])))
        }
        batch = Batch(writes, present, self._indexes.of, datetime.now(UTC))
        batch.decide(await self._indexes.holders(transaction, sorted(batch.wanted())))
        if batch.made:
            await self._put(transaction, batch.made, generation)
        return batch.outcomes

    async def _put(self, transaction: MongoTransaction, made: Sequence[Made], generation: int | None) -> None:
        known: dict[str, Any] = {"known": Int64(self._indexes.newest)}
        if generation is not None:
            known["generation"] = Int64(generation)
        in_order = sorted(made, key=lambda one: one.write.key)  # two batches meet at the first object that they share
        await transaction.write_each(
            STATE,
            "update",
            [
                {
                    "q": {"_id": id_of(one.state.key)},
                    "u": {"$set": members_of(one.state, with_data=one.before is None or not one.write.keeps_data) | known},
                    "upsert": one.state.version == 1,
                }
                for one in in_order
            ],
            [OBJECT_BYTES + len(one.state.data) for one in in_order],
            ordered=False,
        )
        await write_events(transaction, [(one.event, one.write.key.namespace, one.state.version) for one in made])
        await self._indexes.enter(transaction, in_order)
        ended = [
            queued(one.state.key, timer)
            for one in made
            if one.before is not None and not one.write.change.stays
            for timer in one.before.timers
            if timer.at is not None
        ]
        if ended:
            await transaction.delete(TIMER, {"_id": {"$in": ended}})
        begun = [
            {"_id": queued(one.state.key, timer), "due_at": Int64(micros(timer.at)), "tries": 0}
            for one in made
            if one.before is None or not one.write.change.stays
            for timer in one.state.timers
            if timer.at is not None
        ]
        if begun:
            await transaction.insert(TIMER, begun)


def _kept(writes: Sequence[Write]) -> list[Write]:
    """Return the writes with their data as it is read from then on. Raises StateDataInvalidError."""
    return [write if write.keeps_data else replace(write, data=as_kept(write.data)) for write in writes]


def at_keys(keys: Sequence[StateKey]) -> Document:
    """Return the condition on the documents at these keys."""
    return {"_id": id_of(keys[0])} if len(keys) == 1 else {"_id": {"$in": [id_of(key) for key in keys]}}
