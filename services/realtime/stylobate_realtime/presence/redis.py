"""Presence in Redis or Valkey: a hash per topic, with an expiry per entry beside it."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec
from stylobate.errors import RedisUnavailableError
from stylobate.redis import RedisManager, Script

from stylobate_realtime.errors import RealtimeUnavailableError
from stylobate_realtime.presence import PresenceEntry
from stylobate_realtime.protocol.messages import ClientInfo

_PACKAGE = "stylobate_realtime.presence"


class RedisPresence:
    """Entries that every node sees.

    :param ttl: how long an entry outlives its last renewal.
    """

    def __init__(self, redis: RedisManager, ttl: timedelta) -> None:
        self._redis = redis
        self._ttl_ms = round(ttl.total_seconds() * 1000)
        self._put = Script.of(_PACKAGE, "put.lua")
        self._remove = Script.of(_PACKAGE, "remove.lua")
        self._entries = Script.of(_PACKAGE, "entries.lua")

    async def put(self, entries: Sequence[PresenceEntry]) -> None:
        """Add or renew, one script call per topic, all under way at once."""
        topics: dict[str, list[bytes | str]] = {}
        for entry in entries:
            topics.setdefault(entry.topic, []).extend((entry.info.client, msgspec.json.encode(entry.info)))
        calls = (self._run(self._put, topic, [self._ttl_ms, *pairs]) for topic, pairs in topics.items())
        await asyncio.gather(*calls)

    async def remove(self, topic: str, client: str) -> None:
        await self._run(self._remove, topic, [client])

    async def entries(self, topic: str) -> dict[str, ClientInfo]:
        flat = await self._run(self._entries, topic, [])
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return {client.decode(): msgspec.json.decode(info, type=ClientInfo) for client, info in pairs}

    async def _run(self, script: Script, topic: str, arguments: list[Any]) -> Any:
        # The braces put both keys of a topic into one slot of a cluster.
        keys = [f"realtime:{{{topic}}}:present", f"realtime:{{{topic}}}:expiry"]
        try:
            return await self._redis.run(script, keys, arguments)
        except RedisUnavailableError as error:
            raise RealtimeUnavailableError(retry_after=error.retry_after) from error
