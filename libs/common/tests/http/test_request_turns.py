"""What a process does when more is asked than it can do: real listeners, real load."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from time import thread_time
from typing import Any

import orjson
import pytest
from prometheus_client import REGISTRY
from stylobate.app.listeners import HttpListener
from stylobate.app.listening import bind
from stylobate.app.request_turns import ADMITTED, FEW
from stylobate.testing.until import until

from .hall import GREEDY, MODEST, WITHIN_S, opened


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Read one answer: status, header fields, body."""
    async with asyncio.timeout(WITHIN_S):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        return int(head[0].split()[1]), fields, await reader.readexactly(int(fields["content-length"]))


async def test_so_many_are_worked_on_at_a_time(express_for: Any) -> None:
    """One over a fixed bound waits until another ends, also when all of them are charged."""
    async with opened(express_for, requests=2) as hall:
        for path in ("/a", "/b", "/c"):
            await hall.ask(GREEDY, path)
        await hall.has_begun("/a", "/b")
        hall.admit("/a")
        hall.admit("/b")
        await hall.has_begun("/a", "/b")
        hall.answer("/b")
        await hall.has_begun("/a", "/b", "/c")


async def test_who_waits_in_vain_is_told_so(express_for: Any) -> None:
    """503 with when to come again; the connection stays, and the next request on it is served."""
    async with opened(express_for, requests=1) as hall:
        await hall.ask(GREEDY, "/a")
        await hall.has_begun("/a")
        reader, writer = await hall.ask(MODEST, "/in/vain")
        status, fields, body = await answer(reader)
        assert (status, fields["retry-after"], fields["content-type"]) == (503, "1", "application/problem+json")
        problem = orjson.loads(body)
        assert (problem["code"], problem["instance"]) == ("OVERLOADED", "/in/vain")
        assert problem["request_id"] == fields["x-request-id"]
        hall.answer("/a")
        writer.write(b"GET /again HTTP/1.1\r\nhost: x\r\n\r\n")
        await hall.has_begun("/a", "/again")
        hall.answer("/again")
        assert (await answer(reader))[0] == 200


async def test_a_refusal_of_head_has_no_body(express_for: Any) -> None:
    """What follows on the connection is the next answer."""
    async with opened(express_for, requests=1) as hall:
        await hall.ask(GREEDY, "/a")
        await hall.has_begun("/a")
        reader = await hall.connect(
            MODEST, b"HEAD /x HTTP/1.1\r\nhost: x\r\n\r\nGET /y HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        )
        async with asyncio.timeout(WITHIN_S):
            said = (await reader.read()).split(b"\r\n\r\n")
        assert [part.startswith(b"HTTP/1.1 503") for part in said] == [True, True, False]
        assert orjson.loads(said[2])["instance"] == "/y"


async def test_a_body_that_still_comes_is_read_past(express_for: Any) -> None:
    """A request is refused before its body is there; what comes behind the body is the next request."""
    async with opened(express_for, requests=1) as hall:
        await hall.ask(GREEDY, "/a")
        await hall.has_begun("/a")
        reader, writer = await asyncio.open_connection("127.0.0.1", hall.port, local_addr=(MODEST, 0))
        writer.write(b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 60000\r\n\r\n" + bytes(30_000))
        assert (await answer(reader))[0] == 503
        hall.answer("/a")
        writer.write(bytes(30_000) + b"GET /y HTTP/1.1\r\nhost: x\r\n\r\n")
        await hall.has_begun("/a", "/y")
        writer.close()


async def test_those_who_wait_for_others_are_not_too_many(express_for: Any) -> None:
    """Requests that cost the process nothing, however many, begin at once and keep nobody waiting."""
    async with opened(express_for) as hall:
        paths = [f"/{number}" for number in range(15 * FEW)]
        for path in paths:
            await hall.ask(GREEDY, path)
            await until(lambda path=path: path in hall.begun, within_s=WITHIN_S)
            hall.admit(path)
        await hall.ask(MODEST, "/last")
        await hall.has_begun(*paths, "/last")


class Mill:
    """An application that keeps the processor busy, and counts what is in it."""

    def __init__(self) -> None:
        self.port = 0
        self.inside = 0
        self.found: list[int] = []
        """For each request that began, how many there were."""

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Work for some milliseconds, not in the first round of the loop."""
        self.inside += 1
        self.found.append(self.inside)
        try:
            scope[ADMITTED]()
            await asyncio.sleep(0)
            end = thread_time() + 0.005
            while thread_time() < end:
                pass
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
        finally:
            self.inside -= 1


@pytest.fixture
async def mill() -> AsyncIterator[Mill]:
    """Serve a mill."""
    made = Mill()
    bound = bind("127.0.0.1:0")
    listener = HttpListener(made, bound, grace_s=1)
    made.port = bound.getsockname()[1]
    await listener.start()
    yield made
    await listener.stop()


@asynccontextmanager
async def clients(mill: Mill, address: str, count: int) -> AsyncIterator[list[Callable[[int], Awaitable[list[int]]]]]:
    """Connect from the address; for each connection give what asks a number of times and returns the statuses."""
    pairs = [await asyncio.open_connection("127.0.0.1", mill.port, local_addr=(address, 0)) for _ in range(count)]

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, times: int) -> list[int]:
        found = []
        for _ in range(times):
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            found.append((await answer(reader))[0])
            if found[-1] != 200:
                await asyncio.sleep(0.1)  # sooner than it was told; the loop is the server's too
        return found

    try:
        yield [partial(ask, *pair) for pair in pairs]
    finally:
        for _, writer in pairs:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for _, writer in pairs), return_exceptions=True)


async def test_a_flood_is_answered_in_time(mill: Mill, caplog: pytest.LogCaptureFixture) -> None:
    """Of hundreds at once some are served and the others told to come again, none is left waiting; then all is as before."""
    refused_before = _metric("http_requests_refused_total")
    async with clients(mill, GREEDY, 300) as crowd:
        told = [status for some in await asyncio.gather(*(ask(4) for ask in crowd)) for status in some]
        assert set(told) == {200, 503}
        assert _metric("http_requests_refused_total") - refused_before == told.count(503)
        await until(lambda: _said(caplog) == told.count(503), within_s=WITHIN_S)  # the last ones too, when nobody asks any more
        assert sum(mill.found[-50:]) / 50 < 100  # there were more before the first looks
        assert await crowd[0](20) == [200] * 20


async def test_a_flood_does_not_keep_others_out(mill: Mill) -> None:
    """Who asks one thing at a time is served beside an address that asks hundreds."""
    async with clients(mill, GREEDY, 150) as crowd, clients(mill, MODEST, 1) as (modest,):
        flood = [asyncio.create_task(ask(10_000)) for ask in crowd]
        await until(lambda: len(mill.found) > len(crowd), within_s=WITHIN_S)
        assert (await modest(10)).count(200) >= 9  # one may come while the machine stands still
        for task in flood:
            task.cancel()
        await asyncio.gather(*flood, return_exceptions=True)


def _said(caplog: pytest.LogCaptureFixture) -> int:
    """Return how many refusals the access log tells of."""
    return sum(map(int, re.findall(r"requests_refused.*?count\W+(\d+)", caplog.text)))


def _metric(name: str) -> float:
    return REGISTRY.get_sample_value(f"stylobate_{name}") or 0
