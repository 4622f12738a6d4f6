"""What auth keeps of the first administrator's invitation: its part of the port."""

from datetime import datetime
from typing import Protocol


class FirstAdminChanges(Protocol):
    """What a transaction does with it."""

    async def put_invitation(self, tenant: str, token_hash: bytes, expires_at: datetime) -> None:
        """Keep an invitation, in place of the one that there is."""

    async def take_invitation(self, tenant: str, token_hash: bytes, now: datetime) -> bool:
        """Remove the invitation of this token; return whether it was there and is not over. Of several at once one gets it."""


class FirstAdmins(Protocol):
    """How it is read."""

    async def has_invitation(self, tenant: str, token_hash: bytes, now: datetime) -> bool:
        """Return whether there is an invitation of this token that is not over."""
