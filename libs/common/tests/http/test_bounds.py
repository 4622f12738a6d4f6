"""What one client may take of a listener: time, connections, memory. Each bound is small here, so that it is reached soon."""

import asyncio
import resource
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY
from stylobate.app.http_bounds import HttpBounds
from stylobate.app.listeners import HttpListener
from stylobate.app.listening import bind
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.until import until

Listen = Callable[..., Any]
WITHIN_S = 30
"""Generous: a deadline of a second is looked at once a second, on a busy machine."""


async def _application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer with so many bytes as the path says once the body is there."""
    while (message := await receive())["type"] == "http.request" and message["more_body"]:
        pass
    size = int(scope["path"][1:] or 0)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
    await send({"type": "http.response.body", "body": bytes(size)})


@asynccontextmanager
async def _listening(
    application: Any = _application, *, reserve: int = 0, express_for: Any = lambda _: None, **bounds: Any
) -> AsyncIterator[int]:
    bound = bind("127.0.0.1:0")
    express = express_for(application)
    listener = HttpListener(application, bound, grace_s=1, bounds=HttpBounds(**bounds), reserve=reserve, express=express)
    await listener.start()
    try:
        yield bound.getsockname()[1]
    finally:
        await listener.stop()


def _cut(cause: str) -> float:
    return REGISTRY.get_sample_value("stylobate_http_connections_cut_total", {"cause": cause}) or 0


async def _end(reader: asyncio.StreamReader) -> bytes:
    """Return what comes until the server has ended the connection."""
    found = bytearray()
    try:
        async with asyncio.timeout(WITHIN_S):
            while piece := await reader.read(65_536):
                found += piece
    except ConnectionResetError:
        pass
    return bytes(found)


HEAD = b"POST /0 HTTP/1.1\r\nhost: x\r\n"
STALLED = {
    "not a byte": (b"", b""),
    "blank lines": (b"\r\n\r\n", b"408"),
    "half a request line": (b"POST /", b"408"),
    "half a field": (b"POST / HTTP/1.1\r\nhost: x\r\na: b", b"408"),
    "half an upgrade": (b"GET /v1/realtime HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgr", b"408"),
    "a body never sent": (HEAD + b"content-length: 10\r\n\r\n", b"408"),
    "half a body": (HEAD + b"content-length: 10\r\n\r\nhello", b"408"),
    "a chunk never ended": (HEAD + b"transfer-encoding: chunked\r\n\r\nff\r\nhello", b"408"),
    "half a chunk's head": (HEAD + b"transfer-encoding: chunked\r\n\r\nff", b"408"),
    "half a trailer": (HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\na: b", b"408"),
}


@pytest.mark.parametrize("is_first", [True, False])
async def test_what_stalls_is_ended(is_first: bool, express_for) -> None:
    """Wherever a request stops, on a new connection and on a kept one; it is told where there is something to answer."""

    async def stall(port: int, sent: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        if not is_first:
            writer.write(b"GET /3 HTTP/1.1\r\nhost: x\r\n\r\n")
            await reader.readuntil(b"\0\0\0")
        writer.write(sent)
        answer = await _end(reader)
        writer.close()
        return answer

    async with _listening(head_s=1, body_s=1, keep_alive_s=1, express_for=express_for) as port:
        answers = await asyncio.gather(*(stall(port, sent) for sent, _ in STALLED.values()))
        found = {kind: answer[9:12] for kind, answer in zip(STALLED, answers, strict=True)}
        assert found == {kind: status for kind, (_, status) in STALLED.items()}


DRIPS = {
    "a head": b"GET / HTTP/1.1\r\nhost: x\r\na: ",
    "a body": HEAD + b"content-length: 100000\r\n\r\n",
    "a chunk": HEAD + b"transfer-encoding: chunked\r\n\r\nffff\r\n",
    "a trailer": HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\na: ",
}


async def test_what_drips_is_ended(express_for) -> None:
    """A byte now and then is not progress."""

    async def drip(port: int, begun: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(begun)

        async def drops() -> None:
            while True:
                writer.write(b"x")
                await asyncio.sleep(0.1)  # the rhythm of the drip, not a wait for anything

        dripping = asyncio.create_task(drops())
        answer = await _end(reader)
        dripping.cancel()
        writer.close()
        return answer

    async with _listening(head_s=1, body_s=1, express_for=express_for) as port:
        answers = await asyncio.gather(*(drip(port, begun) for begun in DRIPS.values()))
        assert all(b"REQUEST_TIMEOUT" in answer for answer in answers)


async def test_a_slow_body_that_makes_progress_is_taken(express_for) -> None:
    """A poor line is not an attack: 20 KiB a second pass any number of deadlines."""
    async with _listening(body_s=1, express_for=express_for) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD + b"connection: close\r\ncontent-length: 81920\r\n\r\n")
        for _ in range(40):
            writer.write(bytes(2048))
            await asyncio.sleep(0.1)  # the rhythm of the line
        assert b" 200 " in await _end(reader)
        writer.close()


async def test_an_idle_connection_is_kept_as_long_as_set() -> None:
    """Between two requests the keep-alive holds, not the deadline of a head."""
    async with (
        _listening(head_s=1, keep_alive_s=600) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", verify=NO_TLS) as client,
    ):
        await client.get("/0")
        (kept,) = client._transport._pool.connections  # type: ignore[attr-defined]
        await asyncio.sleep(3)  # three times the deadline of a head
        assert (await client.get("/0")).status_code == 200
        assert client._transport._pool.connections == [kept]  # type: ignore[attr-defined]


async def _slow_reader(port: int, size: int, *, ahead: int = 1) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask for a long answer and read nothing of it."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=1)
    writer.write(b"GET /%d HTTP/1.1\r\nhost: x\r\n\r\n" % size * ahead)
    return reader, writer


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    """What it was sent does not stay in memory."""
    before = _cut("write")
    async with _listening(write_s=1) as port:
        _, writer = await _slow_reader(port, 8_000_000)
        await until(lambda: _cut("write") > before)
        writer.transport.abort()


async def test_unread_answers_of_many_are_bounded() -> None:
    """Together they hold no more than the budget, at once and not only after a deadline; others are answered all the while."""
    before = _cut("unsent")
    async with _listening(unsent_bytes=20_000_000, write_s=600) as port:
        people = [await _slow_reader(port, 8_000_000) for _ in range(6)]
        await until(lambda: _cut("unsent") >= before + 4)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", verify=NO_TLS) as client:
            assert len((await client.get("/2000000")).content) == 2_000_000
        for _, writer in people:
            writer.transport.abort()


async def test_unfinished_requests_of_many_are_bounded(express_for) -> None:
    """Together they hold no more than the budget; an honest request beside them, from elsewhere, is taken."""
    async with _listening(held_bytes=2_000_000, body_s=600, express_for=express_for) as port:
        people = [await asyncio.open_connection("127.0.0.1", port) for _ in range(10)]
        ended = [asyncio.create_task(_end(reader)) for reader, _ in people]
        elsewhere = httpx.AsyncHTTPTransport(local_address="127.0.0.2", verify=NO_TLS)
        try:
            for _, writer in people:
                writer.write(HEAD + b"content-length: 1000000\r\n\r\n" + bytes(900_000))
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", transport=elsewhere) as client:
                assert (await client.post("/0", content=bytes(100_000))).status_code == 200
            await until(lambda: sum(task.done() for task in ended) >= 7)
            assert all(b"OVERLOADED" in task.result() for task in ended if task.done())
        finally:  # a loop that is closed while connections are open waits for good
            for task in ended:
                task.cancel()
            for _, writer in people:
                writer.transport.abort()
            await asyncio.gather(*(writer.wait_closed() for _, writer in people), return_exceptions=True)


async def test_a_whole_request_never_gives_way(express_for) -> None:
    """It came in two segments and is being answered while others fill the budget again and again: its answer is all it gets."""
    begun, answers = asyncio.Event(), asyncio.Event()

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["path"] != "/slow":
            await _application(scope, receive, send)
            return
        while (await receive())["more_body"]:
            pass
        begun.set()
        await answers.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async with _listening(application, held_bytes=400_000, body_s=600, express_for=express_for) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /slow HTTP/1.1\r\nhost: x\r\ncontent-length: 90000\r\n\r\n" + bytes(60_000))
        await asyncio.sleep(1.5)  # so old that it is no longer spared for its youth
        writer.write(bytes(30_000))
        await asyncio.wait_for(begun.wait(), WITHIN_S)
        people = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        for _, other in people:
            other.write(HEAD + b"content-length: 1000000\r\n\r\n" + bytes(90_000))
        ended = [asyncio.create_task(_end(other)) for other, _ in people]
        await until(lambda: sum(task.done() for task in ended) >= 15)
        answers.set()
        writer.write(b"GET /0 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        found = await _end(reader)
        assert (found.count(b"HTTP/1.1 200 "), found.count(b"HTTP/1.1 ")) == (2, 2)
        for task in ended:
            task.cancel()
        for _, other in (*people, (reader, writer)):
            other.transport.abort()


async def test_the_address_that_holds_most_gives_way(express_for) -> None:
    """However slow and old a request of another address is: who fills the memory is who is told to go."""
    async with _listening(held_bytes=1_000_000, body_s=600, express_for=express_for) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.9", 0))
        writer.write(HEAD + b"connection: close\r\ncontent-length: 30000\r\n\r\n" + bytes(20_000))
        await asyncio.sleep(1.5)  # so old that it is no longer spared for its youth
        people = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        for _, other in people:
            other.write(HEAD + b"content-length: 1000000\r\n\r\n" + bytes(120_000))
        ended = [asyncio.create_task(_end(other)) for other, _ in people]
        await until(lambda: sum(task.done() for task in ended) >= 10)
        writer.write(bytes(10_000))
        assert b" 200 " in await _end(reader)
        for task in ended:
            task.cancel()
        for _, other in (*people, (reader, writer)):
            other.transport.abort()


def _refused(bound: str) -> float:
    return REGISTRY.get_sample_value("stylobate_http_connections_refused_total", {"bound": bound}) or 0


@pytest.mark.parametrize(
    ("name", "bounds"),
    [("process", {"connections": 5}), ("address", {"connections_per_address": 5})],
)
async def test_connections_are_bounded(name: str, bounds: dict[str, int]) -> None:
    """The sixth is told 503 and closed, counted, and there is room again once one is gone; others' addresses are not touched."""
    before = _refused(name)
    async with _listening(**bounds) as port:
        people = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
        for reader, writer in people:
            writer.write(b"GET /1 HTTP/1.1\r\nhost: x\r\n\r\n")
            await reader.readuntil(b"\0")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /1 HTTP/1.1\r\nhost: x\r\n\r\n")
        answer = await _end(reader)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"TOO_MANY_CONNECTIONS" in answer
        assert b"retry-after: 1" in answer
        assert _refused(name) == before + 1
        writer.close()
        elsewhere = httpx.AsyncHTTPTransport(local_address="127.0.0.9", verify=NO_TLS)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", transport=elsewhere) as client:
            assert (await client.get("/1")).status_code == (200 if name == "address" else 503)
        people.pop()[1].close()

        async def is_let_in() -> bool:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", verify=NO_TLS) as client:
                return (await client.get("/1")).status_code == 200

        async with asyncio.timeout(WITHIN_S):
            while not await is_let_in():
                pass
        for _, writer in people:
            writer.close()


