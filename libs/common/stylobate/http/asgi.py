"""The shapes of ASGI; bodies read and answers written straight to it."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from stylobate.errors import CancelledCallError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]
Headers = list[Header]


async def read_body(receive: Receive, limit: int | None = None) -> bytes:
    """Return the whole body, or as much of it as shows that it has more than ``limit`` bytes.

    :raises CancelledCallError: the client went away: what came until then must not be taken for what it meant to send.
    """
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            body.clear()  # the error holds on to this frame, for as long as it is kept itself
            raise CancelledCallError("The client went away before its request was complete.")
        body += message.get("body", b"")
        if not message.get("more_body") or (limit is not None and len(body) > limit):
            return bytes(body)


async def answer(send: Send, status: int, headers: Headers, body: bytes) -> None:
    """Send a whole response; the length is added."""
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
