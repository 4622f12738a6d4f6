"""The HTTP listeners of a process: uvicorn without its signal handling, on sockets that are bound here."""

import asyncio
import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn

from stylobate.app.http_protocol import HttpProtocol
from stylobate.logs import get_logger

_log = get_logger("app")
_BACKLOG = 2048


class ListenError(Exception):
    """An address that cannot be listened on; the text is one line for a person."""


class PortInUseError(ListenError):
    """Somebody else listens there already."""

    def __init__(self, address: str) -> None:
        super().__init__(f"{address} is in use by another program")
        self.address = address


def bind(address: str, *, reuse_port: bool = False) -> socket.socket:
    """Return a socket that listens on ``host:port`` or ``unix:/path``. Raises PortInUseError, ListenError.

    A unix socket that a killed process left behind is replaced; one that answers is in use.
    """
    try:
        return _bind(address, reuse_port=reuse_port)
    except (OSError, ValueError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise PortInUseError(address) from error
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
        raise ListenError(f"cannot listen on {address}: {why}") from error


def _bind(address: str, *, reuse_port: bool) -> socket.socket:
    if address.startswith("unix:"):
        return _bind_unix(Path(address.removeprefix("unix:")))
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((host.strip("[]"), int(port)))
        bound.listen(_BACKLOG)  # at once: two programs may bind one address, and only the second to listen is refused
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound


def _bind_unix(path: Path) -> socket.socket:
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise PortInUseError(f"unix:{path}")
        path.unlink()
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(str(path))
        path.chmod(0o600)
        bound.listen(_BACKLOG)
        bound.setblocking(False)
    except BaseException:
        bound.close()
        raise
    return bound


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the launcher owns the signals of the process


class HttpListener:
    """One uvicorn server on one bound socket."""

    def __init__(
        self,
        application: Callable[..., Any],
        bound: socket.socket,
        *,
        websocket: Callable[..., asyncio.Protocol] | None = None,
        grace_s: float = 10.0,
    ) -> None:
        self._socket = bound
        self._path = Path(bound.getsockname()) if bound.family == socket.AF_UNIX else None
        self._config = uvicorn.Config(
            application,
            ws=websocket or "none",  # type: ignore[arg-type]  # a factory does as well as a class
            http=HttpProtocol,
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            backlog=_BACKLOG,
            timeout_graceful_shutdown=max(1, round(grace_s)),
        )
        self._server = _Server(self._config)
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
        self._server.should_exit = True
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
