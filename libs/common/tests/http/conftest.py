"""A listener on a real socket, whose application answers with the request as it came to it, on the platform's own loop."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import orjson
import pytest
import pytest_asyncio
import uvloop
from stylobate.app.express import ExpressCycle
from stylobate.app.listeners import HttpListener
from stylobate.app.listening import bind
from stylobate.errors import CancelledCallError
from stylobate.testing.until import until

_PLAIN = re.compile(rb"[A-Za-z0-9_./?=&-]+")


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], Any]]:
    """Run on the loop that the platform runs on."""
    return {"uvloop": uvloop.new_event_loop}


class Posts:
    """Answers every POST that has a length in the application's place, and as it does."""

    def __init__(self, application: Any) -> None:
        self.prefixes = {b"POST": b"/"}
        self._application = application

    def take(self, _method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> Any:
        """Take the request."""
        path, _, query = target.partition(b"?")
        found = {"type": "http", "method": "POST", "raw_path": path, "query_string": query, "headers": [*headers]}
        return {**found, "path": path.decode()} if _PLAIN.fullmatch(target) else None

    def again(self, taken: Any) -> Any:
        """Take another request with the same head."""
        return {**taken, "headers": [*taken["headers"]]}

    async def serve(self, taken: Any, cycle: ExpressCycle, scope: Any, receive: Any, send: Any) -> None:
        """Answer it."""
        is_read = False

        async def receive_whole() -> Any:
            nonlocal is_read
            if is_read:
                return await receive()
            is_read = True
            try:
                body = await cycle.whole()
            except CancelledCallError:
                return {"type": "http.disconnect"}
            cycle.message_event.clear()
            return {"type": "http.request", "body": body, "more_body": False}

        scope |= taken
        await self._application(scope, receive_whole, send)


Ways = Callable[[Any], Posts | None]


@pytest.fixture(scope="module", params=[None, Posts], ids=["asgi", "express"])
def express_for(request: pytest.FixtureRequest) -> Ways:
    """Give what makes what answers in the place of an application; of nothing, where it is to answer all by itself."""
    made = request.param
    return lambda application: made and made(application)


class Echo:
    """A listener whose application answers with the request as it came to it; a client on raw sockets."""

    def __init__(self) -> None:
        self.port = 0
        self.seen: list[dict[str, Any]] = []

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer."""
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            if not message["more_body"]:
                break
        found = {
            "method": scope["method"],
            "path": scope["path"],
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
            "body": body.decode("latin-1"),
        }
        self.seen.append(found)
        answer = orjson.dumps(found)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def send(self, *parts: bytes) -> bytes:
        """Send the parts as segments of their own, each once the one before was taken; return all that comes back."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        for part in parts:
            writer.write(part)
            await writer.drain()
            await self.is_read(writer)
        answer = await asyncio.wait_for(reader.read(), 60)
        writer.close()
        return answer

    async def is_read(self, writer: asyncio.StreamWriter) -> None:
        """Wait until the server has read what was sent: until the kernel holds none of it."""
        mine, peer = writer.get_extra_info("sockname"), writer.get_extra_info("peername")
        await until(lambda: asyncio.to_thread(_unread, peer[1], mine[1]), lambda found: not found, within_s=60)


def _unread(local: int, remote: int) -> int:
    """Return the bytes that wait in the receive queue of the server's end (proc(5), net/tcp)."""
    with open("/proc/net/tcp", encoding="ascii") as table:  # noqa: PTH123  a table of the kernel
        for line in table:
            columns = line.split()
            if columns[1].endswith(f":{local:04X}") and columns[2].endswith(f":{remote:04X}"):
                return int(columns[4].partition(":")[2], 16)
    return 0


def answers_in(raw: bytes) -> list[tuple[int, dict[str, str], Any]]:
    """Split answers that follow each other."""
    found = []
    while raw:
        head, _, raw = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers["content-length"])
        found.append((int(first.split()[1]), headers, orjson.loads(raw[:length])))
        raw = raw[length:]
    return found


@pytest.fixture(name="answers_in")
def _answers_in() -> Callable[[bytes], list[tuple[int, dict[str, str], Any]]]:
    """Give what splits answers that follow each other: status, headers in lower case, document."""
    return answers_in


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def serving(express_for) -> AsyncIterator[Echo]:
    """Serve the echo, with a WebSocket protocol that only says what it was given."""
    found = Echo()

    class Taken(asyncio.Protocol):
        def __init__(self, config: Any, server_state: Any, app_state: Any) -> None:
            self._connections = server_state.connections

        def connection_made(self, transport: Any) -> None:
            self._transport = transport
            self._connections.add(self)

        def data_received(self, data: bytes) -> None:
            self._transport.write(b"WEBSOCKET " + data)
            self._transport.close()

        def connection_lost(self, exc: Exception | None) -> None:
            self._connections.discard(self)

    bound = bind("127.0.0.1:0")
    listener = HttpListener(found, bound, websocket_at=lambda _target: Taken, grace_s=1, express=express_for(found))
    found.port = bound.getsockname()[1]
    await listener.start()
    yield found
    await listener.stop()


@pytest.fixture
def echo(serving: Echo) -> Echo:
    """Give the echo; it has seen nothing yet."""
    serving.seen.clear()
    return serving
