"""A subscription to channels, by name or by pattern, on a connection of its own, renewed when lost."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, NamedTuple

from stylobate.errors import RedisUnavailableError
from stylobate.logs import get_logger
from stylobate.redis.address import RedisAddress
from stylobate.redis.connecting import connect
from stylobate.redis.faults import RedirectedError, unavailable
from stylobate.redis.link import Link
from stylobate.resilience import backoff
from stylobate.stopping import end, goes_on

_SILENCE_S = 5.0
_BATCH = 500
"""Names in one command."""
_log = get_logger("app")

Callback = Callable[[str, bytes], None]


class Words(NamedTuple):
    """What is said to subscribe in one of the three ways, and what the server says."""

    prefix: str
    message: bytes
    at_once: int = _BATCH

    @property
    def confirmation(self) -> bytes:
        """The server knows of a name."""
        return f"{self.prefix}subscribe".lower().encode()

    @property
    def end(self) -> bytes:
        """It knows of it no more."""
        return f"{self.prefix}unsubscribe".lower().encode()


BY_NAME, BY_PATTERN = Words("", b"message"), Words("P", b"pmessage")
SHARDED = Words("S", b"smessage", at_once=1)
"""By name, at the node of a Cluster that has the name's slot: names of several slots cannot stand in one command."""


