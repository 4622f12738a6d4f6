"""Accounts of machines, as plain data."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """An account that nobody can log in to: what it does it does by its API keys."""

    tenant: str
    id: str
    """UUIDv7."""
    name: str
    roles: tuple[str, ...]
    """Sorted."""
    created_at: datetime
