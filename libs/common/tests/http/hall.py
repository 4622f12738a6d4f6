"""An application behind a real listener, whose requests begin and end as a test wants."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from stylobate.app.http_bounds import HttpBounds
from stylobate.app.listeners import HttpListener
from stylobate.app.listening import bind
from stylobate.app.request_turns import ADMITTED
from stylobate.testing.until import until

GREEDY, MODEST = "127.0.0.2", "127.0.0.3"
WITHIN_S = 30


class Hall:
    """An application that admits requests and answers them when it is told to; clients on raw sockets."""

    def __init__(self) -> None:
        self.port = 0
        self.connections: Any = ()
        """Those that the listener has, lost ones not among them."""
        self.listening: Any = None
        """The socket that the listener listens on."""
        self.begun: list[str] = []
        """The paths of the requests that are in it, in their order."""
        self.gone: list[str] = []
        self.bodies: dict[str, int] = {}
        self._doors: dict[str, asyncio.Event] = {}
        self._admit: dict[str, Any] = {}
        self._writers: list[asyncio.StreamWriter] = []

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Read the body, wait to be told, answer."""
        path = scope["path"]
        self.begun.append(path)
        self._admit[path] = scope[ADMITTED]
        door = self._doors[path] = asyncio.Event()
        size = 0
        while (message := await receive())["type"] == "http.request":
            size += len(message["body"])
            if not message["more_body"]:
                break
        self.bodies[path] = size
        await door.wait()
        if (await receive() if path.startswith("/leaves") else message)["type"] == "http.disconnect":
            self.gone.append(path)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def connect(self, address: str, said: bytes = b"") -> asyncio.StreamReader:
        """Connect from the address and say something."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(address, 0))
        self._writers.append(writer)  # it would close itself when nobody keeps it
        writer.write(said)
        return reader

    def admit(self, path: str) -> None:
        """Tell the listener that the request is charged."""
        self._admit[path]()

    def answer(self, path: str) -> None:
        """Answer the request."""
        self._doors[path].set()

    async def ask(self, address: str, *paths: str, body: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Send requests on one connection from the address."""
        reader = await self.connect(address)
        writer = self._writers[-1]
        head = b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
        writer.write(b"".join(head % (path.encode(), len(body)) + body for path in paths))
        return reader, writer

    async def has_begun(self, *paths: str) -> None:
        """Wait until exactly these have begun, in this order."""
        await until(lambda: len(self.begun) >= len(paths), within_s=WITHIN_S)
        for _ in range(20):  # whatever else would begin has its chance
            await asyncio.sleep(0)
        assert self.begun == [*paths]

    def close(self) -> None:
        """Let everything end."""
        for door in self._doors.values():
            door.set()
        for writer in self._writers:
            writer.close()


@asynccontextmanager
async def opened(express_for: Any, **bounds: Any) -> AsyncIterator[Hall]:
    """Serve a hall with these bounds."""
    hall = Hall()
    bound = bind("127.0.0.1:0")
    listener = HttpListener(hall, bound, grace_s=1, bounds=HttpBounds(**bounds), express=express_for(hall))
    hall.port = bound.getsockname()[1]
    await listener.start()
    hall.connections = listener._server.server_state.connections
    hall.listening = bound
    try:
        yield hall
    finally:
        hall.close()
        await listener.stop()
