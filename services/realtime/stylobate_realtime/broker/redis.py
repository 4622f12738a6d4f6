"""The broker over Redis or Valkey pub/sub: nothing is kept there, who is not subscribed while it passes does not get it."""

from datetime import timedelta

import msgspec
from stylobate.errors import RedisUnavailableError
from stylobate.health import Health, Status
from stylobate.logs import get_logger
from stylobate.redis import RedisManager

from stylobate_realtime.broker import Broadcast, Receive
from stylobate_realtime.broker.feed import Feed
from stylobate_realtime.errors import RealtimeUnavailableError

_PREFIX = "realtime:"
_PREFIX_BYTES = len(_PREFIX)
_log = get_logger("app")


class RedisBroker:
    """Publishes through the process's RedisManager (pipelined, in order); hears through a connection of its own.

    :meth:`run` must run beside it.
    """

    def __init__(self, redis: RedisManager, url: str, timeout: timedelta) -> None:
        self._redis = redis
        self._feed = Feed(url, self._received, timeout)
        self._receive: Receive | None = None
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Broadcast).decode

    def attach(self, receive: Receive) -> None:
        """Set who gets what arrives."""
        self._receive = receive

    async def run(self) -> None:
        """Keep the connection that hears, forever."""
        await self._feed.run()

    async def subscribe(self, topic: str) -> None:
        """Return once the server has acknowledged."""
        await self._feed.subscribe(_channel(topic))

    def unsubscribe(self, topic: str) -> None:
        """Stop hearing the topic."""
        self._feed.unsubscribe(_channel(topic))

    async def publish(self, topic: str, broadcast: Broadcast) -> None:
        """Return once the server has taken it."""
        try:
            await self._redis.publish(_PREFIX + topic, self._encode(broadcast))
        except RedisUnavailableError as error:
            raise RealtimeUnavailableError(retry_after=error.retry_after) from error

    async def health(self) -> Health:
        """Degraded while the feed is cut."""
        if self._feed.is_up:
            return Health()
        return Health(Status.DEGRADED, "live messages pause: no connection to Redis")

    def _received(self, channel: bytes, payload: bytes) -> None:
        if self._receive is None:
            return
        try:
            self._receive(channel[_PREFIX_BYTES:].decode(), self._decode(payload))
        except Exception:  # noqa: BLE001  one broadcast that cannot be read must not cut off all others
            _log.exception("broadcast_not_delivered", channel=channel.decode(errors="replace"))


def _channel(topic: str) -> bytes:
    return (_PREFIX + topic).encode()
