"""An ASGI application that answers with the body it was sent: what the HTTP server itself costs."""

from typing import Any


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ARG001  ASGI's signature
    """Echo."""
    message = await receive()
    body = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
