"""Keeps the processes of a platform running: starts them, starts again what dies, stops all in reverse."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

from stylobate.launcher.embedded import (
    ChildProcess,
    EmbeddedServer,
    EmbeddedServerError,
    ProcessRecord,
)
from stylobate.logs import get_logger
from stylobate.resilience import backoff
from stylobate.stopping import end, goes_on

_log = get_logger("app")
_STEADY_S = 10.0
_HOPELESS = 5
"""How often a process ends at its start before that is given up."""
_REFUSED, _REFUSALS = 2, 2
"""How a process ends that says in one line what a person can mend, and how often it is asked: it will say so again."""
_CHILD_GRACE = timedelta(seconds=2.5)


class Supervisor:
    """Runs embedded servers and service processes. One task watches each; :attr:`on_change` hears of every new child."""

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        self._on_change = on_change
        self._servers: list[EmbeddedServer] = []
        self._services: list[ChildProcess] = []
        self._watchers: dict[str, asyncio.Task[None]] = {}
        self._restarting: set[str] = set()
        self._hopeless: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @classmethod
    @asynccontextmanager
    async def open(cls, on_change: Callable[[], None] = lambda: None) -> AsyncIterator["Supervisor"]:
        """Supervise until the block is left; then everything is stopped, services first."""
        supervisor = cls(on_change)
        try:
            yield supervisor
        finally:
            await supervisor.stop()

    @property
    def children(self) -> tuple[ProcessRecord, ...]:
        """What runs, as far as it was started."""
        started = [server.process for server in self._servers] + self._services
        return tuple(child.record for child in started if child.is_running)

    async def start_servers(self, servers: list[EmbeddedServer]) -> None:
        """Start embedded servers at once and wait until each answers. Raises EmbeddedServerError."""
        self._servers = servers
        async with asyncio.TaskGroup() as group:
            for server in servers:
                group.create_task(self._start_server(server))
        for server in servers:
            self._watch(server.process.name, server.process, partial(self._start_server, server))
        self._on_change()

    def start_service(self, child: ChildProcess) -> None:
        """Start a process; it says by itself when it is ready."""
        self._services.append(child)
        child.start()
        self._watch(child.name, child, partial(self._start_again, child))
        self._on_change()

    async def until(self, ready: Awaitable[None]) -> None:
        """Wait until what was started is ready. Raises EmbeddedServerError when a process ends again and again before."""
        waiting = asyncio.ensure_future(ready)
        try:
            await asyncio.wait((waiting, self._hopeless), return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                raise EmbeddedServerError(self._hopeless.result())
            waiting.result()
        finally:
            waiting.cancel()

    @property
    def services(self) -> Sequence[ChildProcess]:
        """The service processes, in the order of their start."""
        return tuple(self._services)

    async def restart(self, *children: ChildProcess) -> None:
        """End the processes; their watchers start them again at once."""
        self._restarting |= {child.name for child in children}
        await asyncio.gather(*(child.record.stop(_CHILD_GRACE) for child in children))

    async def stop_services(self) -> None:
        """Stop the service processes. May be called twice."""
        await self._unwatch(*(child.name for child in self._services))
        await asyncio.gather(*(child.stop(_CHILD_GRACE) for child in self._services))

    async def stop(self) -> None:
        """Stop the services, then the servers. May be called twice."""
        await self._unwatch(*self._watchers)
        await self.stop_services()
        await asyncio.gather(*(server.stop() for server in self._servers))

    async def _unwatch(self, *names: str) -> None:
        """Start the processes again no more."""
        watchers = [self._watchers.pop(name) for name in names if name in self._watchers]
        await end(watchers)

    async def _start_server(self, server: EmbeddedServer) -> None:
        await server.start()
        await server.ready()

    async def _start_again(self, child: ChildProcess) -> None:
        child.start()

    def _watch(self, name: str, child: ChildProcess, start: Callable[[], Awaitable[None]]) -> None:
        self._watchers[name] = asyncio.create_task(self._keep(name, child, start), name=f"watch {name}")

    async def _keep(self, name: str, child: ChildProcess, start: Callable[[], Awaitable[None]]) -> None:
        """Wait for the child's end and start it again, sooner when it had run for a while."""
        loop = asyncio.get_running_loop()
        waits, early, refusals = backoff(initial=0.05, maximum=2.0), 0, 0
        while goes_on():
            started = loop.time()
            code = await child.wait()
            if name in self._restarting:
                self._restarting.discard(name)
                await self._begin(name, start)
                continue
            early += 1
            refusals = refusals + 1 if code == _REFUSED else 0
            if loop.time() - started > _STEADY_S:
                waits, early, refusals = backoff(initial=0.05, maximum=2.0), 0, 0
            if (early >= _HOPELESS or refusals >= _REFUSALS) and not self._hopeless.done():
                words = child.last_words(1) or f"code {code}"
                self._hopeless.set_result(f"{name} ended {early} times at its start: {words} (log: {child.log})")
            _log.warning("process_ended", process=name, code=code, last_words=child.last_words(2))
            await asyncio.sleep(next(waits))
            await self._begin(name, start)

    async def _begin(self, name: str, start: Callable[[], Awaitable[None]]) -> None:
        try:
            await start()
        except Exception as error:  # noqa: BLE001  said, and tried again at the next end
            _log.error("process_start_failed", process=name, error=str(error))
        self._on_change()
