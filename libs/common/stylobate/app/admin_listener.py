"""The listener of an admin application: who may ask, how much they may send, and file descriptors kept back for it."""

import socket
from collections.abc import Awaitable, Callable, Collection

import orjson

from stylobate.app.http_bounds import HttpBounds
from stylobate.app.listeners import HttpListener
from stylobate.errors import CancelledCallError, StylobateError
from stylobate.http.asgi import Receive, Scope, Send, answer, read_body
from stylobate.http.errors import HostRefusedError, PayloadTooLargeError
from stylobate.http.own_host import is_own_host
from stylobate.http.problem import problem_application
from stylobate.logs import get_logger

_MOST_BODY = 4096
_BOUNDS = HttpBounds(connections=64, connections_per_address=64, held_bytes=1024 * 1024, requests=64)
_RESERVE = 8
"""Descriptors that stay free for operators when clients have used up all others."""
Answer = tuple[int, str, bytes]
"""Status, content type, body."""
Application = Callable[[str, str, bytes, str, str], Awaitable[Answer]]
"""Answers a method and path, with the body, :func:`peer_of` and ``Accept`` of the request. Raises StylobateError, answered as a
problem."""
PATHS = "healthz, readyz, status, metrics, log-levels"
_log = get_logger("security")


def admin_listener(
    application: Application, bound: socket.socket, *, hosts: Collection[str] = (), grace_s: float = 10.0
) -> HttpListener:
    """Return the listener of an admin application. It answers to names of its own only, see :func:`is_own_host`.

    :param hosts: names that are its own beside loopback names and addresses. Over a unix socket any name does.
    """
    return HttpListener(_Door(application, hosts), bound, grace_s=grace_s, bounds=_BOUNDS, reserve=_RESERVE)


class _Door:
    """ASGI: lets in who asks one of our own hosts, with a body that is read and bounded. Errors are answered as problems."""

    def __init__(self, inner: Application, hosts: Collection[str]) -> None:
        self._inner = inner
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            status, kind, body = await self._answer(scope, receive)
        except CancelledCallError:
            return
        except StylobateError as error:
            await problem_application(error, (b"connection", b"close"))(scope, receive, send)
        else:
            await answer(send, status, [(b"content-type", kind.encode())], body)

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        host = _field(scope, b"host")
        peer = peer_of(scope)
        if scope["client"] is not None and not is_own_host(host, self._hosts):
            _log.warning("admin_host_refused", host=host[:256], peer=peer)
            raise HostRefusedError("The admin port answers to loopback names, addresses and STYLOBATE_ADMIN_HOSTS.")
        body = await read_body(receive, _MOST_BODY)
        if len(body) > _MOST_BODY:
            raise PayloadTooLargeError(f"A body here may have {_MOST_BODY} bytes.")
        return await self._inner(scope["method"], scope["path"], body, peer, _field(scope, b"accept"))


def _field(scope: Scope, wanted: bytes) -> str:
    """Return a header field, the first of its name; empty where there is none."""
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == wanted), "")


def json_answer(status: int, value: object) -> Answer:
    """Return the answer that a JSON value is."""
    return status, "application/json", orjson.dumps(value)


def peer_of(scope: Scope) -> str:
    """Return who asks, for a log: ``127.0.0.1:40000``; over a unix socket whom the asker asks for, else ``local``."""
    if scope["client"] is not None:
        return ":".join(map(str, scope["client"]))
    return _field(scope, b"x-forwarded-for")[:256] or "local"
