"""A subscription to channels by pattern on a connection of its own, renewed when lost."""

import asyncio
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from stylobate.errors import RedisUnavailableError
from stylobate.logs import get_logger
from stylobate.redis.address import RedisAddress
from stylobate.redis.link import Link, connect
from stylobate.resilience import backoff
from stylobate.stopping import end, goes_on

_SILENCE_S = 5.0
_log = get_logger("app")

Callback = Callable[[str, bytes], None]


class RedisSubscription:
    """Calls back for every message on a channel that matches a pattern, in the order of their publication.

    A message is delivered at most once: what is published while the connection is lost is not delivered; ``on_reconnect``
    is called when it is back, to look elsewhere for what was missed.
    """

    def __init__(
        self,
        address: RedisAddress,
        patterns: Iterable[str],
        callback: Callback,
        *,
        on_reconnect: Callable[[], None] | None,
        connect_timeout: timedelta,
    ) -> None:
        self._address = address
        self._patterns = set(patterns)
        self._callback = callback
        self._on_reconnect = on_reconnect
        self._connect_s = connect_timeout.total_seconds()
        self._link: Link | None = None
        self._unconfirmed = 0
        self._confirmed = asyncio.Event()
        self._tried = asyncio.Event()
        self._has_failed = False
        self._task: asyncio.Task[None] | None = None

    @property
    def is_connected(self) -> bool:
        """Whether the server knows of every pattern at the moment."""
        return self._link is not None and self._confirmed.is_set()

    async def start(self) -> None:
        """Subscribe; returns when it holds or when the first attempt failed (it goes on in the background then)."""
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._run(loop), name="redis-subscription")
        await self._tried.wait()

    async def add(self, *patterns: str) -> None:
        """Listen to more; returns when the server knows of it. While the connection is lost: noted for the reconnect."""
        new = [pattern for pattern in patterns if pattern not in self._patterns]
        self._patterns.update(new)
        if self._link is not None and new:
            self._subscribe(self._link, new)
            await self._until_confirmed(self._link)

    def remove(self, *patterns: str) -> None:
        """Listen to less."""
        known = [pattern for pattern in patterns if pattern in self._patterns]
        self._patterns.difference_update(known)
        if self._link is not None and known:
            self._link.write("PUNSUBSCRIBE", *known)

    async def close(self) -> None:
        """Stop calling back and drop the connection."""
        if self._link is not None:
            self._link.abort("closed")
        if self._task is not None:
            await end((self._task,))

    def _subscribe(self, link: Link, patterns: Iterable[str]) -> None:
        patterns = list(patterns)
        self._unconfirmed += len(patterns)
        self._confirmed.clear()
        link.write("PSUBSCRIBE", *patterns)

    def _pushed(self, message: list[Any]) -> None:
        """Take one message: ``[kind, pattern, channel, payload]``, or the confirmation of a subscription, or a pong."""
        if not isinstance(message, list):
            if self._link is not None:
                self._link.abort(f"unexpected reply: {message}")
        elif message[0] == b"pmessage":
            try:
                self._callback(message[2].decode(), message[3])
            except Exception:  # noqa: BLE001  whatever it raises, the next message is to be delivered
                _log.exception("subscription_callback_failed", channel=message[2].decode(errors="replace"))
        elif message[0] == b"psubscribe":
            self._unconfirmed -= 1
            if self._unconfirmed == 0:
                self._confirmed.set()

    async def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        pauses = backoff(initial=0.05, maximum=1.0)
        while goes_on():
            try:
                await self._open(loop)
            except RedisUnavailableError:
                self._has_failed = True
                self._tried.set()
                await asyncio.sleep(next(pauses))
                continue
            pauses = backoff(initial=0.05, maximum=1.0)
            if self._has_failed and self._on_reconnect is not None:
                self._on_reconnect()
            self._tried.set()
            reason = await self._until_lost()
            self._has_failed = True
            _log.warning("redis_subscription_lost", server=str(self._address), cause=reason)

    async def _open(self, loop: asyncio.AbstractEventLoop) -> None:
        link = await connect(self._address, loop, connect_s=self._connect_s, timeout_s=self._connect_s, pushed=self._pushed)
        link.is_subscriber = True
        self._link, self._unconfirmed = link, 0
        self._confirmed.set()
        if self._patterns:
            self._subscribe(link, self._patterns)
            await self._until_confirmed(link)

    async def _until_confirmed(self, link: Link) -> None:
        """Return when the server knows of every pattern; a server that does not say so in time counts as lost."""
        confirmed = asyncio.create_task(self._confirmed.wait())
        either: list[asyncio.Future[Any]] = [confirmed, link.lost]
        try:
            await asyncio.wait(either, timeout=self._connect_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            confirmed.cancel()
        if not self._confirmed.is_set():
            link.abort("the subscription was not confirmed in time")

    async def _until_lost(self) -> str:
        """Return why the connection was lost; a silent one is asked for a sign of life."""
        link = self._link
        if link is None:
            return "closed"
        try:
            while goes_on():
                received = link.received
                await asyncio.wait([link.lost], timeout=_SILENCE_S)
                if link.lost.done():
                    return link.lost.result()
                if link.received == received:
                    link.write("PING")
                    await asyncio.wait([link.lost], timeout=self._connect_s)
                    if link.received == received:
                        link.abort("no answer in time")
            return "closed"
        finally:
            self._link = None
