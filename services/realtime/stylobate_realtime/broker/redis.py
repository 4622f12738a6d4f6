"""The broker over Redis or Valkey pub/sub: nothing is kept there, who is not subscribed while it passes does not get it."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Self

import msgspec
from stylobate.errors import RedisUnavailableError
from stylobate.health import Health, Status
from stylobate.idempotency import Answer, Claim, KeyTakenError
from stylobate.redis import RedisManager, Script, Subscription

from stylobate_realtime.broker import Broadcast, Receive
from stylobate_realtime.errors import RealtimeUnavailableError

_PREFIX = "realtime:"


class RedisBroker:
    """Publishes through the process's RedisManager (pipelined, in order); hears through a connection of its own.

    Use :meth:`open`.
    """

    _heard: Subscription

    def __init__(self, redis: RedisManager, patience: timedelta) -> None:
        self._redis = redis
        self._patience = patience
        self._once = Script.of("stylobate_realtime.broker", "publish_once.lua")
        self._receive: Receive | None = None
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Broadcast).decode

    @classmethod
    @asynccontextmanager
    async def open(cls, redis: RedisManager, patience: timedelta) -> AsyncIterator[Self]:
        """Connect; to a server that is down as soon as it is there.

        :param patience: how long a subscription may wait for its acknowledgement.
        """
        broker = cls(redis, patience)
        broker._heard = await redis.subscribe((), broker._received, is_exact=True)
        try:
            yield broker
        finally:
            await broker._heard.close()

    def attach(self, receive: Receive) -> None:
        self._receive = receive

    async def subscribe(self, topic: str) -> None:
        try:
            await self._heard.add(_PREFIX + topic, self._patience)
        except RedisUnavailableError as error:
            raise RealtimeUnavailableError(retry_after=error.retry_after) from error

    def unsubscribe(self, topic: str) -> None:
        self._heard.remove(_PREFIX + topic)

    async def publish(self, topic: str, broadcast: Broadcast, claim: Claim | None = None) -> None:
        channel, payload = _PREFIX + topic, self._encode(broadcast)
        try:
            if claim is None:
                await self._redis.publish(channel, payload)
                return
            answer, kept_ms = claim.request + claim.encode(None), (claim.expires_at - claim.at) // timedelta(milliseconds=1)
            if self._redis.is_cluster:
                is_ours = await self._publish_apart(_answer_of(claim), answer, kept_ms, channel, payload)
            else:
                is_ours = await self._redis.run(self._once, [_answer_of(claim)], [answer, kept_ms, channel, payload])
        except RedisUnavailableError as error:
            raise RealtimeUnavailableError(retry_after=error.retry_after) from error
        if not is_ours:
            raise KeyTakenError

    async def _publish_apart(self, key: str, answer: bytes, kept_ms: int, channel: str, payload: bytes) -> bool:
        """Publish where the key's answer is in another slot than the channel: the answer first, so nothing is carried twice.

        Those that are under way at a time pass in any order.
        """
        if await self._redis.call("SET", key, answer, "NX", "PX", kept_ms) is None:
            return False
        try:
            await self._redis.publish(channel, payload)
        except BaseException:
            with suppress(RedisUnavailableError):
                await self._redis.call("DEL", key)
            raise
        return True

    async def find(self, claim: Claim) -> Answer | None:
        try:
            found = await self._redis.call("GET", _answer_of(claim))
        except RedisUnavailableError as error:
            raise RealtimeUnavailableError(retry_after=error.retry_after) from error
        size = len(claim.request)
        return None if found is None else Answer(found[:size], found[size:])

    async def prune(self, now: datetime) -> int:  # noqa: ARG002  the port's
        return 0

    async def health(self) -> Health:
        """Degraded while the connection is cut."""
        if self._heard.is_connected:
            return Health()
        return Health(Status.DEGRADED, "live messages pause: no connection to Redis")

    def _received(self, channel: str, payload: bytes) -> None:
        if self._receive is not None:
            self._receive(channel.removeprefix(_PREFIX), self._decode(payload))


def _answer_of(claim: Claim) -> str:
    """Return the key that a claim's answer stands at."""
    whose = f"{claim.tenant}\0{claim.caller}\0{claim.method}\0{claim.key}"
    return f"{_PREFIX}answer:{hashlib.sha256(whose.encode()).hexdigest()}"
