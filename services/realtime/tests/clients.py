"""Whom the service is spoken to by: unmodified SDK clients, and a session spoken to in JSON without a socket."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import centrifuge
from stylobate.testing.until import until
from stylobate_realtime.codes import Disconnect
from stylobate_realtime.protocol import Codec
from stylobate_realtime.websocket_manager import WebSocketManager

PATIENCE_S = 60.0


class Watch(centrifuge.ClientEventHandler, centrifuge.SubscriptionEventHandler):
    """Keeps what an SDK client reports, in order, and waits for what should come."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []
        self._more = asyncio.Event()

    def __getattribute__(self, name: str) -> Any:
        """Take every ``on_…`` of the SDK's handlers."""
        if not name.startswith("on_"):
            return super().__getattribute__(name)

        async def keep(context: Any) -> None:
            self.events.append((name.removeprefix("on_"), context))
            self._more.set()

        return keep

    def of(self, kind: str) -> list[Any]:
        """Return what was reported of a kind."""
        return [context for name, context in self.events if name == kind]

    async def wait(self, kind: str, count: int = 1) -> Any:
        """Return the n-th report of a kind, once it has come."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.of(kind)) < count:
                self._more.clear()
                await self._more.wait()
        return self.of(kind)[count - 1]


@dataclass
class Person:
    """An SDK client with what it reported."""

    client: centrifuge.Client
    watch: Watch

    async def subscribe(self, channel: str, **options: Any) -> tuple[centrifuge.Subscription, Watch]:
        """Subscribe and wait for the answer, whichever it is."""
        watch = Watch()
        subscription = self.client.new_subscription(channel, events=watch, **options)
        await subscription.subscribe()
        await until(lambda: not (subscription.state is centrifuge.SubscriptionState.SUBSCRIBING and (not watch.of("error"))))
        return subscription, watch


class Socket:
    """The server's side of a socket: keeps what was written; a test decides how much the peer takes."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closed: Disconnect | None = None
        self.is_aborted = False
        self.is_reading = True
        self.keeps_up = True
        self.fault: Exception | None = None
        self.blocked_at = self.amid_at = 0.0

    def write(self, data: bytes, own: int) -> bool:
        """Keep frames."""
        if self.fault is not None:
            raise self.fault
        self.writes.append(data)
        return self.keeps_up

    def descriptor(self) -> int:
        """Return that there is none."""
        return -1

    def blocked_since(self) -> float:
        """Return the time since which the peer takes too little."""
        return self.blocked_at

    def amid_since(self) -> float:
        """Return the time since which a message is not whole."""
        return self.amid_at

    def close(self, disconnect: Disconnect) -> None:
        """Keep the close."""
        self.closed = disconnect

    def abort(self) -> None:
        """Note the abort."""
        self.is_aborted = True

    def set_reading(self, reading: bool) -> None:
        """Note whether bytes are taken."""
        self.is_reading = reading

    def frames(self) -> list[bytes]:
        """Return the payload of every frame."""
        data, payloads = b"".join(self.writes), []
        while data:
            size, head = data[1], 2
            if size == 126:
                size, head = int.from_bytes(data[2:4], "big"), 4
            elif size == 127:
                size, head = int.from_bytes(data[2:10], "big"), 10
            payloads.append(data[head : head + size])
            data = data[head + size :]
        return payloads

    def messages(self) -> list[Any]:
        """Return every JSON message."""
        return [json.loads(line) for payload in self.frames() for line in payload.split(b"\n")]


class Talk:
    """A session spoken to in JSON."""

    def __init__(self, manager: WebSocketManager, codec: Codec, address: str) -> None:
        self.socket = Socket()
        self.session = manager.session(self.socket, codec, address)

    async def say(self, *commands: Any) -> list[Any]:
        """Send the commands in one frame, wait until they are carried out, and return what came meanwhile."""
        before = len(self.socket.messages())
        self.session.receive(b"\n".join(json.dumps(command).encode() for command in commands))
        await self.settle()
        return self.socket.messages()[before:]

    async def settle(self) -> None:
        """Wait until nothing is under way."""
        async with asyncio.timeout(PATIENCE_S):
            while self.session.worker is not None:
                await asyncio.wait((self.session.worker,))
            for _ in range(5):
                await asyncio.sleep(0)  # broadcasts and flushes take a turn of the loop each

    @property
    def code(self) -> int:
        """The code it was closed with; 0 while it is open."""
        return self.socket.closed.code if self.socket.closed else 0
