"""Removing what is over, some at a time."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from stylobate.database.mongodb import MongoManager, micros

_BATCH = 1000
_KEYS_STAY = timedelta(days=30)
"""How long a key is told of that is over."""


async def remove_tokens_of(database: MongoManager, sessions: Sequence[str]) -> None:
    """Remove the spent tokens of sessions that are gone. Without their session they lead nowhere."""
    await database.delete("spent_token", {"session_id": {"$in": [*sessions]}})


class MongoPruning:
    """The part of the store."""

    _database: MongoManager

    async def prune(self, now: datetime) -> int:
        over = {"expires_at": {"$lte": micros(now)}}
        gone, removed = await self._remove("session", over, "expires_at")
        if gone:
            kept = {document["_id"] for document in await self._database.find("session", {"_id": {"$in": gone}}, {"_id": 1})}
            await remove_tokens_of(self._database, [session for session in gone if session not in kept])
        for collection in ("spent_token", "revocation", "login_place", "client_assertion", "first_admin_invitation"):
            removed += (await self._remove(collection, over, "expires_at"))[1]
        removed += (await self._remove("mail", over | {"due_at": None}, "expires_at"))[1]
        long_over = {"over_at": {"$lte": micros(now - _KEYS_STAY)}}
        return removed + (await self._remove("api_key", long_over, "over_at"))[1]

    async def _remove(self, collection: str, over: Mapping[str, Any], end: str) -> tuple[list[Any], int]:
        """Remove what is over, the oldest first; return what was found and how many were removed."""
        found = await self._database.find(collection, over, {"_id": 1}, sort=[(end, 1)], limit=_BATCH)
        ids = [document["_id"] for document in found]
        return ids, await self._database.delete(collection, {"_id": {"$in": ids}, **over}) if ids else 0
