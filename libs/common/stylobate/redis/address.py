"""A Redis address: ``redis://``, ``rediss://`` (TLS), ``unix://``; ``redis+cluster://`` and ``redis+sentinel://``."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Literal, Self, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

_PORT, _SENTINEL_PORT = 6379, 26379
Kind = Literal["single", "cluster", "sentinel"]
KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(("redis", "rediss", "unix"), "single"),
    **dict.fromkeys(("redis+cluster", "rediss+cluster"), "cluster"),
    **dict.fromkeys(("redis+sentinel", "rediss+sentinel"), "sentinel"),
}
"""What a URL with this scheme leads to."""
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
    kind: Kind = "single"
    """What the hosts are: servers of which one takes writes, nodes of a Cluster, or Sentinels."""
    master: str = ""
    """The name by which Sentinels know the server that takes writes."""
    sentinel_username: str = ""
    sentinel_password: str = field(default="", repr=False)
    takes_writes: bool = False
    """Whether a server that is a replica is passed over."""
    turn: int = 0

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read ``scheme://user:password@host1:port,host2/db`` or ``unix:///path?db=0``.

        Nodes of a Cluster are ``redis+cluster://host1:port,host2``, Sentinels ``redis+sentinel://host1:port,host2/name/db``.

        TLS settings are those of redis-py: ``ssl_ca_certs``, ``ssl_certfile``, ``ssl_keyfile``, ``ssl_check_hostname``,
        ``ssl_cert_reqs`` (required, none). Sentinels are let in to with ``sentinel_username`` and ``sentinel_password``.

        :raises ValueError: for anything else; the text does not hold the password.
        """
        parts = urlsplit(url)
        kind = KINDS.get(parts.scheme)
        if kind is None:
            raise ValueError(f"a Redis URL begins with {', '.join(f'{scheme}://' for scheme in KINDS)}, not {parts.scheme}://")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        credentials, _, servers = parts.netloc.rpartition("@")
        username, _, password = credentials.partition(":")
        is_socket = parts.scheme == "unix"
        path = "" if is_socket else parts.path.strip("/")
        master, _, path = path.partition("/") if kind == "sentinel" else ("", "", path)
        database = query.get("db") or path or "0"
        if not database.isdecimal():
            raise ValueError(f"the database of a Redis URL is a number, not {database!r}")
        if kind == "cluster" and int(database):
            raise ValueError("a Redis URL of a Cluster names no database: a Cluster has number 0 alone")
        if kind == "sentinel" and not master:
            raise ValueError("a Redis URL of Sentinels names the master that they watch: redis+sentinel://host1,host2/name")
        port = _SENTINEL_PORT if kind == "sentinel" else _PORT
        hosts = tuple(_host(server, port) for server in servers.split(",") if server) or (("localhost", port),)
        return cls(
            path=unquote(parts.path) if is_socket else "",
            hosts=() if is_socket else hosts,
            database=int(database),
            username=unquote(username),
            password=unquote(password),
            tls=_tls(query) if parts.scheme.startswith("rediss") else None,
            kind=kind,
            master=unquote(master),
            sentinel_username=query.get("sentinel_username", ""),
            sentinel_password=query.get("sentinel_password", ""),
            takes_writes=kind == "single" and len(hosts) > 1,
        )

    def at(self, host: str, port: int, *, takes_writes: bool = False) -> "RedisAddress":
        """Return the address of one server that this one leads to, let in to alike."""
        kind: Kind = "cluster" if self.kind == "cluster" else "single"
        return replace(self, hosts=((host, port),), kind=kind, master="", takes_writes=takes_writes, turn=0)

    @property
    def of_sentinels(self) -> "RedisAddress":
        """The Sentinels themselves, as servers that are asked and not written to."""
        username, password = self.sentinel_username, self.sentinel_password
        return replace(self, username=username, password=password, database=0, master="", takes_writes=False, turn=0)

    def __str__(self) -> str:
        """Return the servers without user and password, for logs."""
        hosts = ",".join(f"{host}:{port}" for host, port in self.hosts)
        return self.path or (f"{self.master} at Sentinels {hosts}" if self.master else hosts)

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
                return f"it speaks TLS: its URL begins with {self._scheme('rediss')}"
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"PING\r\n")
            try:
                if await reader.readexactly(1) in b"+-":
                    return f"it speaks no TLS: its URL begins with {self._scheme('redis')}"
            finally:
                writer.close()
        return ""

    def _scheme(self, begin: str) -> str:
        return f"{begin}://" if self.kind == "single" else f"{begin}+{self.kind}://"


def _host(server: str, port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{server}")
    if not parts.hostname:
        raise ValueError(f"{server!r} is not a host of a Redis URL")
    return parts.hostname, parts.port or port


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
