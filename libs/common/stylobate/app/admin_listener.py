"""The listener of an admin application: who may ask, how much they may send, and file descriptors kept back for it."""

import socket
from collections.abc import Awaitable, Callable, Collection
from http import HTTPStatus
from typing import Any

from stylobate.app.http_bounds import HttpBounds
from stylobate.app.http_refusal import Refusal
from stylobate.app.listeners import HttpListener
from stylobate.app.own_host import is_own_host
from stylobate.logs import get_logger

_MOST_BODY = 4096
_BOUNDS = HttpBounds(connections=64, connections_per_address=64, held_bytes=1024 * 1024)
_RESERVE = 8
"""Descriptors that stay free for operators when clients have used up all others."""
_FOREIGN = Refusal(
    HTTPStatus.FORBIDDEN, "HOST_REFUSED", "The admin port answers to loopback names, addresses and STYLOBATE_ADMIN_HOSTS."
)
_TOO_LARGE = Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "PAYLOAD_TOO_LARGE", f"A body here may have {_MOST_BODY} bytes.")
_log = get_logger("security")

Application = Callable[..., Awaitable[None]]


def admin_listener(
    application: Application, bound: socket.socket, *, hosts: Collection[str] = (), grace_s: float = 10.0
) -> HttpListener:
    """Return the listener of an admin application. It answers to names of its own only, see :func:`is_own_host`.

    :param hosts: names that are its own beside loopback names and addresses. Over a unix socket any name does.
    """
    return HttpListener(_Door(application, hosts), bound, grace_s=grace_s, bounds=_BOUNDS, reserve=_RESERVE)


class _Door:
    """ASGI: lets in who asks one of our own hosts, with a body that is read and bounded."""

    def __init__(self, inner: Application, hosts: Collection[str]) -> None:
        self._inner = inner
        self._hosts = hosts

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer one request."""
        host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
        if scope["client"] is not None and not is_own_host(host, self._hosts):
            _log.warning("admin_host_refused", host=host[:256], peer=peer_of(scope))
            await _FOREIGN.application()(scope, receive, send)
            return
        body = bytearray()
        message: dict[str, Any] = {"more_body": True}
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
            if len(body) > _MOST_BODY:
                await _TOO_LARGE.application()(scope, receive, send)
                return
        if message["type"] == "http.disconnect":
            return

        async def replayed() -> dict[str, Any]:
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        await self._inner(scope, replayed, send)


def peer_of(scope: dict[str, Any]) -> str:
    """Return who asks, for a log: ``127.0.0.1:40000``; over a unix socket whom the asker asks for, else ``local``."""
    if scope["client"] is not None:
        return ":".join(map(str, scope["client"]))
    return next((value.decode("latin-1")[:256] for name, value in scope["headers"] if name == b"x-forwarded-for"), "local")
