"""Several services on one port."""

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest
from stylobate.app.mounts import Mounts
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.ports import free_ports

TARGETS = {
    "/": "/",
    "/v1/orders": "/",
    "/v1/realtime": "/v1/realtime",
    "/v1/realtime/": "/v1/realtime",
    "/v1/realtime/channels/x": "/v1/realtime/channels",
    "/v1/realtimes": "/",
    "": "/",
    "*": "/",
}


def _named(name: str) -> Any:
    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": name.encode()})

    return application


async def _answer(application: Any, path: str) -> tuple[int, bytes]:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await application({"type": "http", "path": path}, None, send)
    return sent[0]["status"], sent[1]["body"]


@pytest.mark.parametrize(("path", "prefix"), TARGETS.items())
async def test_the_longest_prefix_answers(path: str, prefix: str):
    """Whole segments count; what fits no prefix is the root's, over HTTP and for WebSockets alike."""
    mounts = Mounts()
    for name in ("/v1/realtime", "/", "/v1/realtime/channels"):
        mounts.add([name], _named(name))
        mounts.add_websocket([name], lambda name=name: name)
    assert await _answer(mounts.application, path) == (200, prefix.encode())
    upgrade = mounts.websocket_at(f"{path}?a=/v1/realtime".encode())
    assert upgrade is not None
    assert upgrade() == prefix


async def test_what_nobody_serves_is_not_found():
    """A process without a service at the root answers 404 there and takes up no WebSocket."""
    mounts = Mounts()
    mounts.add(["/echo"], _named("echo"))
    assert (await _answer(mounts.application, "/other"))[0] == 404
    assert (await _answer(mounts.application, "/echo"))[0] == 200
    assert mounts.websocket_at(b"/echo") is None


def test_an_application_alone_is_served_itself():
    """Nothing stands before the only application."""
    mounts, alone = Mounts(), _named("alone")
    mounts.add(["/"], alone)
    assert mounts.application is alone


@pytest.mark.parametrize("prefixes", [[], ["/taken"], ["/free", "/taken"]])
def test_a_prefix_belongs_to_one_service(prefixes: list[str]):
    """Neither without a prefix nor under another's does a service serve HTTP."""
    mounts = Mounts()
    mounts.add(["/taken"], _named("first"))
    with pytest.raises(ValueError, match="under the prefixes of its spec"):
        mounts.add(prefixes, _named("second"))


async def test_services_share_a_port(hosts, auth, probe):
    """Two services of one process answer under their prefixes, and each upgrade comes to the service of its path."""

    class Hello(asyncio.Protocol):
        def __init__(self, **_: Any) -> None: ...

        def connection_made(self, transport: Any) -> None:
            transport.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\nhello")
            transport.close()

    async def front(app: Any, _: Any) -> None:
        app.http(_named("front"))

    async def sockets(app: Any, _: Any) -> None:
        app.http(_named("sockets"))
        app.websocket(Hello)

    (port,) = (free_ports(1),)
    front_spec = replace(probe(front), http=("/",))
    other = replace(probe(sockets), name="other", http=("/sockets",))
    async with hosts.open(auth, front_spec, other, http=f"127.0.0.1:{port}"):
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", verify=NO_TLS) as client:
            upgrade = {"connection": "upgrade", "upgrade": "websocket"}
            assert (await client.get("/sockets/x")).text == "sockets"
            assert (await client.get("/x")).text == "front"
            assert (await client.get("/x", headers=upgrade)).text == "front"
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /sockets HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        assert (await reader.read()).endswith(b"hello")
        writer.close()
