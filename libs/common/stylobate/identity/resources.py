"""What permissions are granted on: ``state/orders/42`` is one object, ``state/orders/`` are all whose names begin so.

A name has parts that are joined by ``/``; the first says of what kind it is, and ``state`` are the objects of the state service.
A name that ends with ``/`` is a prefix.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import grpc

from stylobate.errors import StylobateError
from stylobate.keys import unreadable

STATE = "state"
MAX_LENGTH = 512
MOST_LISTED = 1000
"""Resources that an answer names at most."""
_KIND = re.compile(r"[a-z][a-z0-9_-]*")


def state_object(namespace: str, key: str) -> str:
    """Return the name of a state object."""
    return f"{STATE}/{namespace}/{key}"


def state_namespace(namespace: str) -> str:
    """Return the prefix of all objects of a namespace."""
    return f"{STATE}/{namespace}/"


def resource_fault(resource: str) -> str | None:
    """Return why a text can be the name of no resource and no prefix, as a violation's sentence; None: it can."""
    if len(resource) > MAX_LENGTH:
        return f"must have at most {MAX_LENGTH} characters"
    kind, slash, rest = resource.partition("/")
    if not slash or not _KIND.fullmatch(kind):
        return "must begin with a kind and `/`, as `state/orders/42` does"
    parts = rest.split("/")
    if any(unreadable(part) for part in parts[:-1]) or (parts[-1] and unreadable(parts[-1])):
        return "must have parts of 1 to 255 printable characters between its `/`, and only the last may be missing: a prefix"
    if kind == STATE and len(parts) > 2:  # noqa: PLR2004  a namespace and a key
        return "of a state object are `state/`, the namespace, `/` and the key, which has no `/`"
    if kind == STATE and len(parts) == 1 and parts[0]:
        return f"must end with `/` where all objects of the namespace are meant: `{resource}/`"
    return None


def covering(resource: str) -> Iterator[str]:
    """Yield the names whose grants count for a resource: its own, and the prefixes that it lies in, the nearest first."""
    yield resource
    end = resource.rfind("/", 0, len(resource) - 1)
    while end > 0:
        yield resource[: end + 1]
        end = resource.rfind("/", 0, end)


class GrantedTooManyError(StylobateError):
    """A list of what somebody is granted one by one, and that is too much for it."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "ACCESS_GRANTED_TOO_MANY"
    default_detail = "You are granted this on more single resources than a list is made of."
    cure = "Ask for the single resources, or have the whole granted: `state/orders/` instead of each object, or a role."


@dataclass(frozen=True, slots=True)
class Granted:
    """On what a subject is granted a permission."""

    names: Collection[str] = frozenset()
    _prefixes: frozenset[str] = field(init=False, repr=False, compare=False)
    """Of the names. Most who are granted single objects are granted no prefix, and need not be looked for in any."""

    def __post_init__(self) -> None:
        """Find the prefixes."""
        object.__setattr__(self, "_prefixes", frozenset(name for name in self.names if name.endswith("/")))

    def __bool__(self) -> bool:
        """Return whether it is on anything."""
        return bool(self.names)

    def covers(self, resource: str) -> bool:
        """Return whether a resource is among them, or lies in a prefix that is."""
        if resource in self.names:
            return True
        return bool(self._prefixes) and any(name in self._prefixes for name in covering(resource))

    def keys(self, namespace: str) -> frozenset[str]:
        """Return the keys of the state objects of a namespace that are named one by one."""
        prefix = state_namespace(namespace)
        return frozenset(name[len(prefix) :] for name in self.names if len(name) > len(prefix) and name.startswith(prefix))


NOTHING = Granted()
