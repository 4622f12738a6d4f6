"""The shapes of ASGI; bodies read and answers written straight to it; the fields of every answer that tell how limits stand."""

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from stylobate.errors import CancelledCallError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Header = tuple[bytes, bytes]
Headers = list[Header]
LimitText = tuple[str, str]
"""One limit's entry in ``RateLimit-Policy``, and its entry in ``RateLimit``."""

ENDLESS = "stylobate.endless"
"""The key of an ASGI scope that is there where the answer has no end: a client that says that nothing more comes is gone then,
and does not wait for the rest."""


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


def limit_text_of(policy: str, quota: int | str, window: int | str) -> LimitText:
    """Return the entry of a limit in the one field, and how its entry in the other begins; ``window`` in whole seconds.

    Source: draft-ietf-httpapi-ratelimit-headers, structured fields of RFC 9651.
    """
    return f'"{policy}";q={quota};w={window}', f'"{policy}";r='


def standing(text: LimitText, remaining: int | str, reset: int | str) -> LimitText:
    """Return both entries of a limit; ``reset`` (until it is full again) in whole seconds."""
    return text[0], f"{text[1]}{remaining};t={reset}"


def limit_headers(limits: Sequence[LimitText]) -> Headers:
    """Return both fields for these limits, the first one first; none where there are none."""
    if not limits:
        return []
    policies, standings = zip(*limits, strict=True)
    return [(b"ratelimit-policy", ", ".join(policies).encode()), (b"ratelimit", ", ".join(standings).encode())]
