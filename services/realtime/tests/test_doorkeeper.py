"""Who may open a socket, on real sockets: the name that was asked for, and how often an address asks."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from stylobate.api.ratelimit.v1.ratelimit_service_pb2_grpc import add_RateLimitServiceServicer_to_server
from stylobate.clients.limits import LimitsClient, edge_limits
from stylobate.rpc import CallerChannel, LocalChannel, LocalServer, RpcAccess, Servicers
from stylobate_ratelimit.main import MemoryLimitStore, RateLimiterManager, RateLimitServicer, RateLimitSettings, StandIn
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import ConnectionClosed

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
    servicer = RateLimitServicer(RateLimiterManager(MemoryLimitStore(), StandIn(MemoryLimitStore()), rules), None, None, None)
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


async def _connected(node, cookie: str, **fields: str) -> dict | int:
    """Connect without a token of one's own; return the answer, or the code of the close."""
    socket = await open_socket(node.url, additional_headers={"cookie": cookie} | fields)
    await socket.send(json.dumps({"id": 1, "connect": {}}))
    try:
        async with asyncio.timeout(PATIENCE_S):
            return json.loads(await socket.recv())["connect"]
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 0


async def test_a_page_connects_with_its_cookie(platform, serve):
    """With the access cookie of its session, which it is not asked to renew; only where its origin was let in by name."""
    cookie = f"a=b; stylobate_access={platform.auth.token()}"
    ours = {"origin": "http://localhost:3000"}
    async with serve() as node:
        answer = await _connected(node, cookie, **ours)
        assert answer["client"]
        assert "expires" not in answer
        assert await _connected(node, cookie) == 3507  # no page, so no browser's cookie
        assert await _connected(node, f"{cookie}; stylobate_access=another", **ours) == 3507
        _, key = platform.auth.api_key()
        assert await _connected(node, f"stylobate_access={key}", **ours) == 3507
        assert (await _answer(node))[0] == 101
    async with serve(allowed_origins=("*",)) as node:
        assert await _connected(node, cookie, origin="https://anywhere.example") == 3507


async def test_a_session_that_ends_closes_the_socket_of_its_cookie(platform, serve):
    """Within a second, as any other."""
    async with serve() as node:
        fields = {"cookie": f"stylobate_access={platform.auth.token(session='s7')}", "origin": "http://localhost:3000"}
        socket = await open_socket(node.url, additional_headers=fields)
        await socket.send(json.dumps({"id": 1, "connect": {}}))
        assert json.loads(await socket.recv())["connect"]["client"]
        await platform.auth.revoke("s7")
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
        assert closed.value.rcvd.code == 3500


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