async def test_a_trusted_proxy_brings_many() -> None:
    """Its connections are its clients', so the bound per address is not for it."""
    async with _listening(connections_per_address=2, trusted_proxies=("127.0.0.0/8",)) as port:
        people = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
        for reader, writer in people:
            writer.write(b"GET /1 HTTP/1.1\r\nhost: x\r\n\r\n")
            await asyncio.wait_for(reader.readuntil(b"\0"), WITHIN_S)
            writer.close()


async def test_unreadable_requests_of_one_address_are_answered_for_a_while() -> None:
    """No rule can charge what never becomes a request; from the hundredth on the address is turned away, and nobody else is."""
    async with _listening() as port:

        async def ask(sent: bytes, address: str = "127.0.0.1") -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
            writer.write(sent)
            answer = await _end(reader)
            writer.close()
            return answer

        answers = [await ask(b"NONSENSE\r\n\r\n") for _ in range(110)]
        assert answers[0].startswith(b"HTTP/1.1 400")
        assert b"TOO_MANY_UNREADABLE_REQUESTS" in b"".join(answers)
        good = b"GET /0 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        assert b" 200 " in await ask(good, "127.0.0.9")
        await until(lambda: ask(good), lambda found: b" 200 " in found, within_s=WITHIN_S)


async def test_without_descriptors_nobody_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    """Who waits is accepted once there are descriptors again, a line says why; a listener with a reserve answers meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with _listening() as port, _listening(reserve=4) as admin:
        asked = [socket.socket() for _ in range(3)]
        for client in asked:
            client.setblocking(False)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(one.fileno() for one in asked) + 1, hard))
        spare: list[socket.socket] = []
        try:
            while True:
                try:
                    spare.append(socket.socket())
                except OSError:
                    break
            loop = asyncio.get_running_loop()
            for client, where in zip(asked, (port, port, admin), strict=True):
                await loop.sock_connect(client, ("127.0.0.1", where))
                await loop.sock_sendall(client, b"GET /3 HTTP/1.1\r\nhost: x\r\n\r\n")
            assert b" 200 " in await asyncio.wait_for(loop.sock_recv(asked[2], 4096), WITHIN_S)
            await until(lambda: "accept_failed" in caplog.text)
        finally:
            for one in spare:
                one.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for client in asked[:2]:
            assert b" 200 " in await asyncio.wait_for(loop.sock_recv(client, 4096), WITHIN_S)
        for client in asked:
            client.close()
