"""The Redis server of a process: commands, scripts, publications, subscriptions, health."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from time import monotonic
from typing import Self
from weakref import WeakSet

from stylobate.config import ConfigError
from stylobate.errors import RedisUnavailableError
from stylobate.health import Health, Status
from stylobate.redis.address import RedisAddress
from stylobate.redis.faults import is_refusal
from stylobate.redis.link import Argument, Reply, connect
from stylobate.redis.pipeline import Pipeline
from stylobate.redis.script import Script
from stylobate.redis.subscription import RedisSubscription

Keys = Sequence[Argument]
_PATIENCE = 5
"""How many times the time to connect is given to a server that did not answer, before it counts as one that is down."""


class RedisManager:
    """Valkey or Redis. It holds copies, live messages and what may be lost, so being without it is degraded, not down.

    ``call``, ``run`` and ``publish`` share one pipelined connection and cost a fifth of redis-py's price. They raise
    RedisUnavailableError for faults; no command is sent a second time by itself.
    """

    def __init__(self, address: RedisAddress, pipeline: Pipeline, connect_timeout: timedelta) -> None:
        self._address = address
        self._pipeline = pipeline
        self._connect_timeout = connect_timeout
        self._subscriptions: WeakSet[RedisSubscription] = WeakSet()  # those that run; their tasks hold them

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        *,
        connect_timeout: timedelta = timedelta(seconds=1),
        command_timeout: timedelta = timedelta(seconds=2),
        max_pending: int = 10_000,
    ) -> AsyncIterator[Self]:
        """Connect, and close everything at the end.

        A server that is down does not delay the opening; one that takes connections and is silent does, for some seconds.

        :param url: ``redis://``, ``rediss://`` or ``unix://``; see RedisAddress.parse. Of several hosts the one that takes
            writes is used, and looked for again when it is lost.
        :param command_timeout: of one command.
        :param max_pending: commands that may wait for replies at a time, beyond it they fail.
        :raises ValueError: for an invalid URL.
        :raises ConfigError: the server answers and does not let us in; of one that is down nobody knows.
        """
        address = RedisAddress.parse(url)
        pipeline = Pipeline(address, connect_timeout=connect_timeout, timeout=command_timeout, max_pending=max_pending)

        manager = cls(address, pipeline, connect_timeout)
        try:
            await pipeline.start()
            await manager._check_let_in()
            yield manager
        finally:
            for subscription in tuple(manager._subscriptions):
                await subscription.close()
            await pipeline.close()

    async def _check_let_in(self) -> None:
        """Raise ConfigError for what no waiting cures."""
        if self._pipeline.is_connected:
            return
        said, within_s = self._pipeline.cause, self._connect_timeout.total_seconds()
        if said.startswith(TimeoutError.__name__):  # perhaps it is only slow, or this machine is, while everything starts
            try:
                loop, patience_s = asyncio.get_running_loop(), _PATIENCE * within_s
                (await connect(self._address, loop, connect_s=patience_s, timeout_s=patience_s)).abort("it was only looked at")
            except RedisUnavailableError as error:
                said = error.metadata["cause"]
            else:
                return
        if not is_refusal(said):
            said = ""
            with suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    said = await self._address.speaks_otherwise()
        if said:
            raise ConfigError([f"STYLOBATE_REDIS_URL: redis {self._address}: {said}"])

    async def call(self, *arguments: Argument) -> Reply:
        """Send one command and return its reply (bytes, int, None or a list). Not for commands that block.

        :raises RedisUnavailableError: at once while the server is down.
        :raises redis.exceptions.ResponseError: when the server refuses the command.
        """
        return await self._pipeline.call(*arguments)

    async def run(self, script: Script, keys: Keys = (), args: Keys = (), *, within_s: float | None = None) -> Reply:
        """Run a script and return its reply; loads it where the server does not know it. Raises as :meth:`call` does.

        :param within_s: seconds after which RedisUnavailableError is raised, when that is less than every command has. Whether
            the script ran is then unknown.
        """
        return await self._pipeline.run(script, keys=tuple(keys), arguments=tuple(args), within_s=within_s)

    async def publish(self, channel: str, payload: bytes) -> int:
        """Publish and return how many subscribers of this server heard it. Raises as :meth:`call` does."""
        count: int = await self._pipeline.call("PUBLISH", channel, payload)
        return count

    async def publish_all(self, messages: Sequence[tuple[str, bytes]]) -> list[Exception]:
        """Publish on channels, all at once and in this order; return why some were not published, one error for each.

        Costs a third of as many calls of :meth:`publish`.
        """
        try:
            replies = await self._pipeline.call_all([("PUBLISH", channel, payload) for channel, payload in messages])
        except RedisUnavailableError as error:
            return [error] * len(messages)
        return [reply for reply in replies if isinstance(reply, Exception)]

    async def subscribe(
        self,
        names: Sequence[str],
        callback: Callable[[str, bytes], None],
        *,
        is_exact: bool = False,
        on_reconnect: Callable[[], None] | None = None,
    ) -> RedisSubscription:
        """Call back with channel and payload of every message on the channels, on a connection of its own.

        Returns when the subscription holds; when the server is down, at once, and ``on_reconnect`` is called when it holds
        for the first time. See :class:`RedisSubscription` for what is promised. It is closed with the manager.

        :param is_exact: the names are those of channels (``SUBSCRIBE``); else they are patterns, and each publication costs the
            server a look at each of them.
        """
        subscription = RedisSubscription(
            self._address,
            names,
            callback,
            is_exact=is_exact,
            on_reconnect=on_reconnect,
            connect_timeout=self._connect_timeout,
        )
        self._subscriptions.add(subscription)
        await subscription.start()
        return subscription

    async def health(self) -> Health:
        """Ask the server; being without it is degraded, not being let in by it is a mistake of ours and unhealthy."""
        started = monotonic()
        status, details = Status.HEALTHY, ""
        try:
            await self._pipeline.call("PING")
        except RedisUnavailableError as error:
            cause = error.metadata.get("cause", "")
            status = Status.UNHEALTHY if is_refusal(cause) else Status.DEGRADED
            details = f"redis {self._address}: {cause}"
        metrics = {
            "connected": float(self._pipeline.is_connected),
            "pending": float(self._pipeline.pending),
            "subscriptions": float(len(self._subscriptions)),
            "subscriptions_connected": float(sum(one.is_connected for one in self._subscriptions)),
            "latency_ms": round((monotonic() - started) * 1000, 3),
        }
        return Health(status, details, metrics)
