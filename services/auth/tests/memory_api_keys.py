"""API keys in memory: the parts of the memory store and its transactions."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from stylobate_auth.api_key import ApiKey, NewApiKey
from stylobate_auth.errors import PublicKeyTakenError


class MemoryApiKeyChanges:
    """The part of a transaction."""

    tables: Any

    async def count_api_keys(self, tenant: str, owner: str, now: datetime) -> int:
        """See the port."""
        return sum(
            _holds(new.key, now) for new in self.tables.api_keys.values() if (new.key.tenant, new.key.owner) == (tenant, owner)
        )

    async def add_api_key(self, new: NewApiKey) -> None:
        """See the port."""
        if new.thumbprint and any(
            (row.key.tenant, row.key.owner, row.thumbprint, row.key.revoked_at)
            == (new.key.tenant, new.key.owner, new.thumbprint, None)
            for row in self.tables.api_keys.values()
        ):
            raise PublicKeyTakenError
        self.tables.api_keys[new.key.tenant, new.key.id] = new

    async def replace_api_key(self, key: ApiKey, successor: str, now: datetime, until: datetime) -> ApiKey | None:
        """See the port."""
        row = self.tables.api_keys[key.tenant, key.id]
        if not _holds(row.key, now):
            return None
        kept = replace(row.key, replaced_by=successor, expires_at=min(until, row.key.expires_at or until))
        self.tables.api_keys[key.tenant, key.id] = replace(row, key=kept)
        return kept

    async def limit_api_key(self, key: ApiKey, rate_limit: str, now: datetime) -> ApiKey | None:
        """See the port."""
        row = self.tables.api_keys[key.tenant, key.id]
        if row.key.revoked_at is not None or (row.key.expires_at is not None and row.key.expires_at <= now):
            return None
        kept = replace(row.key, rate_limit=rate_limit)
        self.tables.api_keys[key.tenant, key.id] = replace(row, key=kept)
        return kept

    async def end_api_key(self, key: ApiKey, at: datetime) -> bool:
        """See the port."""
        row = self.tables.api_keys[key.tenant, key.id]
        if row.key.revoked_at is not None:
            return False
        self.tables.api_keys[key.tenant, key.id] = replace(row, key=replace(row.key, revoked_at=at))
        return True


class MemoryApiKeys:
    """The part of the store."""

    _tables: Any

    async def api_key(self, tenant: str, key_id: str) -> ApiKey | None:
        """See the port."""
        row = self._tables.api_keys.get((tenant, key_id))
        return None if row is None else row.key

    async def api_keys(self, tenant: str, owner: str, after: str, limit: int) -> list[ApiKey]:
        """See the port."""
        keys = [new.key for new in self._tables.api_keys.values()]
        found = [key for key in keys if (key.tenant, key.owner, key.revoked_at) == (tenant, owner, None) and key.id > after]
        return sorted(found, key=lambda key: key.id)[:limit]

    async def api_keys_by_id(self, ids: Sequence[str]) -> Mapping[str, NewApiKey]:
        """See the port."""
        return {new.key.id: new for new in self._tables.api_keys.values() if new.key.id in ids}

    async def public_keys(self, tenant: str, owner: str) -> list[ApiKey]:
        """See the port."""
        keys = [new.key for new in self._tables.api_keys.values()]
        found = [key for key in keys if (key.tenant, key.owner, key.revoked_at) == (tenant, owner, None) and key.public_key]
        return sorted(found, key=lambda key: key.id, reverse=True)

    async def use_assertion(self, tenant: str, client: str, jti_hash: bytes, until: datetime) -> bool:
        """See the port."""
        place = (tenant, client, jti_hash)
        if place in self._tables.assertions:
            return False
        self._tables.assertions[place] = until
        return True

    async def note_api_keys_used(self, used: Mapping[tuple[str, str], datetime]) -> None:
        """See the port."""
        for place, at in used.items():
            if (row := self._tables.api_keys.get(place)) is not None:
                kept = max(at, row.key.last_used_at or at)
                self._tables.api_keys[place] = replace(row, key=replace(row.key, last_used_at=kept))

    def _prune_api_keys(self, now: datetime) -> int:
        over = [place for place, new in self._tables.api_keys.items() if _ended(new.key) <= now - timedelta(days=30)]
        for place in over:
            del self._tables.api_keys[place]
        used = [place for place, until in self._tables.assertions.items() if until <= now]
        for place in used:
            del self._tables.assertions[place]
        return len(over) + len(used)


def _ended(key: ApiKey) -> datetime:
    ends = [end for end in (key.expires_at, key.revoked_at) if end is not None]
    return min(ends) if ends else datetime.max.replace(tzinfo=key.created_at.tzinfo)


def _holds(key: ApiKey, now: datetime) -> bool:
    return key.revoked_at is None and not key.replaced_by and (key.expires_at is None or key.expires_at > now)
