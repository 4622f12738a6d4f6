"""The HTTP listeners of a process: uvicorn without its signal handling, on sockets that are bound here."""

import asyncio
import contextlib
import resource
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from ssl import SSLContext
from typing import Any

from uvicorn.config import Config
from uvicorn.server import Server

from stylobate.app.acceptor import Acceptor
from stylobate.app.connections import Connections
from stylobate.app.express import Express
from stylobate.app.http_bounds import HttpBounds
from stylobate.app.http_protocol import HttpProtocol
from stylobate.app.listening import BACKLOG
from stylobate.app.request_turns import TurnedAway
from stylobate.logs import get_logger

_log = get_logger("app")
_SWEEP_S = 1.0
_SPARE_DESCRIPTORS = 256
"""Kept back from connections, for what the process opens later: pools, calls, logs, the admin listener."""
_FEWEST = 16
"""Connections granted however few descriptors there are."""


class _Server(Server):
    """uvicorn's server, with an acceptor and a register of connections of our own."""

    def __init__(
        self,
        config: Config,
        listening: socket.socket,
        bounds: HttpBounds,
        *,
        reserve: int,
        express: Express | None,
        turned_away: TurnedAway | None,
        tls: SSLContext | None,
    ) -> None:
        super().__init__(config)
        self._express = express
        self._turned_away = turned_away
        self._tls = tls
        self._listening = listening
        self._bounds = bounds
        self._reserve = reserve
        self._leaving = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the launcher owns the signals of the process

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002  ours is known already
        """Begin to accept."""
        if not self.config.loaded:
            self.config.load()
        state: Any = self.server_state
        loop = asyncio.get_running_loop()
        connections = state.connections = Connections(
            self._bounds,
            most=_most_connections(self._bounds),
            loop=loop,
            turned_away=self._turned_away,
        )

        def protocol() -> HttpProtocol:
            return HttpProtocol(self.config, state, {}, loop, connections, self._express)

        acceptor = Acceptor(
            self._listening,
            connections,
            protocol,
            lambda: state.default_headers,
            reserve=self._reserve,
            tls=self._tls,
            handshake_s=self._bounds.head_s,
        )
        self.servers: list[Any] = [acceptor]
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more and let what is under way finish."""
        connections: Any = self.server_state.connections
        connections.is_draining = True
        await super().shutdown(sockets)
        connections.requests.close()

    def leave(self) -> None:
        """End the main loop."""
        self.should_exit = True
        self._leaving.set()

    async def main_loop(self) -> None:
        """Look at the connections once a second. uvicorn's own wakes ten times as often, to see whether it is to end."""
        connections: Any = self.server_state.connections
        while not await self.on_tick(0):
            connections.sweep()
            for acceptor in self.servers:
                acceptor.look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SWEEP_S):
                    await self._leaving.wait()


def _most_connections(bounds: HttpBounds) -> int:
    """Return how many connections the file descriptors of the process allow beside what it has open and may open yet."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return bounds.connections
    most = max(_FEWEST, limit - len(list(Path("/dev/fd").iterdir())) - min(_SPARE_DESCRIPTORS, limit // 4))
    if most < bounds.connections:
        _log.info("connections_bounded_by_descriptors", most=most, wanted=bounds.connections, descriptors=limit)
    return most


class HttpListener:
    """One uvicorn server on one bound socket."""

    def __init__(
        self,
        application: Callable[..., Any],
        bound: socket.socket,
        *,
        websocket_at: Callable[[bytes], Callable[..., asyncio.Protocol] | None] = lambda _target: None,
        grace_s: float = 10.0,
        bounds: HttpBounds | None = None,
        reserve: int = 0,
        express: Express | None = None,
        turned_away: TurnedAway | None = None,
        tls: SSLContext | None = None,
    ) -> None:
        """Prepare; nothing is accepted yet.

        :param websocket_at: gives what makes the WebSocket of a request target (uvicorn's ``ws=`` contract), if anything does.
        :param grace_s: what requests under way are given when the listener stops.
        :param bounds: what is granted to whoever connects; None: the defaults.
        :param reserve: file descriptors kept back for connections of this listener.
        :param express: answers some requests in the application's place.
        :param turned_away: is told of requests that are refused before the application sees them.
        :param tls: None: plain text.
        """
        self._socket = bound
        self._path = Path(bound.getsockname()) if bound.family == socket.AF_UNIX else None
        self._config = Config(
            application,
            ws=websocket_at,  # type: ignore[arg-type]  # HttpProtocol asks it
            http=HttpProtocol,
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_graceful_shutdown=max(1, round(grace_s)),
        )
        self._server = _Server(
            self._config, bound, bounds or HttpBounds(), reserve=reserve, express=express, turned_away=turned_away, tls=tls
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to accept. Raises what uvicorn raised when it could not; the socket is closed then."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]), name="http")
        try:
            while not self._server.started:
                if self._task.done():
                    await self._task
                    raise RuntimeError("the HTTP listener ended before it began")
                await asyncio.sleep(0.005)
        except BaseException:
            self._close()
            raise

    async def stop(self) -> None:
        """Stop accepting, let requests under way finish, close. May be called twice."""
        self._server.leave()
        try:
            if self._task is not None:
                await self._task
                self._task = None
        finally:
            self._close()

    def _close(self) -> None:
        """Close the socket; one with a path leaves nothing behind."""
        self._socket.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
