"""What strangers send: attacks over raw sockets, which bear whatever is answered, in a process of their own."""

import asyncio
import os
import resource
import socket
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_HEAD = b"POST /v1/auth/login HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
_LOGIN, _ACTION = b"/v1/auth/login", b"/v1/actions/shop.place_order"
_DEFLATE = b"\r\nsec-websocket-extensions: permessage-deflate\r\n\r\n"
_CHUNKED = _HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n"
_UPGRADE = (
    b"GET /v1/realtime HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
_PIECE = 65_536
_FROM = "127.6.6.{}"
"""Addresses of the attackers' own: nobody else is held to account for them."""

Attack = Callable[[str, str], Awaitable[None]]


async def _send(
    address: str,
    source: str,
    begin: bytes,
    piece: bytes = b"",
    *,
    reads: bool = True,
    every_s: float = 0,
    resets: bool = False,
    ends: bool = False,
) -> None:
    """Connect, send the beginning and then the piece again and again; reconnect when the server ends it.

    :param reads: whether answers are read. :param every_s: pause between pieces.
    :param resets: cut the connection once the beginning is sent. :param ends: say then that nothing more comes.
    """
    url = urlsplit(address)
    loop = asyncio.get_running_loop()
    while True:
        client = socket.socket()
        client.setblocking(False)
        if not reads:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        if resets:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with client, suppress(OSError):
            client.bind((source, 0))
            await loop.sock_connect(client, (url.hostname, url.port))
            await loop.sock_sendall(client, begin)
            if ends:
                client.shutdown(socket.SHUT_WR)
            while piece:
                await loop.sock_sendall(client, piece)
                await asyncio.sleep(every_s)
            if not reads:
                await asyncio.Event().wait()
            while not resets and await loop.sock_recv(client, _PIECE):
                pass
        await asyncio.sleep(0.05)  # a stranger's own pace, so that the attacker's process has time for the others


def _many(connections: int, begin: bytes, piece: bytes = b"", **how: Any) -> Attack:
    async def attack(address: str, source: str) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(connections):
                group.create_task(_send(address, source, begin, piece, **how))

    return attack


def _masked(opcode: int, payload: bytes, flags: int = 0x80) -> bytes:
    """Return a frame as a client sends it (RFC 6455 section 5.3), masked with zeros."""
    length = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
    return bytes([flags | opcode]) + length + bytes(4) + payload


def _whole(path: bytes, body: bytes) -> bytes:
    """Return a request whose answer ends the connection."""
    head = _HEAD.replace(_LOGIN, path) + b"connection: close\r\ncontent-length: %d\r\n\r\n"
    return head % len(body) + body


_FIELDS = b"{" + b",".join(b'"%x":0' % number for number in range(90_000)) + b"}"

ATTACKS: Mapping[str, Attack] = {
    "trailers without end": _many(30, _CHUNKED + b"0\r\n", b"a: b\r\n" * 10_000),
    "a trailer without end": _many(30, _CHUNKED + b"0\r\na: ", b"b" * _PIECE),
    "heads without end": _many(100, b"GET / HTTP/1.1\r\nhost: localhost\r\na: ", b"b" * _PIECE),
    "fields without end": _many(100, b"GET / HTTP/1.1\r\nhost: localhost\r\n", b"a: b\r\n" * 1000),
    "heads that stop at 60 KiB": _many(500, b"GET / HTTP/1.1\r\nhost: localhost\r\na: " + b"b" * 60_000),
    "chunk extensions without end": _many(50, _CHUNKED + b"2;", b"a" * _PIECE),
    "crumbs": _many(20, _CHUNKED, b"1\r\n \r\n" * 10_000),
    "bodies that stop before the end": _many(500, _HEAD + b"content-length: 1000000\r\n\r\n" + b" " * 900_000),
    "chunks that stop before the end": _many(500, _CHUNKED.replace(_LOGIN, _ACTION) + b"ffff0\r\n" + b" " * 900_000),
    "bodies of an action that stop": _many(
        500, _HEAD.replace(_LOGIN, _ACTION) + b"content-length: 1000000\r\n\r\n" + b" " * 900_000
    ),
    "small bodies of an action that stop": _many(
        500, _HEAD.replace(_LOGIN, _ACTION) + b"content-length: 16000\r\n\r\n" + b" " * 15_000
    ),
    "small bodies of an action in drips": _many(
        500, _HEAD.replace(_LOGIN, _ACTION) + b"content-length: 10000\r\n\r\n", b" ", every_s=0.2
    ),
    "actions far ahead of their answers": _many(50, (_HEAD.replace(_LOGIN, _ACTION) + b"content-length: 2\r\n\r\n{}") * 5000),
    "answers of actions nobody reads": _many(
        200, (_HEAD.replace(_LOGIN, _ACTION) + b"content-length: 2\r\n\r\n{}") * 15, reads=False
    ),
    "large bodies": _many(500, _whole(_ACTION, b'{"a": "' + b"b" * 900_000 + b'"}')),
    "bodies of many values": _many(100, _whole(_ACTION, b"[" + b"{}," * 300_000 + b"{}]")),
    "deep bodies": _many(100, _whole(_ACTION, b"[" * 400_000 + b"]" * 400_000)),
    "bodies of many fields": _many(100, _whole(b"/v1/state/orders/x/transitions/pay", _FIELDS)),
    "bodies of accounts": _many(200, _whole(b"/v1/auth/register", b'{"email": "' + b"a" * 15_000 + b'"}')),
    "heads in drips": _many(500, b"GET / HTTP/1.1\r\nhost: localhost\r\na: ", b"b", every_s=0.2),
    "bodies in drips": _many(500, _HEAD + b"content-length: 10000\r\n\r\n", b" ", every_s=0.2),
    "bodies that are waited for": _many(500, _HEAD + b"expect: 100-continue\r\ncontent-length: 10000\r\n\r\n"),
    "connections cut off": _many(200, _whole(_ACTION, b"{}") * 5, resets=True),
    "half closed connections": _many(200, _whole(_ACTION, b"{}"), ends=True, reads=False),
    "heads kept for nothing": _many(
        500, b"GET /problems/x HTTP/1.1\r\nhost: localhost\r\n" + (b"a: " + b"b" * 500 + b"\r\n") * 110 + b"\r\n"
    ),
    "long paths": _many(200, b"GET /v1/state" + b"/%41" * 15_000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n"),
    "long queries": _many(200, b"GET /v1/state/orders?" + b"a=b&" * 15_000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n"),
    "connections that say nothing": _many(500, b""),
    "answers nobody reads": _many(500, b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n", reads=False),
    "requests far ahead of their answers": _many(50, b"GET /problems/x HTTP/1.1\r\nhost: localhost\r\n\r\n" * 5000),
    "requests that cannot be read": _many(20, os.urandom(512).replace(b"\n", b"") + b"\r\n\r\n"),
    "other protocols": _many(50, _HEAD + b"connection: upgrade\r\nupgrade: h2c\r\ncontent-length: 9\r\n\r\nGET / HTT"),
    "sockets nobody connects": _many(200, _UPGRADE),
    "pings without end": _many(20, _UPGRADE, _masked(9, b"x" * 125) * 100, reads=False),
    "fragments without end": _many(50, _UPGRADE + _masked(1, b"", 0), _masked(0, b"x" * 60_000, 0)),
    "compressed frames": _many(50, _UPGRADE.replace(b"\r\n\r\n", _DEFLATE), _masked(1, b"\0" * 60_000, 0xC0)),
    "half frames": _many(200, _UPGRADE + bytes([0x81, 0xFE, 0xFF, 0xFF]) + bytes(4) + b"x" * 60_000),
}


@asynccontextmanager
async def attacking(address: str, *names: str, addresses: int = 1) -> AsyncIterator[None]:
    """Attack for as long as the block, from a process of its own: who waits for answers here does not wait for attackers.

    :param addresses: from how many the attacks come.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.edge.attacks",
        address,
        str(addresses),
        *names,
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"begun\n"
        yield
        assert process.returncode is None
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _attack(address: str, addresses: str, *names: str) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    async with asyncio.TaskGroup() as group:
        for number, name in enumerate(names):
            group.create_task(ATTACKS[name](address, _FROM.format(1 + number % int(addresses))))
        print("begun", flush=True)  # noqa: T201  whoever started this waits for it


if __name__ == "__main__":
    asyncio.run(_attack(*sys.argv[1:]))
