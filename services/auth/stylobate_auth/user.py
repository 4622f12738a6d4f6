"""Accounts of people as administrators look for them, as plain data. Times are in UTC."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class UserQuery:
    """Which accounts are asked for: those that fit everything."""

    email: str = ""
    """As it was written; empty: any."""
    role: str = ""
    """One that they hold; empty: any."""
    created_after: datetime | None = None
    """This moment counts in."""
    created_before: datetime | None = None
    """This one does not."""


@dataclass(frozen=True, slots=True)
class UserDeletion:
    """What is left of an account that is deleted."""

    tenant: str
    id: str
    began_at: datetime
    done_at: datetime | None = None
    """When the last service had forgotten it; None: not yet."""


@dataclass(frozen=True, slots=True)
class UserPlace:
    """Where an account stands in the order in which they were made."""

    created_at: datetime
    id: str

    def __str__(self) -> str:
        """Return it as page tokens hold it."""
        return f"{self.created_at.isoformat()}/{self.id}"
