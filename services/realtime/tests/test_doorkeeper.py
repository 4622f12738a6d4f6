"""Who may open a socket, on real sockets: the name that was asked for, and how often an address asks."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from stylobate.api.ratelimit.v1.ratelimit_service_pb2_grpc import add_RateLimitServiceServicer_to_server
from stylobate.clients.limits import LimitsClient, edge_limits
from stylobate.rpc import CallerChannel, LocalChannel, LocalServer, RpcAccess, Servicers
from stylobate_ratelimit.main import MemoryLimitStore, RateLimiterManager, RateLimitServicer, RateLimitSettings

from .clients import PATIENCE_S

HEAD = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
PATHS = ("/v1/realtime", "/connection/websocket")


@pytest.fixture
async def three_an_hour() -> AsyncIterator[LimitsClient]:
    """Give a client of a real limiter that grants an address three requests."""
    rules = RateLimitSettings(edge_ip="3/hour").rules
    servicers = Servicers()
    servicer = RateLimitServicer(RateLimiterManager(MemoryLimitStore(), MemoryLimitStore(), rules), None, None, None)
    servicers.register(
        add_RateLimitServiceServicer_to_server, servicer, dict.fromkeys(RateLimitServicer.ACCESS, RpcAccess.PUBLIC)
    )
    server = LocalServer(servicers)
    await server.start()
    async with edge_limits(CallerChannel(LocalChannel(server), None)) as limits:
        yield limits
    await server.stop()


async def _answer(node, host: str = "127.0.0.1", path: str = PATHS[0]) -> tuple[int, dict[str, str], str]:
    """Ask for a socket and return what the handshake is answered with: status, headers, body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    writer.write(HEAD.format(host=host, path=path).encode())
    async with asyncio.timeout(PATIENCE_S):
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    writer.close()
    return int(first.split()[1]), headers, body.decode()


@pytest.mark.parametrize("path", PATHS)
async def test_handshakes_are_charged_on_their_address(platform, serve, three_an_hour, path):
    """The fourth of an hour is told when to come again, in the form of every refusal, and nothing is opened."""
    platform.limits = three_an_hour
    async with serve() as node:
        assert [(await _answer(node, path=path))[0] for _ in range(3)] == [101, 101, 101]
        status, headers, body = await _answer(node, path=path)
        assert (status, json.loads(body)["code"]) == (429, "RATE_LIMITED")
        assert 0 < int(headers["retry-after"]) <= 3600
        assert headers["ratelimit"].startswith('"edge.ip";r=0;')


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.example"])
async def test_in_development_a_strangers_name_opens_nothing(platform, node, host, path):
    """DNS rebinding: a page under its own name gets no socket, and is not even charged for the look."""
    status, headers, body = await _answer(node, host, path)
    assert (status, json.loads(body)["code"], json.loads(body)["title"]) == (403, "HOST_REFUSED", "Host refused")
    assert json.loads(body)["request_id"] == headers["x-request-id"]
    assert platform.limits.charged == []


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "[::1]:8080", "realtime", "shop.localhost"])
async def test_own_names_open_a_socket(node, host):
    """Loopback names, addresses and names without a dot."""
    assert (await _answer(node, host))[0] == 101
