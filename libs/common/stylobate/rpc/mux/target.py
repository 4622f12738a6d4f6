"""Where a channel's target is: its addresses, as plain gRPC finds them."""

import asyncio
import socket
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Target:
    """A target of gRPC: ``unix:/path``, ``ipv4:127.0.0.1:1,127.0.0.1:2``, ``dns:///name:port``, ``name:port``."""

    authority: str
    """What the client asks for: ``name:port``."""
    name: str
    """What the server's certificate must be made out to, unless another name is given."""
    fixed: tuple[str, ...]
    """Its addresses where they are told, each a target itself; none: the name is resolved."""

    @classmethod
    def of(cls, target: str) -> Self:
        """Read a target. Raises ValueError for any other form."""
        kind, _, rest = target.partition(":")
        if kind == "unix":
            return cls("localhost", "localhost", (target,))
        if kind in {"ipv4", "ipv6"}:
            addresses = rest.split(",")
            return cls(addresses[0], _host(addresses[0]), tuple(f"{kind}:{address}" for address in addresses))
        authority = rest.rpartition("/")[2] if kind == "dns" else target
        if not _port(authority):
            raise ValueError(f"{target} names no port")
        return cls(authority, _host(authority), ())

    async def addresses(self) -> frozenset[str]:
        """Return the addresses, each a target: ``ipv4:192.0.2.7:9090``. Raises OSError for a name that is not known."""
        if self.fixed:
            return frozenset(self.fixed)
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self.name, _port(self.authority), type=socket.SOCK_STREAM)
        return frozenset(_target(family, place) for family, *_, place in found)


def host_of(address: str) -> str:
    """Return the host of an address with a port."""
    return _host(address.partition(":")[2])


def _host(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")


def _port(address: str) -> int:
    port = address.rpartition(":")[2]
    return int(port) if port.isdecimal() else 0


def _target(family: int, place: tuple[object, ...]) -> str:
    host, port = place[:2]
    return f"ipv6:[{host}]:{port}" if family == socket.AF_INET6 else f"ipv4:{host}:{port}"
