"""What is known of a request, and what rules read of it: addresses, names and texts in the one spelling that is counted."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from stylobate.declarations.limits_check import MAX_SUBJECT
from stylobate.declarations.limits_file import HEADER
from stylobate.identity.client_address import limit_key
from stylobate.identity.networks import network_key
from stylobate.identity.principal import ANONYMOUS, Principal

SEPARATOR = "\x1f"
"""Between the parts of a subject: no address, id or header has it."""


class Facts(NamedTuple):
    """What is known of a request, a message or a call. What is empty is not known, and rules about it do not count it."""

    address: str = ""
    """The client's."""
    principal: Principal = ANONYMOUS
    route: str = ""
    """Method and path: ``POST /orders``."""
    place: str = ""
    """What counts as one route: that of an action as declared, else the first three segments of the path."""
    action: str = ""
    channel: str = ""
    headers: Mapping[bytes, bytes] = {}
    """By name in lower case."""


def joined(values: Sequence[str]) -> str:
    """Return the values as one subject: what is too long for one as its hash, since clients choose some of them."""
    text = values[0] if len(values) == 1 else SEPARATOR.join(values)
    return text if len(text) <= MAX_SUBJECT else hashlib.sha256(text.encode()).hexdigest()


def normal(text: str) -> str:
    """Return an address as it is counted, anything else as it is."""
    try:
        return network_key(text)
    except ValueError:
        return text


def value_of(part: str, facts: Facts, *, is_counted: bool) -> str:
    """Return what a request has there; empty: it is not known."""
    if part == "route" and is_counted:
        return facts.place
    read = _VALUES.get(part)
    if read is not None:
        return read(facts)
    value = facts.headers.get(part.removeprefix(HEADER).encode(), b"")
    return value.decode("latin-1").replace(SEPARATOR, " ")


def _address(facts: Facts) -> str:
    return limit_key(facts.address) if facts.address else ""


def _api_key(facts: Facts) -> str:
    who = facts.principal
    return who.key_id or who.token_id if who.is_key else ""


_VALUES: dict[str, Callable[[Facts], str]] = {
    "ip": _address,
    "caller": lambda facts: facts.principal.subject or _address(facts),
    "user": lambda facts: facts.principal.subject,
    "api_key": _api_key,
    "session": lambda facts: facts.principal.session,
    "tenant": lambda facts: "" if facts.principal.is_anonymous else facts.principal.tenant,
    "route": lambda facts: facts.route,
    "action": lambda facts: facts.action,
    "channel": lambda facts: facts.channel,
    "global": lambda _: "all",
}
