"""Both doors on one real listener, in front of servicers that note whom they were told of."""

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from stylobate.api.actions.v1.action_service_pb2 import ExecuteActionResponse
from stylobate.api.actions.v1.action_service_pb2_grpc import ActionServiceServicer, add_ActionServiceServicer_to_server
from stylobate.api.ratelimit.v1.ratelimit_service_pb2 import CheckLimitsResponse, GroupOutcome, Policy, WatchBansResponse
from stylobate.api.ratelimit.v1.ratelimit_service_pb2_grpc import (
    RateLimitServiceServicer,
    add_RateLimitServiceServicer_to_server,
)
from stylobate.api.state.v1.state_service_pb2 import DESCRIPTOR as STATE
from stylobate.api.state.v1.state_service_pb2 import GetStateResponse, State, WatchStatesResponse
from stylobate.api.state.v1.state_service_pb2_grpc import (
    StateServiceServicer,
    StateServiceStub,
    add_StateServiceServicer_to_server,
)
from stylobate.app.listeners import HttpListener
from stylobate.app.listening import bind
from stylobate.app.memory_app import MemoryApp
from stylobate.clients.edge import Edge
from stylobate.clients.limits import LimitsClient
from stylobate.declarations.model import ChannelDeclaration, Declarations
from stylobate.errors import TokenInvalidError
from stylobate.identity import Principal, PrincipalKind
from stylobate.identity.service_identity import ServiceIdentity
from stylobate.redis import RedisManager
from stylobate.rpc import RpcAccess, call
from stylobate.testing import FakeClock
from stylobate_gateway.main import build as build_gateway
from stylobate_gateway.settings import GatewaySettings
from stylobate_realtime.broker.redis import RedisBroker
from stylobate_realtime.channels import ChannelRules
from stylobate_realtime.endpoint import protocol_class
from stylobate_realtime.presence.redis import RedisPresence
from stylobate_realtime.settings import RealtimeSettings
from stylobate_realtime.websocket_manager import WebSocketManager
from websockets.frames import Frame, Opcode

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Seen:
    """What the services behind a door saw of one request."""

    counted: str
    """The subject of the rule ``edge.ip``."""
    address: str
    agent: str


@dataclass
class _Notes(RateLimitServiceServicer, ActionServiceServicer, StateServiceServicer):
    """Lets everything pass and notes it."""

    counted: list[str] = field(default_factory=list)
    told: list[tuple[str, str]] = field(default_factory=list)

    async def CheckLimits(self, request: Any, context: Any) -> Any:  # noqa: N802  the RPC's name
        self.counted += [group.subjects[0] for group in request.groups if group.levels[0].rule == "edge.ip"]
        full = [
            GroupOutcome(
                allowed=[True],
                level=[0],
                remaining=[1],
                reset_ms=[0],
                retry_after_ms=[0],
                policies=[Policy(limit=1)] * len(group.levels),
            )
            for group in request.groups
        ]
        return CheckLimitsResponse(outcomes=full)

    async def WatchBans(self, request: Any, context: Any) -> Any:  # noqa: N802
        yield WatchBansResponse()

    async def ExecuteAction(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.told.append((call().client_address, call().client_agent))
        return ExecuteActionResponse(output=b"{}", content_type="application/json")

    async def GetState(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.told.append((call().client_address, call().client_agent))
        return GetStateResponse(states=[State(namespace="orders", key="1")])

    async def WatchStates(self, request: Any, context: Any) -> Any:  # noqa: N802
        yield WatchStatesResponse()


class _Tokens:
    """Every token is the name of a user, known at once."""

    def cached(self, token: str) -> Principal | None:
        return Principal(PrincipalKind.USER, token, expires_at=4e9)

    async def verify(self, token: str) -> Principal:
        raise TokenInvalidError

    def on_revocation(self, callback: Any) -> None:
        del callback

    def on_keys_lost(self, callback: Any) -> None:
        del callback

    def on_key_changed(self, callback: Any) -> None:
        del callback

    def on_change(self, callback: Any) -> None:
        del callback

    def is_revoked(self, principal: Principal) -> bool:
        return False


_KEY = Ed25519PrivateKey.generate()


class _App(MemoryApp):
    version = "0.0.0"
    trace_ratio = 0.0
    trusts_traces = False
    application: Any = None
    verifier = _Tokens()
    identity = ServiceIdentity("gateway", _KEY, {"gateway": _KEY.public_key()})

    def task(self, name: str, factory: Any) -> None:
        """Run nothing: the catalogue is not read, actions are called by their names."""

    def check(self, name: str, check: Any) -> None:
        """Forget it: nobody asks."""

    def http(self, application: Any, *, proxies: Any = (), express: Any = None, turned_away: Any = None) -> None:
        self.application, self.express = application, express


class Doors:
    """Ask either door and hear what was seen."""

    def __init__(self, notes: _Notes, where: str) -> None:
        self._notes = notes
        self._where = where

    async def ask(self, door: str, forwarded: Sequence[str], agent: str = "tests/1") -> Seen:
        """Send a request of its own connection with these ``X-Forwarded-For`` lines, to ``http`` or ``websocket``."""
        self._notes.counted.clear()
        self._notes.told.clear()
        lines = [*(f"X-Forwarded-For: {value}" for value in forwarded), *([f"User-Agent: {agent}"] if agent else [])]
        reader, writer = await self._connect()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await {"http": self._over_http, "websocket": self._over_websocket}[door](reader, writer, lines)
        finally:
            writer.close()
        (told,) = self._notes.told
        (counted,) = set(self._notes.counted)
        return Seen(counted, *told)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._where.startswith("unix:"):
            return await asyncio.open_unix_connection(self._where.removeprefix("unix:"))
        host, _, port = self._where.rpartition(":")
        return await asyncio.open_connection(host.strip("[]"), int(port))

    async def _over_http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lines: list[str]) -> None:
        head = [
            "POST /v1/actions/any.thing HTTP/1.1",
            "Host: localhost",
            "Authorization: Bearer ada",
            *lines,
        ]
        writer.write("\r\n".join([*head, "Content-Length: 0", "Connection: close", "", ""]).encode("latin-1"))
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200 "), answer

    async def _over_websocket(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lines: list[str]) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        upgrade = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}"]
        writer.write("\r\n".join(["GET /v1/realtime HTTP/1.1", "Host: localhost", *upgrade, *lines, "", ""]).encode("latin-1"))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        commands = ({"id": 1, "connect": {"token": "ada"}}, {"id": 2, "subscribe": {"channel": "orders:1"}})
        for command in commands:
            writer.write(Frame(Opcode.TEXT, orjson.dumps(command)).serialize(mask=True))
            _, size = await reader.readexactly(2)
            if size == 126:
                size = int.from_bytes(await reader.readexactly(2), "big")
            assert "error" not in orjson.loads(await reader.readexactly(size))


