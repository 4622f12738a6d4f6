"""The client that does not wait: requests leave at a rate, whatever becomes of those before them.

``python -m bench.arrivals`` takes jobs as JSON lines on standard input and answers each with a JSON line, as ``bench.load``
does. A client that waits for its answers slows down with the server and so hides what overload does (coordinated omission).
"""

import asyncio
import sys
from statistics import quantiles
from typing import Any

import orjson
import uvloop

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length: "
_TICK_S = 0.002


class _Connection(asyncio.Protocol):
    """One request at a time; idle in between."""

    def __init__(self, arrivals: "_Arrivals") -> None:
        self._arrivals = arrivals
        self._buffer = b""
        self.due = 0.0
        self.transport: Any = None

    def send(self, request: bytes, due: float) -> None:
        self.due = due
        self.transport.write(request)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        head = buffer.find(_HEAD_END)
        if head < 0:
            self._buffer = buffer
            return
        at = buffer.lower().find(_LENGTH, 0, head)
        if len(buffer) < head + 4 + int(buffer[at + len(_LENGTH) : buffer.index(b"\r", at)]):
            self._buffer = buffer
            return
        self._buffer = b""
        if not self._arrivals.first_refusal and not buffer.startswith(b"HTTP/1.1 200"):
            self._arrivals.first_refusal = buffer.decode()
        fields = buffer[:head].lower()
        is_kept, is_counted = b"connection: close" not in fields, b"\r\nratelimit:" in fields
        self._arrivals.answered(self, buffer[9:12].decode(), is_kept=is_kept, is_counted=is_counted)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002  as asyncio calls it
        self._arrivals.lost(self)


class _Arrivals:
    """One job."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._job = job
        self._loop = asyncio.get_running_loop()
        self._requests = [text.encode() for text in job["requests"]]
        self._idle: list[_Connection] = []
        self._busy: set[_Connection] = set()
        self._opening = 0
        self._sent = self._broken = self._unsent = 0
        self._seconds: dict[str, list[float]] = {}
        self._begun = 0.0
        self.first_refusal = ""
        self._answers: list[tuple[float, float, str, bool]] = []

    async def run(self) -> dict[str, Any]:
        job, loop = self._job, self._loop
        begun, rate = loop.time(), job["rate"]
        self._begun = begun
        due = 0
        while (now := loop.time()) - begun < job["seconds"]:
            while due / rate <= now - begun:
                self._send(begun + due / rate)
                due += 1
            await asyncio.sleep(_TICK_S)
        end = loop.time() + job["patience_s"]
        while (self._busy or self._opening) and loop.time() < end:  # noqa: ASYNC110  thousands of them, and one wait
            await asyncio.sleep(0.01)
        late = len(self._busy) + self._opening
        for connection in (*self._busy, *self._idle):
            connection.transport.abort()
        passed = sorted(self._seconds.get("200", []))
        hundredths = quantiles(passed, n=100) if len(passed) > 1 else [0.0] * 99
        within = sum(second <= job["patience_s"] for second in passed)
        return {
            "offered": due / job["seconds"],
            "passed": within / job["seconds"],
            "refused": len(self._seconds.get("503", ())) / job["seconds"],
            "failed": (late + self._broken + self._unsent + len(passed) - within) / job["seconds"],
            "others": {status: len(some) for status, some in self._seconds.items() if status not in {"200", "503"}},
            "p50_ms": hundredths[49] * 1000,
            "p99_ms": hundredths[98] * 1000,
            "refused_p99_ms": _p99(self._seconds.get("503", [])) * 1000,
            "first_refusal": self.first_refusal,
            "answers": self._answers if job.get("is_detailed") else [],
        }

    def _send(self, due: float) -> None:
        self._sent += 1
        request = self._requests[self._sent % len(self._requests)]
        if self._idle:
            connection = self._idle.pop()
            self._busy.add(connection)
            connection.send(request, due)
        elif len(self._busy) + self._opening < self._job["connections"]:
            self._opening += 1
            opening = self._loop.create_task(self._open(request, due))
            opening.add_done_callback(lambda _task: None)
        else:
            self._unsent += 1

    async def _open(self, request: bytes, due: float) -> None:
        try:
            _, connection = await self._loop.create_connection(lambda: _Connection(self), self._job["host"], self._job["port"])
        except OSError:
            self._broken += 1
            return
        finally:
            self._opening -= 1
        self._busy.add(connection)
        connection.send(request, due)

    def answered(self, connection: _Connection, status: str, *, is_kept: bool, is_counted: bool) -> None:
        took = self._loop.time() - connection.due
        self._seconds.setdefault(status, []).append(took)
        self._answers.append((connection.due - self._begun, took, status, is_counted))
        self._busy.discard(connection)
        if is_kept:
            self._idle.append(connection)
        else:
            connection.transport.close()

    def lost(self, connection: _Connection) -> None:
        if connection in self._busy:
            self._busy.discard(connection)
            self._broken += 1
        elif connection in self._idle:
            self._idle.remove(connection)


def _p99(seconds: list[float]) -> float:
    return quantiles(seconds, n=100)[98] if len(seconds) > 1 else 0.0


def main() -> None:
    """Serve jobs until standard input ends."""
    for line in sys.stdin.buffer:

        async def job(text: bytes = line) -> dict[str, Any]:
            return await _Arrivals(orjson.loads(text)).run()

        sys.stdout.buffer.write(orjson.dumps(uvloop.run(job())) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
