"""Roles that accounts hold, as plain data."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class HeldRole:
    """A role that an account holds."""

    role: str
    expires_at: datetime | None = None
    """When it ends by itself; None: it is held until it is taken away."""
    assigned_at: datetime | None = None
    """When it was given, or given another end; None: with the account."""
    assigned_by: str = ""
    """Who gave it; empty: with the account."""


@dataclass(frozen=True, slots=True)
class RoleDraft:
    """A role that is to be held, not yet checked."""

    role: str
    expires_at: datetime | None = None
    """When it is to end by itself."""


@dataclass(frozen=True, slots=True)
class EndedRole:
    """A role whose end came."""

    tenant: str
    account_id: str
    role: str