@asynccontextmanager
async def _doors(redis_url: str, address: str, trusted: Sequence[str]) -> AsyncIterator[Doors]:
    notes = _Notes()
    async with _App(Declarations(), FakeClock(), {}) as app:
        names = ("CheckLimits", "PutBan", "DeleteBan", "GetBan", "ListBans", "WatchBans", "ListRules", "GetUsage", "ResetUsage")
        app.servicer(add_RateLimitServiceServicer_to_server, notes, dict.fromkeys(names, RpcAccess.SERVICE))
        names = ("ExecuteAction", "ListActions", "GetAction")
        app.servicer(add_ActionServiceServicer_to_server, notes, dict.fromkeys(names, RpcAccess.OPTIONAL))
        names = [method.name for method in STATE.services_by_name["StateService"].methods]
        app.servicer(add_StateServiceServicer_to_server, notes, dict.fromkeys(names, RpcAccess.AUTHENTICATED))
        await app.build("gateway", lambda app: build_gateway(app, GatewaySettings(trusted_proxies=tuple(trusted))))
        app._building = "realtime"
        redis = await app.enter(RedisManager.open(redis_url))
        manager = WebSocketManager(
            settings=RealtimeSettings(trusted_proxies=tuple(trusted)),
            verifier=app.verifier,
            edge=Edge(await app.enter(LimitsClient(app.channel("ratelimit"))), app.bans, app.limit_rules),
            rules=ChannelRules(
                {"orders": ChannelDeclaration("orders", "test", "state:orders")},
                app.access,
                StateServiceStub(app.channel("state")),
            ),
            broker=await app.enter(RedisBroker.open(redis, timedelta(seconds=60))),
            presence=RedisPresence(redis, timedelta(seconds=60)),
            version="0.0.0",
        )
        async with manager as opened:
            bound = bind(address)
            name = bound.getsockname()
            where = f"unix:{name}" if isinstance(name, str) else f"{address.rpartition(':')[0]}:{name[1]}"
            listener = HttpListener(
                app.application, bound, websocket_at=lambda _target: protocol_class(opened), grace_s=1, express=app.express
            )
            await listener.start()
            try:
                yield Doors(notes, where)
            finally:
                await listener.stop()


@pytest.fixture(params=["http", "websocket"])
def door(request: pytest.FixtureRequest) -> str:
    """Name a door."""
    return str(request.param)


@pytest.fixture
def run_doors(tmp_path: Path, redis_url: str) -> Any:
    """Give what runs both doors on an address, behind trusted proxies."""
    return partial(_doors, redis_url)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def doors(redis_url: str) -> AsyncIterator[Doors]:
    """Give doors behind a proxy on this machine and others in a network of their own."""
    async with _doors(
        redis_url, "127.0.0.1:0", ("127.0.0.0/8", "10.0.0.0/8", "2001:db8:1::/48", "::ffff:198.51.100.0/120")
    ) as found:
        yield found
