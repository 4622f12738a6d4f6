"""What a broadcast costs at least: ``transport.write`` to each socket. ``python -m bench.baselines.raw_broadcast PORT``.

A GET makes its connection a subscriber, answered as a WebSocket's would be. A POST of ``{"count": n, "text": s}`` writes n frames
to each of them: made once, and those of one burst joined, so a write per socket.
"""

import asyncio
import sys
from typing import Any

import orjson
import uvloop

_HEAD_END = b"\r\n\r\n"
_UPGRADED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade" + _HEAD_END
_DONE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
_subscribers: set[Any] = set()


def _frame(text: str) -> bytes:
    """Return a message as the platform frames it (RFC 6455 section 5.2)."""
    payload = orjson.dumps({"push": {"channel": "bench:all", "pub": {"data": {"text": text}}}})
    return b"\x81\x7e" + len(payload).to_bytes(2) + payload


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._transport: Any = None
        self._buffer = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        _subscribers.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, ended, body = self._buffer.partition(_HEAD_END)
        if not ended:
            return
        if head.startswith(b"GET"):
            self._buffer = b""
            _subscribers.add(self._transport)
            self._transport.write(_UPGRADED)
        elif body.endswith(b"}"):
            self._buffer = b""
            asked = orjson.loads(body)
            frames = _frame(asked["text"]) * asked["count"]
            for transport in _subscribers:
                transport.write(frames)
            self._transport.write(_DONE)


async def serve(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
