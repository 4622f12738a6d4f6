"""Grants, as plain data: permissions on single resources."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

ROLE = "role:"
"""Before the name of a role, as a subject."""


@dataclass(frozen=True, slots=True)
class Grant:
    """A permission that a subject has on a resource."""

    tenant: str
    subject: str
    """An account's id, or ROLE and the name of a role."""
    permission: str
    """Or an area of them, or everything."""
    resource: str
    """As :mod:`stylobate.identity.resources` has it."""
    expires_at: datetime | None = None
    """When it ends by itself; None: it is held until it is taken away."""
    granted_at: datetime | None = None
    """None: it is not kept yet."""
    granted_by: str = ""

    @property
    def role(self) -> str:
        """The role that it is given to; empty: an account has it."""
        return self.subject.removeprefix(ROLE) if self.subject.startswith(ROLE) else ""


@dataclass(frozen=True, slots=True)
class GrantQuestion:
    """What is granted to any of these subjects."""

    tenant: str
    subjects: tuple[str, ...]
    permissions: tuple[str, ...]
    """Any of these."""
    resources: tuple[str, ...] = ()
    """Only on these; none: on whatever."""


@dataclass(frozen=True, slots=True)
class GrantQuery:
    """Which grants to list."""

    subject: str = ""
    """Empty: everybody's."""
    permission: str = ""
    resource: str = ""
    """A prefix: also what lies in it."""


GrantPlace = tuple[str, str, str]
"""Subject, permission and resource of the last grant of a page."""


def permissions_covering(permission: str) -> Iterator[str]:
    """Yield what covers a permission when it is held: itself, each area that it lies in, and everything."""
    yield permission
    area, colon, _ = permission.rpartition(":")
    while colon:
        if f"{area}:*" != permission:
            yield f"{area}:*"
        area, colon, _ = area.rpartition(":")
    if permission != "*":
        yield "*"
