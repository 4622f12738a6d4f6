"""Subscriptions to channels by name on a Cluster: each at the node that has its slot, wherever that goes."""

import asyncio
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial

from stylobate.redis.address import RedisAddress
from stylobate.redis.cluster import Cluster
from stylobate.redis.faults import unavailable
from stylobate.redis.slots import Node, slot_of
from stylobate.redis.subscription import SHARDED, Callback, RedisSubscription


class ShardedSubscription:
    """What RedisSubscription is for one server: a connection to each node that has a channel of ours.

    When a slot moves, or a replica takes over, its channels are subscribed to at the new master; what is published before that
    holds is not delivered, and ``on_reconnect`` is called when it does.
    """

    def __init__(
        self,
        cluster: Cluster,
        address: RedisAddress,
        names: Iterable[str],
        callback: Callback,
        *,
        on_reconnect: Callable[[], None] | None,
        connect_timeout: timedelta,
    ) -> None:
        self._cluster = cluster
        self._address = address
        self._callback = callback
        self._on_reconnect = on_reconnect or (lambda: None)
        self._connect_timeout = connect_timeout
        self._homes: dict[str, Node | None] = dict.fromkeys(names)
        """Of each channel the node where it is listened to; None: nobody has its slot, as far as is known."""
        self._unheard = set(self._homes)
        """Channels that their node does not know of yet."""
        self._moved: set[str] = set()
        """Those of them that were listened to elsewhere before."""
        self._suspects: set[Node] = set()
        """Nodes that said that they have a slot no longer."""
        self._ears: dict[Node, RedisSubscription] = {}
        self._waiters: dict[str, list[asyncio.Future[None]]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._unlisten: Callable[[], None] = lambda: None

    @property
    def is_connected(self) -> bool:
        """Whether the nodes know of every name at the moment."""
        return not self._unheard and all(ear.is_connected for ear in self._ears.values())

    async def start(self) -> None:
        """Subscribe; returns when it holds or when the first attempts failed (it goes on in the background then)."""
        self._unlisten = self._cluster.listen(self._find_homes)
        self._find_homes()
        await asyncio.gather(*(ear.tried() for ear in self._ears.values()))

    async def add(self, name: str, within: timedelta) -> None:
        """Listen to one more; returns when its node knows of it. Raises RedisUnavailableError; it is not listened to then."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(name, []).append(waiter)
        self._unheard.add(name)
        self._place(name, self._cluster.owner(slot_of(name)))
        try:
            async with asyncio.timeout(within.total_seconds()):
                await waiter
        except TimeoutError:
            self.remove(name)
            raise unavailable("the subscription was not confirmed in time") from None

    def remove(self, name: str) -> None:
        """Listen to one less."""
        home = self._homes.pop(name, None)
        self._waiters.pop(name, None)
        self._unheard.discard(name)
        self._moved.discard(name)
        if home is not None:
            self._ears[home].remove(name)

    async def close(self) -> None:
        """Stop calling back and drop the connections."""
        self._unlisten()
        await asyncio.gather(*(ear.close() for ear in self._ears.values()), *self._ending)

    def _find_homes(self) -> None:
        """Listen to each channel where its slot is now."""
        for name, home in tuple(self._homes.items()):
            owner = self._cluster.owner(slot_of(name))
            if owner != home and owner is not None:
                if home is not None:
                    self._moved.add(name)
                    self._ears[home].remove(name)
                    self._ears[home].forget(name.encode())
                self._unheard.add(name)
                self._place(name, owner)
        for node in self._suspects & set(self._ears):  # what it has still, it is asked for anew
            if not self._ears[node].is_connected:
                self._ears[node].leave("slots have moved")
        self._suspects.clear()
        kept = set(self._homes.values())
        for node in [node for node in self._ears if node not in kept]:
            ending = asyncio.get_running_loop().create_task(self._ears.pop(node).close())
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    def _place(self, name: str, node: Node | None) -> None:
        self._homes[name] = node
        if node is None:
            self._cluster.look_soon()
            return
        if node not in self._ears:
            self._ears[node] = RedisSubscription(
                self._address.at(*node),
                (),
                partial(self._heard, node),
                words=SHARDED,
                on_reconnect=self._on_reconnect,
                connect_timeout=self._connect_timeout,
                on_confirmed=partial(self._confirmed, node),
                on_moved=partial(self._suspect, node),
            )
            self._ears[node].begin()
        self._ears[node].put(name.encode())

    def _heard(self, node: Node, channel: str, payload: bytes) -> None:
        if self._homes.get(channel) == node:  # what a node says that was left a moment ago, the next one says too
            self._callback(channel, payload)

    def _confirmed(self, node: Node, key: bytes) -> None:
        name = key.decode()
        if self._homes.get(name) != node:
            return
        self._unheard.discard(name)
        for waiter in self._waiters.pop(name, ()):
            if not waiter.done():
                waiter.set_result(None)
        if name in self._moved:
            self._moved.discard(name)
            if not self._moved:
                self._on_reconnect()

    def _suspect(self, node: Node) -> None:
        self._suspects.add(node)
        self._cluster.look_soon()
