"""A Redis address: ``redis://``, ``rediss://`` (TLS) or ``unix://``, one host or several."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

_PORT = 6379
P = TypeVar("P", bound=asyncio.Protocol)


@dataclass(slots=True)
class RedisAddress:
    """Where the server is and how to be let in.

    Of several hosts the one that takes writes is used; ``turn`` says which is tried first, and is moved on by whoever
    finds that one down or a replica.
    """

    path: str = ""
    """Of a unix socket; hosts count when empty."""
    hosts: tuple[tuple[str, int], ...] = ()
    database: int = 0
    username: str = ""
    password: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = None
    turn: int = 0

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read ``scheme://user:password@host1:port,host2/db`` or ``unix:///path?db=0``.

        TLS settings are those of redis-py: ``ssl_ca_certs``, ``ssl_certfile``, ``ssl_keyfile``, ``ssl_check_hostname``,
        ``ssl_cert_reqs`` (required, none).

        :raises ValueError: for anything else; the text does not hold the password.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"redis", "rediss", "unix"}:
            raise ValueError(f"a Redis URL begins with redis://, rediss:// or unix://, not {parts.scheme}://")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        credentials, _, servers = parts.netloc.rpartition("@")
        username, _, password = credentials.partition(":")
        is_socket = parts.scheme == "unix"
        database = query.get("db") or ("" if is_socket else parts.path.strip("/")) or "0"
        if not database.isdecimal():
            raise ValueError(f"the database of a Redis URL is a number, not {database!r}")
        return cls(
            path=unquote(parts.path) if is_socket else "",
            hosts=() if is_socket else tuple(_host(server) for server in servers.split(",") if server) or (("localhost", _PORT),),
            database=int(database),
            username=unquote(username),
            password=unquote(password),
            tls=_tls(query) if parts.scheme == "rediss" else None,
        )

    def __str__(self) -> str:
        """Return the servers without user and password, for logs."""
        return self.path or ",".join(f"{host}:{port}" for host, port in self.hosts)

    @property
    def tries(self) -> int:
        """How many servers there are to be tried."""
        return len(self.hosts) or 1

    @property
    def current(self) -> tuple[str, int]:
        """The host that is tried first."""
        return self.hosts[self.turn % len(self.hosts)]

    def skip(self) -> None:
        """Try the next host first from now on."""
        self.turn += 1

    async def open(self, loop: asyncio.AbstractEventLoop, protocol: Callable[[], P]) -> P:
        """Connect a protocol to the current server. Raises OSError."""
        if self.path:
            _, made = await loop.create_unix_connection(protocol, self.path)
        else:
            host, port = self.current
            _, made = await loop.create_connection(protocol, host, port, ssl=self.tls)
        return made

    async def speaks_otherwise(self) -> str:
        """Return what is wrong where the current server speaks TLS and the URL does not say so, or the other way; else nothing.

        What a server does with the other kind of greeting tells little: it waits for the rest, or closes.
        """
        if self.path:
            return ""
        host, port = self.current
        with suppress(OSError, asyncio.IncompleteReadError):
            if self.tls is None:
                _, writer = await asyncio.open_connection(host, port, ssl=_unverified())
                writer.close()
                return "it speaks TLS: its URL begins with rediss://"
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"PING\r\n")
            try:
                if await reader.readexactly(1) in b"+-":
                    return "it speaks no TLS: its URL begins with redis://"
            finally:
                writer.close()
        return ""


def _host(server: str) -> tuple[str, int]:
    parts = urlsplit(f"//{server}")
    if not parts.hostname:
        raise ValueError(f"{server!r} is not a host of a Redis URL")
    return parts.hostname, parts.port or _PORT


def _unverified() -> ssl.SSLContext:
    """Return what takes any certificate: nothing is sent that anybody may not see."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _tls(query: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=query.get("ssl_ca_certs"))
    if "ssl_certfile" in query:
        context.load_cert_chain(query["ssl_certfile"], query.get("ssl_keyfile"))
    if query.get("ssl_cert_reqs", "required").lower() == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif query.get("ssl_check_hostname", "true").lower() in {"false", "no", "0"}:
        context.check_hostname = False
    return context
