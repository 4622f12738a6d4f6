"""Another primary: it has all that was acknowledged, and for a moment tells less.

A member that is elected has every write that a majority had. Which of them a majority has it learns only when the first write of
its own term is everywhere: until then reads with the concern ``majority`` may give what stood before. So who reads asks a new
primary once for a read that waits for that (``linearizable``), before anything else of it is believed.
"""

import asyncio
from typing import Any

import pymongo
from bson import ObjectId
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.read_concern import ReadConcern

from stylobate.database.mongodb.statements import Do, Document, R

_LINEARIZABLE = ReadConcern("linearizable")


class Succession:
    """Reads of which each sees what was acknowledged before it, whoever is the primary."""

    def __init__(self, client: AsyncMongoClient[Document], collection: AsyncCollection[Document], within_s: float) -> None:
        """Keep the parts.

        :param collection: one that the user may read; what is in it does not matter. :param within_s: what asking may take.
        """
        self._client = client
        self._collection = collection.with_options(read_concern=_LINEARIZABLE)
        self._within_s = within_s
        self._believed: ObjectId | None = None
        self._asking: asyncio.Task[None] | None = None

    async def read(self, on: Any, do: Do[R]) -> R:
        """Read; again where another primary came meanwhile: nobody knows which of them answered. Raises as the driver does."""
        while True:
            await self._follow()
            election = self._believed
            result = await do(on, None)
            if self._election == election:
                return result

    @property
    def _election(self) -> ObjectId | None:
        """The last election that a server has told of; None: none has yet."""
        return self._client.topology_description.max_election_id

    async def _follow(self) -> None:
        """Wait until the primary tells all that it has; many who wait ask once."""
        while self._election != self._believed:
            if self._asking is None:
                self._asking = asyncio.create_task(self._ask(), name="database-succession")
                self._asking.add_done_callback(self._asked)
            await asyncio.shield(self._asking)

    async def _ask(self) -> None:
        election = self._election
        with pymongo.timeout(self._within_s):
            await self._collection.find_one({}, {"_id": 1})
        self._believed = election

    def _asked(self, task: asyncio.Task[None]) -> None:
        self._asking = None
        if not task.cancelled():
            task.exception()  # whoever waits is told; nobody may
