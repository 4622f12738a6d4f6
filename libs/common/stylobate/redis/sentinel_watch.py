"""Hearing from Sentinels that another server is the master now."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Protocol

from stylobate.errors import RedisUnavailableError
from stylobate.logs import get_logger
from stylobate.redis.address import RedisAddress
from stylobate.redis.connecting import named_by_sentinels
from stylobate.redis.subscription import BY_NAME, RedisSubscription
from stylobate.stopping import end, goes_on
from stylobate.telemetry import counter

_LOOK_S = 10.0
_log = get_logger("app")
_switches = counter("redis_sentinel_switches", "Times that connections were left because another server became the master.")


class Connected(Protocol):
    """A connection that should be one to the master."""

    @property
    def peer(self) -> tuple[str, int] | None:
        """Host and port of the server; None while there is no connection."""

    def leave(self, reason: str) -> None:
        """Drop the connection, for another one."""


class SentinelWatch:
    """Has connections leave a server that is the master no longer: a dead one they leave by themselves, one cut off not."""

    def __init__(self, address: RedisAddress, connect_timeout: timedelta, connected: Callable[[], Iterable[Connected]]) -> None:
        """Describe it; :meth:`start` begins.

        :param connected: the connections that are there.
        """
        self._address = address
        self._connect_s = connect_timeout.total_seconds()
        self._connected = connected
        self._due = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._heard = RedisSubscription(
            address.of_sentinels,
            ("+switch-master",),
            lambda _channel, _payload: self._due.set(),
            words=BY_NAME,
            on_reconnect=self._due.set,
            connect_timeout=connect_timeout,
        )

    @property
    def is_connected(self) -> bool:
        """Whether a Sentinel would tell us."""
        return self._heard.is_connected

    async def start(self) -> None:
        """Listen; in the background where no Sentinel can be reached."""
        await self._heard.start()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="redis-sentinel")

    async def close(self) -> None:
        """Listen no more."""
        if self._task is not None:
            await end((self._task,))
        await self._heard.close()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while goes_on():
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._due.wait()
            self._due.clear()
            with suppress(RedisUnavailableError):  # connections look for the master by themselves when they are lost
                master = await named_by_sentinels(self._address, loop, self._connect_s)
                left = [one for one in self._connected() if one.peer not in {None, master}]
                for one in left:
                    one.leave("another server is the master now")
                if left:
                    _switches.inc()
                    _log.info("redis_master_changed", name=self._address.master, master=f"{master[0]}:{master[1]}")
