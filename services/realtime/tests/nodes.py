"""A node under test: the manager on a real server, or on a stage where a clock moves when told."""

import asyncio
import json
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import uvicorn
from stylobate.testing.until import until
from stylobate_realtime.broker import Broker
from stylobate_realtime.channels import ChannelRules
from stylobate_realtime.endpoint import protocol_class
from stylobate_realtime.loss_feed import LossFeed
from stylobate_realtime.presence import Presence
from stylobate_realtime.protocol.json_codec import JsonCodec
from stylobate_realtime.settings import RealtimeSettings
from stylobate_realtime.websocket_manager import WebSocketManager

from .clients import Talk
from .platform import Platform


@dataclass
class Node:
    """One process, so to say."""

    manager: WebSocketManager
    port: int
    server: uvicorn.Server

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"ws://127.0.0.1:{self.port}/v1/realtime"

    async def publish(self, channel: str, data: Any) -> None:
        """Publish as a service would."""
        await self.manager.publish("default", channel, json.dumps(data).encode(), {})


class _Server(uvicorn.Server):
    def capture_signals(self) -> Any:
        return nullcontext()  # pytest owns the signals


@asynccontextmanager
async def serve_node(
    platform: Platform, settings: RealtimeSettings, broker: Broker, presence: Presence, *, port: int, http: str
) -> AsyncIterator[Node]:
    """Give a running node.

    :param port: 0: any. :param http: uvicorn's protocol in front of the upgrade.
    """
    manager = WebSocketManager(
        settings=settings,
        verifier=platform.verifier,
        edge=platform.edge,
        rules=ChannelRules(platform.channels, platform.permissions, platform.state),
        broker=broker,
        presence=presence,
        version="1.2.3",
    )
    async with manager as opened, asyncio.TaskGroup() as background:
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", port))
        config = uvicorn.Config(
            _no_http, ws=protocol_class(opened), lifespan="off", log_config=None, timeout_graceful_shutdown=3, http=http
        )
        server = _Server(config)
        serving = background.create_task(server.serve(sockets=[bound]))
        losses = LossFeed(platform.events, opened.lost, opened.standing.change)
        work = (opened.run_timers, opened.standing.run_revocations, opened.standing.run_changes, opened.renewal.run, losses.run)
        tasks = [background.create_task(run()) for run in work]
        await until(lambda: server.started)
        try:
            yield Node(opened, bound.getsockname()[1], server)
        finally:
            server.should_exit = True
            await serving
            for task in tasks:
                task.cancel()


async def _no_http(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


class Stage:
    """A manager without a server, on a clock that moves when told."""

    def __init__(self, platform: Platform, broker: Broker, settings: RealtimeSettings) -> None:
        self.platform = platform
        self.broker = broker
        self.clock = 1000.0
        self.codec = JsonCodec()
        self.manager = WebSocketManager(
            settings=settings,
            verifier=platform.verifier,
            edge=platform.edge,
            rules=ChannelRules(platform.channels, platform.permissions, platform.state),
            broker=broker,
            presence=platform.presence,
            version="1.2.3",
            clock=lambda: self.clock,
            chance=random.Random(1),
        )

    def talk(self, address: str = "192.0.2.1") -> Talk:
        """Open a session."""
        return Talk(self.manager, self.codec, address)

    async def connected(self, user: str = "ann", **claims: Any) -> Talk:
        """Open a session and connect."""
        talk = self.talk()
        reply = await talk.say({"id": 1, "connect": {"token": self.platform.auth.token(user, **claims)}})
        assert reply[0]["connect"]["client"]
        return talk

    def advance(self, seconds: float) -> None:
        """Let time pass, tick by tick."""
        end = self.clock + seconds
        while self.clock < end:
            self.clock = min(end, self.clock + 1)
            self.manager.turn()
