"""The port to refresh tokens."""

from collections.abc import Sequence
from typing import Protocol

from stylobate.audit import AuditRecord

from stylobate_auth.refresh_token import FoundRefresh, Rotation

RefreshKey = tuple[str, bytes]
"""Tenant and hash of a refresh token."""


class RefreshTokens(Protocol):
    """Refresh tokens."""

    async def refresh_tokens(self, keys: Sequence[RefreshKey]) -> list[FoundRefresh | None]:
        """Return refresh tokens with their sessions, also with those that are over; None for one that is unknown."""


class RefreshRotations(RefreshTokens, Protocol):
    """Refresh tokens that are exchanged."""

    async def rotate(self, rotations: Sequence[tuple[Rotation, AuditRecord]]) -> list[bool]:
        """Do as :meth:`RefreshChanges.rotate_refresh`, with a record of each that was done, all in one step."""


class RefreshChanges(RefreshTokens, Protocol):
    """The part of a transaction. What others have committed meanwhile is seen."""

    async def rotate_refresh(self, rotations: Sequence[Rotation]) -> list[bool]:
        """Spend refresh tokens for their next ones and keep the new times of their sessions.

        Return of each whether that was done: not where the token was spent meanwhile, or its session ended. Of several who spend
        one token one does. No two rotations are of one session.
        """
