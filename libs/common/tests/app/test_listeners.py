"""Listening: who has an address, what a killed process left, and servers that cannot begin."""

import asyncio
import socket
import stat
from pathlib import Path

import httpx
import pytest
import uvicorn
from stylobate.app.connections import Connections
from stylobate.app.http_bounds import HttpBounds
from stylobate.app.http_protocol import HttpProtocol
from stylobate.app.listeners import HttpListener
from stylobate.app.listening import ListenError, PortInUseError, adopt, bind
from stylobate.testing.plain_http import NO_TLS
from uvicorn.server import ServerState


async def hello(_scope, _receive, send) -> None:
    """Answer."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


async def test_an_address_belongs_to_one() -> None:
    """Two that bind at the same moment are told apart before either serves."""
    with bind("127.0.0.1:0") as first:
        port = first.getsockname()[1]
        with pytest.raises(PortInUseError, match=f"127.0.0.1:{port} is in use by another program"):
            bind(f"127.0.0.1:{port}")


async def test_a_socket_of_the_launcher_outlives_who_serves_on_it() -> None:
    """Who connects while nobody serves waits for the next one and is answered by it."""
    with bind("127.0.0.1:0") as held:
        url = f"http://127.0.0.1:{held.getsockname()[1]}/"
        first = HttpListener(hello, adopt(held.fileno()))
        await first.start()
        async with httpx.AsyncClient(timeout=30, verify=NO_TLS) as client:
            assert (await client.get(url)).text == "hello"
        await first.stop()
        async with httpx.AsyncClient(timeout=30, verify=NO_TLS) as client:
            waiting = asyncio.create_task(client.get(url))
            second = HttpListener(hello, adopt(held.fileno()))
            await second.start()
            assert (await waiting).text == "hello"
            await second.stop()


@pytest.mark.parametrize(
    "address", ["192.0.2.1:80", "127.0.0.1:99999", "127.0.0.1:http", "nowhere", "unix:/no/such/folder/socket"]
)
async def test_what_cannot_be_listened_on_is_said_in_one_line(address) -> None:
    """Not every address that cannot be had is in use."""
    with pytest.raises(ListenError, match=f"^cannot listen on {address}: .+$") as caught:
        bind(address)
    assert not isinstance(caught.value, PortInUseError)


async def test_a_socket_that_was_left_behind_is_replaced(server_run: Path) -> None:
    """One that answers is in use; one whose process was killed is not; what is not a socket is not touched."""
    path = server_run / "left"
    with bind(f"unix:{path}"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with pytest.raises(PortInUseError):
            bind(f"unix:{path}")
    assert path.exists()
    bind(f"unix:{path}").close()
    file = server_run / "file"
    file.write_text("mine")
    with pytest.raises(ListenError):
        bind(f"unix:{file}")
    assert file.read_text() == "mine"


async def test_a_listener_leaves_nothing_behind(server_run: Path) -> None:
    """Its socket is gone with it, also when it is stopped twice."""
    path = server_run / "socket"
    listener = HttpListener(hello, bind(f"unix:{path}"))
    await listener.start()
    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path), verify=NO_TLS)) as client:
        assert (await client.get("http://x/")).text == "hello"
    await listener.stop()
    await listener.stop()
    assert not path.exists()


async def test_a_listener_that_cannot_begin_says_why() -> None:
    """What the server raised comes out, and the socket is closed."""
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with pytest.raises((OSError, ValueError)):
        await HttpListener(hello, datagrams).start()
    assert datagrams.fileno() == -1


async def test_an_idle_connection_does_not_hold_up_the_end() -> None:
    """Stopping takes no longer for clients that keep connections open."""
    bound = bind("127.0.0.1:0")
    listener = HttpListener(hello, bound, grace_s=60)
    await listener.start()
    async with httpx.AsyncClient(verify=NO_TLS) as client:
        await client.get(f"http://127.0.0.1:{bound.getsockname()[1]}/")
        async with asyncio.timeout(60):
            await listener.stop()


async def test_a_connection_is_looked_at_before_the_loop_has_told_it() -> None:
    """The look at all connections, once a second, bears one that was accepted a moment ago: it would end the server."""
    loop = asyncio.get_running_loop()
    config = uvicorn.Config(hello, http=HttpProtocol, ws="none", lifespan="off", log_config=None)
    config.load()
    connections = Connections(HttpBounds(), most=10, loop=loop)
    state = ServerState()
    state.connections = connections
    protocol = HttpProtocol(config, state, {}, loop, connections)
    assert connections.enter("192.0.2.1") is None
    connections.bring(protocol, "192.0.2.1")
    connections.sweep()
    connections.discard(protocol)
