"""LISTEN on a connection of its own, forever: reconnected when lost, proven alive when silent."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg

from stylobate.database.address import hosts, seeking
from stylobate.database.faults import NO_CONNECTION
from stylobate.database.login import Login
from stylobate.logs import get_logger
from stylobate.resilience import backoff
from stylobate.stopping import end, goes_on

_SILENCE_S = 10.0
_ANSWER_S = 3.0
_log = get_logger("app")

Callback = Callable[[str], None]


class Listening:
    """One callback on one channel, until closed."""

    def __init__(self, listener: "Listener", channel: str, callback: Callback) -> None:
        self.channel = channel
        self._listener = listener
        self._callback = callback

    def call(self, payload: str) -> None:
        """Give the payload to the callback; its failure is logged and harms no other."""
        try:
            self._callback(payload)
        except Exception:  # noqa: BLE001  whatever it raises, the others are to be called
            _log.exception("notification_callback_failed", channel=self.channel)

    async def close(self) -> None:
        """Stop calling back."""
        await self._listener.forget(self)


class Listener:
    """A listening connection; it is opened when first asked to listen."""

    def __init__(self, login: Login, settings: Mapping[str, str]) -> None:
        self.login = login
        self._settings = dict(settings)
        self._channels: dict[str, list[Listening]] = {}
        self._connection: asyncpg.Connection | None = None
        self._connected = asyncio.Event()
        self._lost = asyncio.Event()
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def listen(self, channel: str, callback: Callback) -> Listening:
        """Add a callback; returns once the server knows of it."""
        listening = Listening(self, channel, callback)
        async with self._lock:
            self._channels.setdefault(channel, []).append(listening)
            if self._task is None:
                self._task = asyncio.get_running_loop().create_task(self._run(), name="database-listener")
            elif self._connection is not None and len(self._channels[channel]) == 1:
                with suppress(*NO_CONNECTION, asyncpg.InterfaceError):  # lost just now: the reconnect takes it along
                    await self._connection.add_listener(channel, self._heard)
        await self._connected.wait()
        return listening

    def renew(self) -> None:
        """Connect anew, as another user."""
        if self._connection is not None:
            self._connection.terminate()

    async def forget(self, listening: Listening) -> None:
        """Remove a callback."""
        async with self._lock:
            remaining = self._channels.get(listening.channel, [])
            if listening in remaining:
                remaining.remove(listening)
            if not remaining and self._channels.pop(listening.channel, None) is not None and self._connection is not None:
                with suppress(*NO_CONNECTION, asyncpg.InterfaceError):  # lost just now: nothing to take back
                    await self._connection.remove_listener(listening.channel, self._heard)

    def _heard(self, _: Any, __: int, channel: str, payload: object) -> None:
        for listening in tuple(self._channels.get(channel, ())):
            listening.call(str(payload))

    async def _run(self) -> None:
        has_been = False
        while goes_on():
            await self._connect()
            if has_been:
                for channel in tuple(self._channels):
                    self._heard(None, 0, channel, "")
            has_been = True
            await self._until_lost()
            self._connected.clear()
            _log.warning("database_listener_lost", database=hosts(self.login.url))

    async def _connect(self) -> None:
        waits = backoff(initial=0.05, maximum=2.0)
        while goes_on():
            try:
                async with self._lock:
                    self._connection = await self._listening_connection()
                    self._connected.set()
                    return
            except (*NO_CONNECTION, asyncpg.InterfaceError) as error:
                _log.debug("database_listener_waits", database=hosts(self.login.url), error=str(error))
            await asyncio.sleep(next(waits))

    async def _listening_connection(self) -> asyncpg.Connection:
        def connect(url: str) -> Awaitable[asyncpg.Connection]:
            return asyncpg.connect(
                seeking(url, read_only=False),
                timeout=_ANSWER_S,
                command_timeout=_ANSWER_S,
                server_settings=self._settings,
            )

        connection = await self.login.connect(connect)
        self._lost.clear()
        connection.add_termination_listener(lambda _: self._lost.set())
        try:
            for channel in self._channels:
                await connection.add_listener(channel, self._heard)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _until_lost(self) -> None:
        """Return when the connection is gone: closed by the other side, or silent when asked."""
        connection = self._connection
        while connection is not None and not self._lost.is_set() and goes_on():
            with suppress(TimeoutError):
                async with asyncio.timeout(_SILENCE_S):
                    await self._lost.wait()
                break
            try:
                await connection.fetchval("select 1")
            except (*NO_CONNECTION, asyncpg.InterfaceError):
                connection.terminate()
                break
        self._connection = None

    async def close(self) -> None:
        """Listen no more."""
        if self._task is not None:
            await end((self._task,))
        if self._connection is not None:
            self._connection.terminate()


class Listeners:
    """The listening connections of a process: one to each database, whatever services listen there.

    Each is a process of the server, and listening needs neither a service's role nor its schema.
    """

    def __init__(self) -> None:
        self._open: dict[str, tuple[Listener, int]] = {}
        """By URL, with the number of those who use it."""

    @asynccontextmanager
    async def to(self, login: Login) -> AsyncIterator[Listener]:
        """Give the listener of a database; its connection is closed when nobody uses it any more."""
        url = login.url
        listener, users = self._open.get(url) or (Listener(login, {"application_name": "stylobate-listener"}), 0)
        self._open[url] = listener, users + 1
        try:
            yield listener
        finally:
            listener, users = self._open.pop(url)
            if users > 1:
                self._open[url] = listener, users - 1
            else:
                await listener.close()
