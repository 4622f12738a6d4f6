"""The client that makes load: keep-alive connections over raw sockets, in a process of its own.

``python -m bench.load`` takes jobs as JSON lines on standard input and answers each with a JSON line: how many requests were
answered with 200 or 304, how many were not, how long it took and how long they took.
"""

import asyncio
import ssl
import sys
from collections.abc import Sequence
from itertools import cycle
from statistics import quantiles
from time import perf_counter
from typing import Any

import orjson
import uvloop

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length: "
_GOOD = (b"HTTP/1.1 200", b"HTTP/1.1 304")


class _Connection(asyncio.Protocol):
    """One request after the other on one connection."""

    def __init__(self, requests: Sequence[bytes], until: float, pause_s: float) -> None:
        self._requests = cycle(requests)
        self._until = until
        self._pause_s = pause_s
        self._buffer = b""
        self._begun = 0.0
        self._write: Any = None
        self.transport: Any = None
        self.seconds: list[float] = []
        self.refused: list[str] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport, self._write = transport, transport.write
        self._next(perf_counter())

    def _resume(self) -> None:
        if not self.transport.is_closing():
            self._next(perf_counter())

    def _next(self, now: float) -> None:
        self._begun = now
        self._write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        head = buffer.find(_HEAD_END)
        if head < 0 or len(buffer) < head + 4 + _length(buffer, head):
            self._buffer = buffer
            return
        self._buffer = b""
        now = perf_counter()
        if buffer.startswith(_GOOD):
            self.seconds.append(now - self._begun)
        else:
            self.refused.append(buffer[:300].decode("latin-1"))
        if now + self._pause_s >= self._until:
            self.transport.close()
        elif self._pause_s:
            asyncio.get_running_loop().call_later(self._pause_s, self._resume)
        else:
            self._next(now)

    def connection_lost(self, error: Exception | None) -> None:
        if error is not None:
            self.refused.append(f"the connection broke: {error}")
        if not self.done.done():
            self.done.set_result(None)


def _length(buffer: bytes, head: int) -> int:
    at = buffer.find(_LENGTH, 0, head)
    if at < 0:
        at = buffer[:head].lower().find(_LENGTH)
    if at < 0:
        return 0
    return int(buffer[at + len(_LENGTH) : buffer.index(b"\r", at)])


async def run(job: dict[str, Any]) -> dict[str, Any]:
    """Keep ``connections`` busy for ``seconds`` and return what came of it."""
    loop = asyncio.get_running_loop()
    requests = [text.encode() for text in job["requests"]]
    count = job["connections"]
    begun = perf_counter()
    made = []
    tls = ssl.create_default_context(cafile=job["authority"]) if job["authority"] else None
    for number in range(count):
        connection = _Connection(requests[number % len(requests) :: count] or requests, begun + job["seconds"], job["pause_s"])
        source = (f"127.0.{1 + number // 250}.{1 + number % 250}", 0) if job["is_spread"] else None
        await loop.create_connection(lambda made=connection: made, job["host"], job["port"], local_addr=source, ssl=tls)
        made.append(connection)
    await asyncio.gather(*(connection.done for connection in made))
    took = perf_counter() - begun
    seconds = sorted(second for connection in made for second in connection.seconds)
    refused = [text for connection in made for text in connection.refused]
    hundredths = quantiles(seconds, n=100) if len(seconds) > 1 else [0.0] * 99
    return {
        "answered": len(seconds),
        "refused": len(refused),
        "first_refusal": refused[0] if refused else "",
        "seconds": took,
        "p50_ms": hundredths[49] * 1000,
        "p99_ms": hundredths[98] * 1000,
    }


def main() -> None:
    """Serve jobs until standard input ends."""
    for line in sys.stdin.buffer:
        sys.stdout.buffer.write(orjson.dumps(uvloop.run(run(orjson.loads(line)))) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