class RedisSubscription:
    """Calls a function for each message on its channels, in the order in which they were published.

    A message is delivered at most once: what is published while the connection is lost is not delivered; ``on_reconnect``
    is called when it is back, to look elsewhere for what was missed.
    """

    def __init__(
        self,
        address: RedisAddress,
        names: Iterable[str],
        callback: Callback,
        *,
        words: Words,
        on_reconnect: Callable[[], None] | None,
        connect_timeout: timedelta,
        on_confirmed: Callable[[bytes], None] = lambda _name: None,
        on_moved: Callable[[], None] = lambda: None,
    ) -> None:
        """Describe it; :meth:`start` connects.

        :param on_confirmed: is called when the server knows of a name.
        :param on_moved: is called when the server says that it has a name's slot no longer.
        """
        self._address = address
        self._names = {name.encode() for name in names}
        self._callback = callback
        self._words = words
        self._message = words.message
        self._on_confirmed = on_confirmed
        self._on_moved = on_moved
        self._on_reconnect = on_reconnect
        self._connect_s = connect_timeout.total_seconds()
        self._link: Link | None = None
        self._unconfirmed: Counter[bytes] = Counter()
        """How often each name was sent on this link without the server having said yet that it knows."""
        self._waiters: dict[bytes, list[asyncio.Future[None]]] = {}
        self._tried = asyncio.Event()
        self._has_failed = False
        self._task: asyncio.Task[None] | None = None

    @property
    def is_connected(self) -> bool:
        """Whether the server knows of every name at the moment."""
        return self._link is not None and not self._unconfirmed

    async def start(self) -> None:
        """Subscribe; returns when it holds or when the first attempt failed (it goes on in the background then)."""
        self.begin()
        await self.tried()

    async def tried(self) -> None:
        """Return when it holds or when the first attempt has failed."""
        await self._tried.wait()

    def begin(self) -> None:
        """Subscribe in the background."""
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._run(loop), name="redis-subscription")

    @property
    def peer(self) -> tuple[str, int] | None:
        """Host and port of the server; None while there is no connection."""
        return self._link.peer if self._link is not None else None

    def leave(self, reason: str) -> None:
        """Drop the connection, for another one."""
        if self._link is not None:
            self._link.abort(reason)

    def put(self, name: bytes) -> None:
        """Listen to one more, without waiting until the server knows of it; again to one that it has forgotten."""
        self._names.add(name)
        if self._link is not None:
            self._send(self._link, [name])

    async def add(self, name: str, within: timedelta) -> None:
        """Listen to one more; returns when the server knows of it. Raises RedisUnavailableError; it is not listened to then."""
        key, waiter = name.encode(), asyncio.get_running_loop().create_future()
        self._waiters.setdefault(key, []).append(waiter)
        self._names.add(key)
        if self._link is not None:
            self._send(self._link, [key])
        try:
            async with asyncio.timeout(within.total_seconds()):
                await waiter
        except TimeoutError:
            self.remove(name)
            raise unavailable("the subscription was not confirmed in time") from None

    def remove(self, name: str) -> None:
        """Listen to one less."""
        key = name.encode()
        if key not in self._names:
            return
        self._names.discard(key)
        self._waiters.pop(key, None)
        if self._link is not None:
            self._link.write(f"{self._words.prefix}UNSUBSCRIBE", key)

    def forget(self, name: bytes) -> None:
        """Listen to one less, which the server knows no longer."""
        self._names.discard(name)
        del self._unconfirmed[name]

    async def close(self) -> None:
        """Stop calling back and drop the connection."""
        if self._link is not None:
            self._link.abort("closed")
        if self._task is not None:
            await end((self._task,))

    def _send(self, link: Link, names: list[bytes]) -> None:
        self._unconfirmed.update(names)
        for start in range(0, len(names), self._words.at_once):
            link.write(f"{self._words.prefix}SUBSCRIBE", *names[start : start + self._words.at_once])

    def _pushed(self, message: Any) -> None:
        """Take a message, which ends in channel and payload, a confirmation, or a pong."""
        if isinstance(message, (RedirectedError, RedisUnavailableError)) and self._words is SHARDED:
            self._on_moved()  # it has the slot no longer, or nobody has it
        elif isinstance(message, Exception):
            if self._link is not None:
                self._link.abort(f"unexpected reply: {message}")
        elif message[0] == self._message:
            try:
                self._callback(message[-2].decode(), message[-1])
            except Exception:  # noqa: BLE001  whatever it raises, the next message is to be delivered
                _log.exception("subscription_callback_failed", channel=message[-2].decode(errors="replace"))
        elif message[0] == self._words.confirmation:
            self._confirmed(message[1])
        elif message[0] == self._words.end and message[1] in self._names and not self._unconfirmed[message[1]]:
            self._unconfirmed[message[1]] = 1  # nobody asked for that: its slot has moved
            self._on_moved()

    def _confirmed(self, name: bytes) -> None:
        self._unconfirmed[name] -= 1
        if self._unconfirmed[name] > 0:
            return  # that was an older command, which an UNSUBSCRIBE has undone
        del self._unconfirmed[name]
        for waiter in self._waiters.pop(name, ()):
            if not waiter.done():
                waiter.set_result(None)
        self._on_confirmed(name)
        if not self._unconfirmed:
            self._holds()

    def _holds(self) -> None:
        """Note that the server knows of everything."""
        self._tried.set()
        if self._has_failed and self._on_reconnect is not None:
            self._on_reconnect()
        self._has_failed = False

    async def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        pauses = backoff(initial=0.05, maximum=1.0)
        while goes_on():
            try:
                link = await connect(
                    self._address, loop, connect_s=self._connect_s, timeout_s=self._connect_s, pushed=self._pushed
                )
            except RedisUnavailableError:
                self._has_failed = True
                self._tried.set()
                await asyncio.sleep(next(pauses))
                continue
            pauses = backoff(initial=0.05, maximum=1.0)
            try:
                reason = await self._follow(link)
            finally:
                self._link = None
            self._has_failed = True
            self._tried.set()
            _log.warning("redis_subscription_lost", server=str(self._address), cause=reason)

    async def _follow(self, link: Link) -> str:
        """Subscribe to everything and return why the connection was lost; a silent one counts as lost."""
        link.is_subscriber = True
        self._link = link
        self._unconfirmed.clear()
        names = list(self._names)
        if names:
            self._send(link, names)
        else:
            self._holds()
        while goes_on():
            received = link.received
            link.write("PING")
            await asyncio.wait([link.lost], timeout=_SILENCE_S)
            if link.lost.done():
                return link.lost.result()
            if link.received == received:
                link.abort("no answer in time")
        return "closed"
