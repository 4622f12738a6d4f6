"""Clients that were there before: connections that are kept, each of which asks at a steady pace, while others storm.

``python -m bench.residents`` takes jobs as JSON lines on standard input and answers each with a JSON line. Each request is due
at a moment of its own, and the time that it takes is counted from then; who still waits for the answer before asks late.
"""

import asyncio
import ssl
import sys
from statistics import quantiles
from typing import Any

import orjson
import uvloop

_PATIENCE_S = 10.0


class _Resident:
    def __init__(self, request: bytes) -> None:
        self._request = request
        self.seconds: list[float] = []
        self.failed = 0
        self.first_failure = ""
        self._reader: Any = None
        self._writer: Any = None

    async def connect(self, job: dict[str, Any], tls: ssl.SSLContext | None) -> None:
        named: dict[str, Any] = {} if tls is None else {"ssl": tls, "server_hostname": "localhost"}
        self._reader, self._writer = await asyncio.open_connection(job["host"], job["port"], **named)
        await self._ask()  # known from here on

    async def run(self, begin: float, every_s: float, count: int) -> None:
        loop = asyncio.get_running_loop()
        for number in range(count):
            due = begin + number * every_s
            await asyncio.sleep(due - loop.time())
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    is_good = await self._ask()
            except (OSError, EOFError, TimeoutError) as error:
                self.failed += count - number
                self.first_failure = self.first_failure or repr(error)
                return
            if is_good:
                self.seconds.append(loop.time() - due)
            else:
                self.failed += 1
        self._writer.close()

    async def _ask(self) -> bool:
        self._writer.write(self._request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        at = head.lower().index(b"content-length: ") + 16
        await self._reader.readexactly(int(head[at : head.index(b"\r", at)]))
        is_good: bool = head.startswith(b"HTTP/1.1 200")
        if not is_good and not self.first_failure:
            self.first_failure = head.decode()
        return is_good


async def _settle(job: dict[str, Any]) -> list[_Resident]:
    tls = ssl.create_default_context(cafile=job["authority"]) if job["authority"] else None
    requests = [text.encode() for text in job["requests"]]
    people = [_Resident(requests[number % len(requests)]) for number in range(job["connections"])]
    for one in people:
        await one.connect(job, tls)
    return people


async def _ask(people: list[_Resident], job: dict[str, Any]) -> dict[str, Any]:
    count, rate = len(people), job["rate"]
    begin, times = asyncio.get_running_loop().time(), int(rate * job["seconds"] / count)
    await asyncio.gather(*(one.run(begin + number / rate, count / rate, times) for number, one in enumerate(people)))
    seconds = [second for one in people for second in one.seconds]
    hundredths = quantiles(seconds, n=100) if len(seconds) > 1 else [0.0] * 99
    return {
        "asked": times * count,
        "failed": sum(one.failed for one in people),
        "first_failure": next((one.first_failure for one in people if one.first_failure), ""),
        "in_time": sum(second <= job["patience_s"] for second in seconds),
        "p50_ms": hundredths[49] * 1000,
        "p99_ms": hundredths[98] * 1000,
        "slowest_ms": max(seconds, default=0.0) * 1000,
    }


def main() -> None:
    """Serve jobs until standard input ends: one with ``connections`` connects, the next one asks over these and closes them."""
    people: list[_Resident] = []
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for line in sys.stdin.buffer:
            job, found = orjson.loads(line), dict[str, Any]()
            if "connections" in job:
                people = runner.run(_settle(job))
            else:
                found = runner.run(_ask(people, job))
            sys.stdout.buffer.write(orjson.dumps(found) + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
