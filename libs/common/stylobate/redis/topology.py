"""Who has which slots of a Redis Cluster, kept current, and a pipeline to each master."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

from stylobate.errors import RedisUnavailableError
from stylobate.logs import get_logger
from stylobate.redis.address import RedisAddress
from stylobate.redis.connecting import connect
from stylobate.redis.faults import is_refusal, unavailable
from stylobate.redis.link import Reply
from stylobate.redis.pipeline import Pipeline
from stylobate.redis.slots import COUNT, Node, SlotMap
from stylobate.stopping import end, goes_on
from stylobate.telemetry import counter, gauge

_CALM_S, _RESTLESS_S, _LEAST_S = 30.0, 0.5, 0.1
"""Between two looks at who has which slots: while all is well, while something is missing, and at the least."""
_log = get_logger("app")
_moves = counter("redis_cluster_changes", "Times that slots were found with another master than before.")
_uncovered = gauge("redis_cluster_slots_uncovered", "Slots of the Cluster that no master serves at the moment.")


class Topology:
    """The masters of a Cluster.

    Who has what is asked at the start, as soon as a node says otherwise or a connection is lost, twice a second while anything is
    missing, and every 30 s.
    """

    def __init__(self, address: RedisAddress, *, connect_timeout: timedelta, timeout: timedelta, max_pending: int) -> None:
        """Describe it as :class:`Pipeline` does; :meth:`start` connects."""
        self._address = address
        self._timeouts = (connect_timeout, timeout, max_pending)
        self._connect_s, self._timeout_s = connect_timeout.total_seconds(), timeout.total_seconds()
        self._nodes: dict[Node, Pipeline] = {}
        self._map = SlotMap()
        self._is_known = False
        self._owners: list[Pipeline | None] = [None] * COUNT
        self._due = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._cause = "not connected yet"
        self._said: tuple[object, ...] = ()
        self._turn = 0
        self._listeners: set[Callable[[], None]] = set()
        self.anywhere = replace(address)
        """The address of whichever master can be reached; its hosts are kept current."""

    async def start(self) -> None:
        """Ask who has which slots and connect to them; returns after the first attempts. Later ones go on in the background."""
        await self._look()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="redis-cluster")

    async def close(self) -> None:
        """Drop the connections; commands under way fail."""
        if self._task is not None:
            await end((self._task,))
        await asyncio.gather(*(node.close() for node in self._nodes.values()))

    @property
    def cause(self) -> str:
        """Why not every slot is served; empty while each is."""
        found = self._map
        if not self._is_known:
            return self._cause
        if found.missing:
            return f"slots {found.missing} belong to no node of the Cluster: waiting for a master that has them"
        away = [node for node in sorted(found.counts) if not self._nodes[node].is_connected]
        return "; ".join(map(self._waited_for, away))

    def _waited_for(self, node: Node) -> str:
        """Say of a master that is away whose word it is that it is there, and what is waited for."""
        announced = "" if node in self._address.hosts else "as the Cluster announces it, "
        where = f"{':'.join(map(str, node))}, {announced}master of slots {self._map.slots_of(node)}"
        return f"{where}: {self._nodes[node].cause}: waiting for it or a replica of it"

    @property
    def is_connected(self) -> bool:
        """Whether any command can be sent at the moment."""
        return any(node.is_connected for node in self._nodes.values())

    @property
    def pending(self) -> int:
        """How many commands wait for a reply."""
        return sum(node.pending for node in self._nodes.values())

    @property
    def metrics(self) -> dict[str, float]:
        """How much of it is there."""
        masters = self._map.counts
        return {
            "masters": float(len(masters)),
            "masters_connected": float(sum(self._nodes[node].is_connected for node in masters)),
            "replicas": float(len(self._map.replicas)),
            "slots": float(sum(masters.values())),
        }

    def owner(self, slot: int) -> Node | None:
        """Return who has a slot, as far as is known."""
        return self._map.owners[slot]

    def some_master(self) -> Node | None:
        """Return a master that is connected, the same one for as long as it is; None: there is none."""
        return min((node for node in self._map.counts if self._nodes[node].is_connected), default=None)

    def listen(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back after each look at who has which slots. What is returned ends that."""
        self._listeners.add(callback)
        return lambda: self._listeners.discard(callback)

    def look_soon(self) -> None:
        """Ask anew who has which slots."""
        self._due.set()

    def _node(self, node: Node) -> Pipeline:
        """Return the pipeline to a node; it connects meanwhile when it is new."""
        if node not in self._nodes:
            connect_timeout, timeout, most = self._timeouts
            self._nodes[node] = Pipeline(
                self._address.at(*node),
                connect_timeout=connect_timeout,
                timeout=timeout,
                max_pending=most,
                on_lost=self.look_soon,
            )
            self._nodes[node].begin()
        return self._nodes[node]

    def _any(self) -> Pipeline:
        node = self.some_master()
        if node is None:
            raise unavailable(self.cause)
        return self._nodes[node]

    def _none(self, slot: int) -> Pipeline:
        self.look_soon()
        raise unavailable(f"slot {slot}: {self.cause}")

    async def _run(self) -> None:
        while goes_on():
            calm = not self.cause
            with suppress(TimeoutError):
                async with asyncio.timeout(_CALM_S if calm else _RESTLESS_S):
                    await self._due.wait()
            self._due.clear()
            await self._look()
            await asyncio.sleep(_LEAST_S)

    async def _look(self) -> None:
        """Ask a node who has which slots, another one each time: one that is cut off from the others knows old things.

        Of several that each know of some slots only, the one that knows most is believed.
        """
        connected = [node for node, pipeline in self._nodes.items() if pipeline.is_connected]
        self._turn = (self._turn + 1) % (len(connected) or 1)
        cause, best = "", None
        for node in dict.fromkeys((*connected[self._turn :], *connected, *self._map.replicas, *self._address.hosts)):
            if best is not None and best.covered and node not in connected:
                break  # to connect to it may take long, and enough is known to go on
            try:
                found = SlotMap.of(await self._asked(node), node)
            except RedisUnavailableError as error:
                said = error.metadata["cause"]
            except Exception as error:  # noqa: BLE001  a refusal, of redis-py's type (see faults.py)
                said = f"{type(error).__name__}: {error}"
            else:
                if best is None or found.covered > best.covered:
                    best = found
                if not found.missing:
                    break
                continue  # perhaps it was taken out of the Cluster: such a node knows nobody who has slots
            cause = cause if is_refusal(cause) else said
        if best is not None:
            await self._take(best)
        self._cause = cause
        self._tell()
        for listener in tuple(self._listeners):
            listener()

    async def _asked(self, node: Node) -> list[Reply]:
        pipeline = self._nodes.get(node)
        if pipeline is not None and pipeline.is_connected:
            slots: list[Reply] = await pipeline.call("CLUSTER", "SLOTS", within_s=self._connect_s)
            return slots
        loop = asyncio.get_running_loop()
        link = await connect(self._address.at(*node), loop, connect_s=self._connect_s, timeout_s=self._connect_s)
        try:
            slots = await link.send("CLUSTER", "SLOTS")
        finally:
            link.abort("asked")
        return slots

    async def _take(self, found: SlotMap) -> None:
        if self._is_known and found.owners != self._map.owners:
            _moves.inc()
            _log.info("redis_cluster_changed", masters=_names(found.counts))
        self._map, self._is_known = found, True
        self.anywhere.hosts = tuple(sorted(found.counts)) or self._address.hosts
        pipelines: dict[Node | None, Pipeline | None] = {node: self._node(node) for node in found.counts}
        await asyncio.gather(*(pipeline.attempted() for pipeline in pipelines.values() if pipeline is not None))
        self._owners = [pipelines.get(owner) for owner in found.owners]
        for node in [node for node in self._nodes if node not in found.counts]:
            if not self._nodes[node].pending:  # what waits for a reply may still get it
                await self._nodes.pop(node).close()

    def _tell(self) -> None:
        """Say once what is waited for, and once that it is there."""
        cause, slots = self.cause, self._map.counts
        away = (self._map.missing, *(node for node in sorted(slots) if not self._nodes[node].is_connected))
        waited_for = away if self._is_known else (cause,)
        _uncovered.set(COUNT - sum(count for node, count in slots.items() if self._nodes[node].is_connected))
        if cause and waited_for != self._said:
            event = "redis_refuses" if is_refusal(cause) else "redis_cluster_incomplete"
            _log.warning(event, cluster=str(self._address), cause=cause)
        elif self._said and not cause:
            _log.info("redis_cluster_complete", cluster=str(self._address), masters=_names(slots))
        self._said = waited_for if cause else ()


def _names(nodes: Iterable[Node]) -> str:
    return ",".join(f"{host}:{port}" for host, port in sorted(nodes))
