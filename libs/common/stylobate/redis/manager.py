"""The Redis server, Cluster or master behind Sentinels of a process: commands, scripts, publications, subscriptions, health."""

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
from stylobate.redis.cluster import Cluster
from stylobate.redis.connecting import connect
from stylobate.redis.faults import ELSEWHERE, RedirectedError, is_refusal
from stylobate.redis.link import Argument, Reply
from stylobate.redis.pipeline import Pipeline
from stylobate.redis.script import Script
from stylobate.redis.sentinel_watch import Connected, SentinelWatch
from stylobate.redis.sharded import ShardedSubscription
from stylobate.redis.slots import Node
from stylobate.redis.subscription import BY_NAME, BY_PATTERN, RedisSubscription

Keys = Sequence[Argument]
Subscription = RedisSubscription | ShardedSubscription
_PATIENCE = 5
"""How many times the time to connect is given to a server that did not answer, before it counts as one that is down."""


class RedisManager:
    """Valkey or Redis. It holds copies, live messages and what may be lost, so being without it is degraded, not down.

    ``call``, ``run`` and ``publish`` share one pipelined connection and cost a fifth of redis-py's price. They raise
    RedisUnavailableError for faults; no command that may have been carried out is sent a second time by itself.

    On a Cluster the keys of a command or a script share a hash tag, a channel has two kinds of messages, and they do not meet:
    :meth:`publish` is heard by who subscribed to its name, :meth:`publish_all` by who subscribed to a pattern.
    """

    def __init__(self, address: RedisAddress, pipeline: Pipeline | Cluster, connect_timeout: timedelta) -> None:
        self._address = address
        self._pipeline = pipeline
        self._connect_timeout = connect_timeout
        self._publish = "SPUBLISH" if isinstance(pipeline, Cluster) else "PUBLISH"
        self._subscriptions: WeakSet[Subscription] = WeakSet()  # those that run; their tasks hold them
        self._watch = SentinelWatch(address, connect_timeout, self._connections) if address.master else None

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

        :param url: ``redis://``, ``rediss://`` or ``unix://``, of a Cluster ``redis+cluster://``, of Sentinels ``redis+sentinel://``;
            see RedisAddress.parse. Of several hosts the one that takes writes is used, and looked for again when it is lost.
        :param command_timeout: of one command.
        :param max_pending: commands that may wait for replies at a time, beyond it they fail.
        :raises ValueError: for an invalid URL.
        :raises ConfigError: the server answers and does not let us in; of one that is down nobody knows.
        """
        address = RedisAddress.parse(url)
        kind = Cluster if address.kind == "cluster" else Pipeline
        pipeline = kind(address, connect_timeout=connect_timeout, timeout=command_timeout, max_pending=max_pending)
        manager = cls(address, pipeline, connect_timeout)
        try:
            await pipeline.start()
            await manager._check_let_in()
            if manager._watch is not None:
                await manager._watch.start()
            yield manager
        finally:
            if manager._watch is not None:
                await manager._watch.close()
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

    @property
    def is_cluster(self) -> bool:
        """Whether keys without a common hash tag are in different places."""
        return isinstance(self._pipeline, Cluster)

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

    def masters_of(self, slots: Sequence[int]) -> Sequence[Node | None]:
        """Return the masters of slots of a Cluster, as far as they are known."""
        cluster = self._pipeline
        return [cluster.owner(slot) for slot in slots] if isinstance(cluster, Cluster) else [None] * len(slots)

    async def run_here(
        self, script: Script, calls: Sequence[tuple[Keys, Keys]], *, within_s: float | None = None
    ) -> list[Reply | None]:
        """Run a script several times, at least once, on a Cluster, with keys of several slots of one master each.

        :param calls: keys and arguments of each; its first key says which master.
        :returns: the replies; None for one that did nothing, as slots are on the move; RedisUnavailableError of a master that
            is away.
        """
        if not isinstance(self._pipeline, Cluster):
            raise TypeError("only a Cluster has several slots")
        replies = await self._pipeline.run_here(script, calls, within_s)
        for number, reply in enumerate(replies):
            if isinstance(reply, RedirectedError) or (
                isinstance(reply, RedisUnavailableError) and ELSEWHERE in reply.metadata["cause"]
            ):
                replies[number] = None
            elif isinstance(reply, Exception) and not isinstance(reply, RedisUnavailableError):
                raise reply
        return replies

    async def publish(self, channel: str, payload: bytes) -> int:
        """Publish to who subscribed to the name, and return how many of this server heard it. Raises as :meth:`call` does."""
        count: int = await self._pipeline.call(self._publish, channel, payload)
        return count

    async def publish_all(self, messages: Sequence[tuple[str, bytes]]) -> list[Exception]:
        """Publish to who subscribed to patterns, all at once and in this order; return why some were not, one error for each.

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
    ) -> Subscription:
        """Call back with channel and payload of every message on the channels, on connections of their own.

        Returns when the subscription holds; when the server is down, at once, and ``on_reconnect`` is called when it holds
        for the first time. See :class:`RedisSubscription` for what is promised. It is closed with the manager.

        :param is_exact: the names are those of channels (``SUBSCRIBE``); else they are patterns, and each publication costs the
            server a look at each of them.
        """
        subscription: Subscription
        cluster, timeout = self._pipeline, self._connect_timeout
        if is_exact and isinstance(cluster, Cluster):
            subscription = ShardedSubscription(
                cluster, self._address, names, callback, on_reconnect=on_reconnect, connect_timeout=timeout
            )
        else:
            address = cluster.anywhere if isinstance(cluster, Cluster) else self._address
            words = BY_NAME if is_exact else BY_PATTERN
            subscription = RedisSubscription(
                address, names, callback, words=words, on_reconnect=on_reconnect, connect_timeout=timeout
            )
        self._subscriptions.add(subscription)
        await subscription.start()
        return subscription

    async def health(self) -> Health:
        """Ask the server; being without it is degraded, not being let in by it is a mistake of ours and unhealthy."""
        started = monotonic()
        status, details = Status.HEALTHY, ""
        try:
            await self._pipeline.ping()
        except RedisUnavailableError as error:
            cause = error.metadata.get("cause", "")
            status = Status.UNHEALTHY if is_refusal(cause) else Status.DEGRADED
            details = f"redis {self._address}: {cause}"
        if self._watch is not None and not self._watch.is_connected and not details:
            status, details = (
                Status.DEGRADED,
                f"redis {self._address}: no Sentinel is connected, another master would be found late",
            )
        metrics = {
            "connected": float(self._pipeline.is_connected),
            "pending": float(self._pipeline.pending),
            "subscriptions": float(len(self._subscriptions)),
            "subscriptions_connected": float(sum(one.is_connected for one in self._subscriptions)),
            "latency_ms": round((monotonic() - started) * 1000, 3),
        } | self._pipeline.metrics
        if self._watch is not None:
            metrics["sentinel_connected"] = float(self._watch.is_connected)
        return Health(status, details, metrics)

    def _connections(self) -> list[Connected]:
        """Return what is connected to the master that Sentinels name."""
        subscriptions = [one for one in self._subscriptions if isinstance(one, RedisSubscription)]
        return [self._pipeline, *subscriptions] if isinstance(self._pipeline, Pipeline) else []
