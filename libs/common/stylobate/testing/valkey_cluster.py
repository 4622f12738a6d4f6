"""A Valkey Cluster on loopback: masters, each with its replicas, made by the commands that a cli would send."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from stylobate.launcher.embedded import EmbeddedValkey, run_folder
from stylobate.redis.slots import COUNT, SlotMap
from stylobate.testing.ports import HOST, free_ports
from stylobate.testing.until import until
from stylobate.testing.valkey_call import valkey_call

_PATIENCE_S = 60.0


class ValkeyCluster:
    """Nodes in the order masters, then replicas: replica i of n masters is that of master i modulo n. Use :meth:`running`."""

    def __init__(self, folder: Path, masters: int = 3, replicas: int = 1, options: Mapping[str, str] | None = None) -> None:
        """Choose ports; :meth:`start` starts it."""
        options = options or {}
        self._folder = folder
        count = masters * (1 + replicas)
        first = free_ports(2 * count)
        self.masters = masters
        self.ports = [first + number for number in range(count)]
        self.nodes = [self._node(port, port + count, options) for port in self.ports]
        self.ids: list[str] = []
        self._password = options.get("requirepass", "")

    @classmethod
    @asynccontextmanager
    async def running(
        cls, folder: Path, *, masters: int = 3, replicas: int = 1, slots: int = COUNT, options: Mapping[str, str] | None = None
    ) -> AsyncIterator[Self]:
        """Make one, and take it down.

        :param slots: how many are given to the masters, from 0 on.
        """
        made = cls(folder, masters, replicas, options)
        try:
            await made.start(slots)
            yield made
        finally:
            await made.stop()

    @property
    def url(self) -> str:
        """The address of the whole, by all of its masters."""
        credentials = f":{self._password}@" if self._password else ""
        hosts = ",".join(f"{HOST}:{port}" for port in self.ports[: self.masters])
        return f"redis+cluster://{credentials}{hosts}"

    def node_of(self, slot: int) -> int:
        """Return the number of the master that was given the slot."""
        return slot * self.masters // COUNT

    async def start(self, slots: int = COUNT) -> None:
        """Start the nodes, join them, and share the slots below a number out among the masters."""
        await asyncio.gather(*(node.start() for node in self.nodes))
        await asyncio.gather(*(node.ready() for node in self.nodes))
        self.ids = [(await self.call(number, "CLUSTER", "MYID")).decode() for number in range(len(self.nodes))]
        await self._join()
        await self._give(slots)

    async def stop(self) -> None:
        """Take it down."""
        await asyncio.gather(*(node.stop() for node in self.nodes))
        shutil.rmtree(run_folder(self._folder), ignore_errors=True)

    async def call(self, node: int, *arguments: str | int | bytes) -> Any:
        """Send a command to one node, through its socket. Raises RuntimeError for a refusal."""
        return await valkey_call(self.nodes[node].socket, *arguments, password=self._password)

    async def all(self, *arguments: str | int, of: slice = slice(None)) -> list[Any]:
        """Send a command to every node."""
        return await asyncio.gather(*(self.call(number, *arguments) for number in range(len(self.nodes))[of]))

    async def flush(self) -> None:
        """Remove all keys."""
        await self.all("FLUSHALL", of=slice(self.masters))

    async def slots(self, node: int) -> SlotMap:
        """Return who has which slots, as a node sees it."""
        return SlotMap.of(await self.call(node, "CLUSTER", "SLOTS"), (HOST, self.ports[node]))

    async def move(self, slot: int, source: int, target: int, *, pause: Callable[[], Awaitable[None]] | None = None) -> None:
        """Move a slot from master to master, key by key.

        :param pause: is awaited when half of the keys have been moved.
        """
        await self.call(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", self.ids[source])
        await self.call(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", self.ids[target])
        keys = await self.call(source, "CLUSTER", "GETKEYSINSLOT", slot, 1_000_000)
        for number, key in enumerate(keys):
            if pause is not None and number == len(keys) // 2:
                await pause()
            await self.call(source, "MIGRATE", HOST, self.ports[target], key, 0, 5000)
        while keys := await self.call(source, "CLUSTER", "GETKEYSINSLOT", slot, 1000):
            for key in keys:
                await self.call(source, "MIGRATE", HOST, self.ports[target], key, 0, 5000)
        for node in (target, source):
            await self.call(node, "CLUSTER", "SETSLOT", slot, "NODE", self.ids[target])

    async def _join(self) -> None:
        for number in range(len(self.nodes)):
            await self.call(number, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for port in self.ports[1:]:
            await self.call(0, "CLUSTER", "MEET", HOST, port, port + len(self.ports))

        async def all_know() -> bool:
            told = await self.all("CLUSTER", "NODES")
            return all(text.count(b" connected") == len(self.nodes) and b"handshake" not in text for text in told)

        await until(all_know, within_s=_PATIENCE_S)

    async def _give(self, slots: int) -> None:
        for number in range(self.masters):
            first, behind = -(-number * COUNT // self.masters), -(-(number + 1) * COUNT // self.masters)
            if first < min(behind, slots):
                await self.call(number, "CLUSTER", "ADDSLOTSRANGE", first, min(behind, slots) - 1)
        for number in range(self.masters, len(self.nodes)):
            await self.call(number, "CLUSTER", "REPLICATE", self.ids[number % self.masters])

        async def is_whole() -> bool:
            told, given = await self.all("CLUSTER", "INFO"), b"cluster_slots_assigned:%d\r" % slots
            copies = await self.all("INFO", "replication", of=slice(self.masters, None))
            is_given = all(given in text and b"cluster_state:ok" in text for text in told)
            return is_given and all(b"master_link_status:up" in text for text in copies)

        await until(is_whole, within_s=_PATIENCE_S)

    def _run(self, port: int) -> Path:
        return run_folder(self._folder) / str(port)

    def _node(self, port: int, bus: int, options: Mapping[str, str]) -> EmbeddedValkey:
        data = self._folder / str(port)
        run = self._run(port)
        run.mkdir(parents=True, exist_ok=True)
        return EmbeddedValkey(
            data,
            run,
            options={
                "port": str(port),
                "bind": HOST,
                "cluster-enabled": "yes",
                "cluster-config-file": str(data / "nodes.conf"),
                "cluster-port": str(bus),
                "cluster-node-timeout": "1000",
                "cluster-require-full-coverage": "no",
                "appendonly": "no",
                "repl-diskless-sync-delay": "0",
                "repl-ping-replica-period": "1",
                **({"masterauth": options["requirepass"]} if "requirepass" in options else {}),
                **options,
            },
        )
