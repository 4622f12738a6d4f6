"""The receiving side of a broadcast: many WebSockets in a process of its own, which counts what comes and looks at nothing else.

``python -m bench.sockets`` takes jobs as JSON lines on standard input and answers each with a JSON line. ``open`` connects, sends
each socket's messages and waits until the server has answered them; ``await`` waits for that many deliveries. A delivery is
known by one ``~``, which stands in every publication once and cannot be torn apart.
"""

import asyncio
import resource
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import orjson
import uvloop

MARK = "~"
_MARK = MARK.encode()
_HEAD_END = b"\r\n\r\n"
_AT_ONCE = 50
"""Sockets that connect at a time."""
_SHORT = 126
_WITHIN_S = 60.0
_REQUEST = """GET {path} HTTP/1.1\r
Host: {host}:{port}\r
Upgrade: websocket\r
Connection: Upgrade\r
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r
Sec-WebSocket-Version: 13\r
\r
"""


def _frame(text: str) -> bytes:
    """Return a text message as a client frames it; masked with zeros, which changes nothing (RFC 6455 section 5.3)."""
    payload = text.encode()
    size = len(payload)
    head = bytes([0x81, 0x80 | size]) if size < _SHORT else bytes([0x81, 0x80 | _SHORT, *size.to_bytes(2)])
    return head + bytes(4) + payload


class _Receiver:
    """What all sockets have received together."""

    def __init__(self) -> None:
        self.sockets: list[_Socket] = []
        self.fault = ""
        self._count = 0
        self._target = 0
        self._reached = asyncio.Event()

    def add(self, count: int) -> None:
        """Count deliveries."""
        self._count += count
        if self._count >= self._target:
            self._reached.set()

    def fail(self, fault: str) -> None:
        """Note what went wrong and wait no longer."""
        self.fault = self.fault or fault
        self._reached.set()

    async def open(self, job: dict[str, Any]) -> dict[str, Any]:
        """Open ``count`` sockets, each with one of the ``hellos`` in turn; answered is what has come with ``ready`` in it."""
        hellos: Sequence[Sequence[str]] = job["hellos"]
        for begin in range(0, job["count"], _AT_ONCE):
            some = [
                _Socket(self, job, [*map(_frame, hellos[number % len(hellos)])])
                for number in range(begin, min(begin + _AT_ONCE, job["count"]))
            ]
            self.sockets += some
            async with asyncio.timeout(_WITHIN_S):
                await asyncio.gather(*(socket.connect() for socket in some))
        return {"open": len(self.sockets)}

    async def wait(self, deliveries: int) -> dict[str, Any]:
        """Wait for that many more than were waited for before."""
        self._target += deliveries
        if self._count < self._target:
            self._reached.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_WITHIN_S):
                    await self._reached.wait()
        return {"missing": max(0, self._target - self._count)}


class _Socket(asyncio.Protocol):
    """One WebSocket."""

    def __init__(self, receiver: _Receiver, job: dict[str, Any], hello: list[bytes]) -> None:
        self._receiver = receiver
        self._place = job["host"], job["port"]
        self._request = _REQUEST.format(**job).encode()
        self._ready = job["ready"].encode()
        self._hello = b"".join(hello)
        self._answer = b""
        self._is_upgraded = False
        self._transport: Any = None
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def connect(self) -> None:
        """Connect and wait until the server has answered."""
        await asyncio.get_running_loop().create_connection(lambda: self, *self._place)
        await self._opened

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._opened.done():
            self._receiver.add(data.count(_MARK))
            return
        self._answer += data
        if not self._is_upgraded and _HEAD_END in self._answer:
            self._is_upgraded = True
            self._transport.write(self._hello)
        if self._is_upgraded and self._ready in self._answer:
            self._opened.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        fault = f"a socket was closed ({error}); it had been told {self._answer[-300:]!r}"
        self._receiver.fail(fault)
        if not self._opened.done():
            self._opened.set_exception(ConnectionError(fault))


async def serve() -> None:
    """Serve jobs until standard input ends."""
    receiver, loop = _Receiver(), asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
        job = orjson.loads(line)
        try:
            answer = await receiver.open(job) if job["do"] == "open" else await receiver.wait(job["deliveries"])
        except (OSError, TimeoutError) as error:
            receiver.fail(str(error) or "the server did not answer in time")
            answer = {}
        sys.stdout.buffer.write(orjson.dumps(answer | {"fault": receiver.fault}) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.run(serve())
