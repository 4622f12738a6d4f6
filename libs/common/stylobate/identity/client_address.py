"""A client's address and agent: read once, at the door that the client came to, and the same at every door.

The **address** is the client's own, in one spelling: IPv4 dotted, IPv6 as RFC 5952 writes it, an IPv4 address mapped into
IPv6 (RFC 4291 §2.5.5.2) as the IPv4 address that it is, no port, no zone (RFC 4007: it means something to one machine only).
Who comes over a unix socket or from the same process has the address :data:`LOCAL`. The **limit key** is what limits count:
of IPv6 the /64, since one customer has at least that many addresses.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from urllib.parse import unquote

LOCAL = "local"
"""The address of who has none."""
MAX_AGENT = 256
"""Characters that are kept of a user agent."""

_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network

_MAPPED = IPv6Network("::ffff:0:0/96")
_MAX_PORT = 65_535
_MAX_TEXT = 96
_KEPT = 4096
"""Results that are kept of what every request asks."""
_UNSAFE = re.compile(r"[^\x20-\x7e]")
_PORT = r"(?::(?P<port>[0-9]{1,5}))?"
_ZONE = r"(?:%[A-Za-z0-9._~-]{1,32})?"
_V4 = re.compile(rf"(?P<address>[0-9.]{{7,15}}){_PORT}")
_V6 = re.compile(rf"(?P<address>[0-9A-Fa-f:.]{{2,45}}){_ZONE}")
_V6_BRACKETED = re.compile(rf"\[(?P<address>[0-9A-Fa-f:.]{{2,45}}){_ZONE}\]{_PORT}")


class ClientAddresses:
    """Tells a client's address from its connection and from what trusted proxies say.

    :param trusted: networks (CIDR) of proxies whose ``X-Forwarded-For`` is believed.
    :raises ValueError: one is not a network.
    """

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        self._trusted = tuple(unmapped(ip_network(text)) for text in trusted)

    def of(self, peer: str | None, forwarded: Sequence[str] = ()) -> str:
        """Return the client's address.

        Elements of ``X-Forwarded-For`` are read from the right, each only when the one before it is a trusted proxy's: a
        proxy vouches for the element that it added and for nothing else. Behind an element that cannot be read, an empty one
        included, nothing is believed: the address believed last counts.

        :param peer: the other end of the connection; None or empty: it has no address.
        :param forwarded: the values of ``X-Forwarded-For``, a header line each, in order.
        """
        if peer and not self._trusted and ":" not in peer:
            return peer  # nearly every request
        believed = _parsed(peer or "")
        if believed is None:
            return LOCAL
        if forwarded and self._trusted:
            elements = ",".join(forwarded).split(",")
            while elements and self._trusts(believed):
                hop = _parsed(elements.pop().strip(" \t"))
                if hop is None:
                    break
                believed = hop
        return str(believed)

    def trusts(self, address: str) -> bool:
        """Return whether the address, in any spelling, is a trusted proxy's."""
        found = _parsed(address) if self._trusted else None
        return found is not None and self._trusts(found)

    def _trusts(self, address: _Address) -> bool:
        return any(address in network for network in self._trusted)


def limit_key(address: str) -> str:
    """Return whom a limit counts: ``192.0.2.7``, ``2001:db8:1:2::/64``, ``local``.

    :param address: as :meth:`ClientAddresses.of` returns it.
    """
    return _network_of(address) if ":" in address else address


@lru_cache(maxsize=_KEPT)
def address_of_peer(peer: str) -> str:
    """Return the address of a peer as gRPC core writes it: ``ipv4:192.0.2.7:1``, ``ipv6:%5B::1%5D:1``, ``unix:``."""
    kind, _, rest = peer.partition(":")
    found = _parsed(unquote(rest)) if kind in {"ipv4", "ipv6"} else None
    return LOCAL if found is None else str(found)


def client_agent(text: str) -> str:
    """Return a user agent as it may travel in metadata and stand in a log: printable ASCII, at most :data:`MAX_AGENT`."""
    return _printable(text[:MAX_AGENT])


@lru_cache(maxsize=_KEPT)
def client_address(text: str) -> str:
    """Return an address that a service handed on, or empty when it is not one in the one spelling."""
    if text == LOCAL:
        return text
    found = _parsed(text)
    return text if found is not None and str(found) == text else ""


@lru_cache(maxsize=_KEPT)
def _printable(text: str) -> str:
    return _UNSAFE.sub("?", text).strip()


@lru_cache(maxsize=_KEPT)
def _parsed(text: str) -> _Address | None:
    """Return the address of ``ip``, ``ip:port``, ``[v6]`` or ``[v6]:port``, quoted or not; None for anything else."""
    if len(text) > _MAX_TEXT:
        return None
    if text[:1] == '"' == text[-1:] and len(text) > 1:
        text = text[1:-1]
    try:
        if match := _V4.fullmatch(text):
            return IPv4Address(match["address"]) if _is_port(match["port"]) else None
        if match := _V6_BRACKETED.fullmatch(text):
            found = IPv6Address(match["address"]) if _is_port(match["port"]) else None
        else:
            found = IPv6Address(match["address"]) if (match := _V6.fullmatch(text)) else None
    except ValueError:
        return None
    return None if found is None else found.ipv4_mapped or found


def _is_port(text: str | None) -> bool:
    return text is None or int(text) <= _MAX_PORT


def unmapped(network: _Network) -> _Network:
    """Return the IPv4 network that an IPv6 one maps: addresses are compared as IPv4."""
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        return IPv4Network((int(network.network_address) & 0xFFFF_FFFF, network.prefixlen - 96))
    return network


@lru_cache(maxsize=_KEPT)
def _network_of(address: str) -> str:
    return str(IPv6Network((int(IPv6Address(address)) >> 64 << 64, 64)))
