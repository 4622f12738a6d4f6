"""Streams to other ends: of gRPC, under TLS, on unix sockets, behind names."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import msgspec
import pytest
from stylobate.discovery import names
from stylobate.rpc import TlsSettings, build_server, open_channel
from stylobate.rpc.mux.items import EXCHANGE, FIND, FromClient, Listener
from stylobate.testing.until import until

from .conftest import write_pki
from .mux_ends import LOCAL, listener_of, served, soon, streams, under_load
from .probe import Probe, Users, servicers
from .test_breaker import outcome


class Exchange(grpc.GenericRpcHandler):
    """gRPC's own server, taking streams on its one port."""

    port = 0

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of a method."""
        if handler_call_details.method == FIND:
            return grpc.unary_unary_rpc_method_handler(self._find)
        return grpc.stream_stream_rpc_method_handler(self._echo) if handler_call_details.method == EXCHANGE else None

    async def _find(self, *_: Any) -> bytes:
        return msgspec.msgpack.encode(Listener(port=self.port, calls=100))

    async def _echo(self, messages: Any, context: Any) -> None:
        await context.send_initial_metadata(())  # else gRPC sends the head with the first message
        async for message in messages:
            items = msgspec.msgpack.decode(message, type=FromClient)
            await context.write(msgspec.msgpack.encode([(item.id, item.request) for item in items.calls]))


async def test_a_stream_to_a_server_of_grpc():
    """Our client speaks what gRPC itself speaks: calls go through while its connections come of age."""
    handler = Exchange()
    server = grpc.aio.server(options=[("grpc.max_connection_age_ms", 300), ("grpc.max_connection_age_grace_ms", 5000)])
    server.add_generic_rpc_handlers((handler,))
    handler.port = server.add_insecure_port(LOCAL)
    await server.start()
    async with open_channel(f"127.0.0.1:{handler.port}", mux=True) as channel:
        channel.inner.pick()
        await until(lambda: len(streams(channel)) == 1)
        call: Any = channel.unary_unary("/x.Y/Z")
        seen = set()
        while len(seen) < 4:
            asked = [bytes([number]) * 900 for number in range(100)]
            assert await asyncio.gather(*(call(octets, timeout=60) for octets in asked)) == asked
            seen |= set(streams(channel))
    await server.stop(0)


@pytest.mark.parametrize("client", ["without a certificate", "of another authority", "without encryption"])
async def test_mutual_tls_refuses_strangers(client: str, tls: TlsSettings, tmp_path: Path):
    """The listener for streams wants what the plain port wants."""
    server = build_server(servicers(Probe(), Users()), addresses=[LOCAL], tls=tls, mux_port=0)
    await server.start()
    settings = {
        "without a certificate": TlsSettings(authority=tls.authority),
        "of another authority": write_pki(tmp_path),
        "without encryption": None,
    }[client]
    assert server.mux is not None
    context = None if settings is None else settings.client_context()
    said = b""
    with suppress(OSError):  # refused in the handshake, or cut off after it
        where = {"host": "127.0.0.1", "port": server.mux.listener.port, "server_hostname": context and "localhost"}
        reader, writer = await asyncio.open_connection(**where, ssl=context)
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        said = await soon(reader.read(9))
        writer.transport.abort()
    assert said == b""
    await server.stop(0)


async def test_a_server_name_other_than_the_target(tls: TlsSettings):
    """As with plain gRPC: the name may be given; for a wrong one there is no stream."""
    server = build_server(servicers(Probe(), Users()), addresses=[LOCAL], tls=tls, mux_port=0)
    await server.start()
    named = TlsSettings(tls.authority, tls.certificate, tls.private_key, server_name="localhost")
    async with open_channel(f"127.0.0.1:{server.ports[LOCAL]}", tls=named, mux=True) as channel:
        await until(lambda: outcome(channel), lambda found: found == "there" and len(streams(channel)) == 1)
    await server.stop(0)


async def test_a_unix_socket_has_one_beside_it(tmp_path: Path):
    """For the same users only."""
    address = f"unix:{tmp_path}/x.sock"
    server = build_server(servicers(Probe(), Users()), addresses=[address], mux_port=0)
    await server.start()
    assert (await listener_of(address)).path == f"{tmp_path}/x.sock.mux"
    assert (tmp_path / "x.sock.mux").stat().st_mode & 0o777 == 0o600
    async with open_channel(address, mux=True) as channel:
        await until(lambda: outcome(channel), lambda found: found == "there" and len(streams(channel)) == 1)
    await server.stop(0)


async def test_a_name_is_looked_up_again(monkeypatch: pytest.MonkeyPatch):
    """Replicas that come get a stream, and those that go lose theirs, without a failed call."""
    async with served() as one, served() as other:
        found = [("127.0.0.1", int(one.target.rpartition(":")[2]))]
        loop = asyncio.get_running_loop()

        async def look_up(*_: Any, **__: Any) -> Any:
            return [(2, 1, 6, "", place) for place in found]

        monkeypatch.setattr(loop, "getaddrinfo", look_up)
        monkeypatch.setattr(names, "LOOK_S", 0.1)
        async with open_channel(f"localhost:{found[0][1]}", mux=True) as channel:
            channel.inner.pick()
            await until(lambda: len(streams(channel)) == 1)
            (first,) = streams(channel)
            async with under_load(channel) as answers:
                found.append(("127.0.0.1", int(other.target.rpartition(":")[2])))
                await until(lambda: len(streams(channel)) == 2)
                del found[0]
                await until(lambda: len(streams(channel)) == 1 and first not in streams(channel))
                await soon(first.over)
            assert set(answers) == {"there"}
