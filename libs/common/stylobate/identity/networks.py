"""Networks that addresses are looked up in: every one that an address lies in, whatever their number."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, ip_network
from typing import NamedTuple

from stylobate.identity.client_address import LOCAL, unmapped

_KEY_BITS = {4: 32, 6: 64}
"""Of an address as limits count it."""
_BITS = {4: 32, 6: 128}
_KEPT = 4096


def network_key(text: str) -> str:
    """Return an address or a network, written in any way, in its one spelling.

    An address as limits count it (``192.0.2.7``, ``2001:db8:1:2::/64``), a wider network as RFC 4632 §3.1 writes it.

    :raises ValueError: it is neither, or narrower than a /64 of IPv6.
    """
    if text == LOCAL:
        return text
    if "%" in text:
        raise ValueError(f"{text!r} has a zone, which means something to one machine only")
    network = unmapped(ip_network(text, strict=False))
    if isinstance(network, IPv4Network):
        return str(network.network_address) if network.prefixlen == _KEY_BITS[4] else str(network)
    if "/" not in text:
        network = network.supernet(new_prefix=_KEY_BITS[6])
    if network.prefixlen > _KEY_BITS[6]:
        raise ValueError(f"{text!r}: of IPv6 nothing narrower than a /64 is told apart")
    return str(network)


class Networks:
    """A set of networks, each as :func:`network_key` returns it; what is not one is passed over.

    A look-up costs a look into a dictionary for each length of prefix that occurs.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._known: dict[tuple[int, int], dict[int, str]] = {}
        """By version and length of prefix; there by the bits of the prefix."""
        for text in texts:
            self.add(text)

    def __bool__(self) -> bool:
        """Return whether there is any."""
        return bool(self._known)

    def add(self, text: str) -> None:
        """Take a network in."""
        place = _place(text) if "/" in text else None
        if place is not None and place.length < _KEY_BITS[place.version]:
            self._known.setdefault((place.version, place.length), {})[place.bits] = text

    def around(self, key: str) -> list[str]:
        """Return the networks that an address lies in, as :func:`.client_address.limit_key` returns it."""
        place = _place(key)
        if place is None:
            return []
        return [
            found
            for (version, length), known in self._known.items()
            if version == place.version and length < place.length and (found := known.get(place.bits >> place.length - length))
        ]


class _Place(NamedTuple):
    version: int
    length: int
    bits: int
    """The first ``length`` ones."""


@lru_cache(maxsize=_KEPT)
def _place(text: str) -> _Place | None:
    try:
        network = ip_network(text)
    except ValueError:
        return None
    length = network.prefixlen
    return _Place(network.version, length, int(network.network_address) >> _BITS[network.version] - length)
