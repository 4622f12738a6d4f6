"""Whether a host that a client asked for is one of our own.

A page of a stranger whose name leads to this machine (DNS rebinding) reaches every port of it, and its browser takes the
answers for those of the page's own site. What gives it away is the name: browsers send the one that the page was loaded from.
"""

import re
from collections.abc import Collection
from functools import lru_cache
from ipaddress import ip_address

_MOST_CHARACTERS = 261
"""Of a name in DNS (RFC 1035 section 2.3.4) with a port."""
_PORT = re.compile(r":[0-9]*\Z")


def is_local_host(host: str, names: tuple[str, ...] = ()) -> bool:
    """Return whether it is our own or a name without a dot, such as ``gateway`` in a container's network: no stranger has one."""
    return len(host) <= _MOST_CHARACTERS and _is_local_host(host, names)


@lru_cache(maxsize=256)
def _is_local_host(host: str, names: tuple[str, ...]) -> bool:
    return "." not in _name(host) or is_own_host(host, names)


def is_own_host(host: str, names: Collection[str] = ()) -> bool:
    """Return whether the value of ``Host`` is a loopback name, an address, or one of the names, in any case, with any port."""
    name = _name(host)
    if name == "localhost" or name.endswith(".localhost") or name in {known.lower() for known in names}:
        return True
    try:
        ip_address(name[1:-1] if name.startswith("[") and name.endswith("]") else name)
    except ValueError:
        return False
    return True


def _name(host: str) -> str:
    return _PORT.sub("", host).lower().removesuffix(".")
