"""A Valkey with a replica, on loopback, and Sentinels that watch them."""

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from stylobate.launcher.embedded import EmbeddedValkey, run_folder
from stylobate.launcher.embedded.process import ChildProcess, server_environ
from stylobate.launcher.embedded.valkey import server_binary
from stylobate.testing.ports import HOST, free_ports
from stylobate.testing.until import until
from stylobate.testing.valkey_call import valkey_call

_PATIENCE_S = 60.0


class ValkeySentinels:
    """A master, its replica and Sentinels, each with a password of its own kind. Use :meth:`running`."""

    name = "shop"
    password, sentinel_password = "s3cret", "wh0-watches"

    def __init__(self, folder: Path, sentinels: int) -> None:
        self._folder = folder
        first = free_ports(2 + sentinels)
        self.ports = [first, first + 1]
        self.sentinel_ports = [first + 2 + number for number in range(sentinels)]
        self.servers = [self._server(port) for port in self.ports]
        self.sentinels = [self._sentinel(port) for port in self.sentinel_ports]

    @classmethod
    @asynccontextmanager
    async def running(cls, folder: Path, *, sentinels: int = 1) -> AsyncIterator[Self]:
        """Start all, and take them down."""
        made = cls(folder, sentinels)
        try:
            await asyncio.gather(*(server.start() for server in made.servers))
            await asyncio.gather(*(server.ready() for server in made.servers))
            await until(made._follows, within_s=_PATIENCE_S)
            for sentinel in made.sentinels:
                sentinel.start()
            for port, sentinel in zip(made.sentinel_ports, made.sentinels, strict=True):
                await sentinel.answers(lambda port=port: _listens(port), timedelta(seconds=_PATIENCE_S))  # type: ignore[misc]
            await until(made._know, within_s=_PATIENCE_S)
            yield made
        finally:
            await asyncio.gather(*(sentinel.stop() for sentinel in made.sentinels))
            await asyncio.gather(*(server.stop() for server in made.servers))
            shutil.rmtree(run_folder(folder), ignore_errors=True)

    @property
    def url(self) -> str:
        """The address of the master, by its Sentinels."""
        hosts = ",".join(f"{HOST}:{port}" for port in self.sentinel_ports)
        return f"redis+sentinel://:{self.password}@{hosts}/{self.name}?sentinel_password={self.sentinel_password}"

    async def call(self, sentinel: int, *arguments: str | int) -> Any:
        """Send a command to one Sentinel."""
        return await valkey_call(self.sentinel_ports[sentinel], *arguments, password=self.sentinel_password)

    async def _follows(self) -> bool:
        said = await valkey_call(self.servers[1].socket, "INFO", "replication", password=self.password)
        return b"master_link_status:up" in said

    async def _know(self) -> bool:
        """Tell whether every Sentinel knows the other Sentinels and the replica; it looks for the latter every ten seconds."""
        for number in range(len(self.sentinels)):
            replicas = await self.call(number, "SENTINEL", "REPLICAS", self.name)
            others = await self.call(number, "SENTINEL", "SENTINELS", self.name)
            if len(replicas) != 1 or b"slave" not in replicas[0] or len(others) != len(self.sentinels) - 1:
                return False
        return True

    def _server(self, port: int) -> EmbeddedValkey:
        run = run_folder(self._folder) / str(port)
        run.mkdir(parents=True, exist_ok=True)
        options = {
            "port": str(port),
            "bind": HOST,
            "appendonly": "no",
            "requirepass": self.password,
            "masterauth": self.password,
            "repl-diskless-sync-delay": "0",
            "repl-ping-replica-period": "1",
        }
        if port != self.ports[0]:
            options["replicaof"] = f"{HOST} {self.ports[0]}"
        return EmbeddedValkey(self._folder / str(port), run, options=options)

    def _sentinel(self, port: int) -> ChildProcess:
        folder = self._folder / str(port)
        folder.mkdir()
        settings = (
            f"port {port}",
            f"bind {HOST}",
            f"dir {folder}",
            f"requirepass {self.sentinel_password}",
            f"sentinel sentinel-pass {self.sentinel_password}",
            f"sentinel monitor {self.name} {HOST} {self.ports[0]} {len(self.sentinel_ports) // 2 + 1}",
            f"sentinel auth-pass {self.name} {self.password}",
            f"sentinel down-after-milliseconds {self.name} 500",
            f"sentinel failover-timeout {self.name} 5000",
        )
        (folder / "sentinel.conf").write_text("\n".join(settings) + "\n", encoding="utf-8")
        return ChildProcess(
            "sentinel",
            [str(server_binary()), str(folder / "sentinel.conf"), "--sentinel"],
            log=folder / "sentinel.log",
            environ=server_environ(),
            stop_signal=signal.SIGTERM,
        )


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    return True
