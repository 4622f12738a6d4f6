"""The first administrator's invitation in memory: the parts of the memory store and its transactions."""

from datetime import datetime
from typing import Any


def _is_kept(tables: Any, tenant: str, token_hash: bytes, now: datetime) -> bool:
    kept = tables.invitations.get(tenant)
    return kept is not None and kept[0] == token_hash and kept[1] > now


class MemoryFirstAdminChanges:
    """The part of a transaction."""

    tables: Any

    async def put_invitation(self, tenant: str, token_hash: bytes, expires_at: datetime) -> None:
        """See the port."""
        self.tables.invitations[tenant] = token_hash, expires_at

    async def take_invitation(self, tenant: str, token_hash: bytes, now: datetime) -> bool:
        """See the port."""
        is_kept = _is_kept(self.tables, tenant, token_hash, now)
        if is_kept:
            del self.tables.invitations[tenant]
        return is_kept


class MemoryFirstAdmins:
    """The part of the store."""

    _tables: Any

    async def has_invitation(self, tenant: str, token_hash: bytes, now: datetime) -> bool:
        """See the port."""
        return _is_kept(self._tables, tenant, token_hash, now)
