"""The address that a service is told to be at: how it is written, and what it is looked up by."""

import socket
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Target:
    """``unix:/path``, ``ipv4:127.0.0.1:1,127.0.0.1:2``, ``127.0.0.1:1``, ``dns:///name:port``, ``name:port``, ``srv:///name``, ``consul:///service``."""

    scheme: str
    """``unix``, ``ipv4``, ``ipv6``: its addresses are told; ``dns``, ``srv``, ``consul``: they are looked up."""
    authority: str
    """What the client asks for: ``name:port``; without a port where whoever is asked tells it."""
    fixed: tuple[str, ...] = ()
    """Its addresses where they are told, each a target itself."""

    @classmethod
    def of(cls, target: str) -> Self:
        """Read a target. Raises ValueError for any other form."""
        scheme, _, rest = target.partition(":")
        if scheme == "unix":
            return cls("unix", "localhost", (target,))
        if scheme in {"ipv4", "ipv6"}:
            addresses = rest.split(",")
            return cls(scheme, addresses[0], tuple(f"{scheme}:{address}" for address in addresses))
        if scheme in {"srv", "consul"} and rest.startswith("/"):
            authority = rest.rpartition("/")[2]
            if not authority or ":" in authority:
                raise ValueError(f"{target} must be written {scheme}:///name, without a port: that is told with the addresses")
            return cls(scheme, authority)
        authority = rest.rpartition("/")[2] if scheme == "dns" else target
        if not port_of(authority):
            raise ValueError(f"{target} names no port")
        try:
            address = address_of(_host(authority), port_of(authority))
        except OSError:
            return cls("dns", authority)
        return cls(address.partition(":")[0], authority, (address,))  # there is nothing to look up

    @property
    def name(self) -> str:
        """What the server's certificate must be made out to, unless another name is given."""
        if self.scheme == "unix":
            return "localhost"
        return self.authority if self.scheme in {"srv", "consul"} else _host(self.authority)

    @property
    def port(self) -> int:
        """The port; 0 where whoever is asked tells it."""
        return port_of(self.authority)


def port_of(authority: str) -> int:
    """Return the port of ``name:port``; 0: there is none."""
    port = authority.rpartition(":")[2]
    return int(port) if port.isdecimal() else 0


def host_of(address: str) -> str:
    """Return the host of an address with a port: of ``ipv4:192.0.2.7:9090``."""
    return _host(address.partition(":")[2])


def address_of(host: str, port: int) -> str:
    """Return the target of an address that was found: ``ipv4:192.0.2.7:9090``. Raises OSError for a name."""
    try:
        socket.inet_pton(socket.AF_INET, host)
    except OSError:
        socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
        return f"ipv6:[{host}]:{port}"
    return f"ipv4:{host}:{port}"


def _host(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")
