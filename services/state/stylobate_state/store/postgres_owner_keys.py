"""Keys of owners in the service's schema."""

from collections.abc import Collection, Sequence
from typing import Any

from stylobate.database import DatabaseManager

from stylobate_state.store.owner_keys import KeptOwnerKey, OwnerKeyCount

_ALL = "select id, purpose, tenant, coalesce(owner, '') as owner, sealed_by, coalesce(sealed, '') as sealed from owner_key"
_FIND = f"{_ALL} where id = any($1::text[])"
_CURRENT = f"{_ALL} where sealed_by = $1 and tenant = $2 and owner = $3"
_ADD = """
insert into owner_key (id, purpose, tenant, owner, sealed_by, sealed) values ($1, $2, $3, $4, $5, $6)
on conflict (sealed_by, tenant, owner) do nothing returning true
"""
_COUNTS = """
select purpose, count(owner) as keys, count(distinct (tenant, owner)) filter (where owner is not null) as owners,
  count(distinct tenant) filter (where owner is not null) as tenants, count(*) - count(owner) as destroyed
from owner_key group by purpose order by purpose
"""
_DESTROY = """
update owner_key set owner = null, sealed = null, destroyed_at = clock_timestamp()
where purpose = $1 and tenant = $2 and owner = $3
"""


class PostgresOwnerKeyStore:
    """An OwnerKeyStore on the service's migrations."""

    def __init__(self, database: DatabaseManager) -> None:
        self._database = database

    async def find(self, ids: Collection[str]) -> Sequence[KeptOwnerKey]:
        """See OwnerKeyStore."""
        return [_key_of(row) for row in await self._database.fetch(_FIND, list(ids))]

    async def current(self, sealed_by: str, tenant: str, owner: str) -> KeptOwnerKey | None:
        """See OwnerKeyStore."""
        row = await self._database.fetchrow(_CURRENT, sealed_by, tenant, owner)
        return None if row is None else _key_of(row)

    async def add(self, key: KeptOwnerKey) -> bool:
        """See OwnerKeyStore."""
        return bool(await self._database.fetchval(_ADD, key.id, key.purpose, key.tenant, key.owner, key.sealed_by, key.sealed))

    async def counts(self) -> Sequence[OwnerKeyCount]:
        """See OwnerKeyStore."""
        return [OwnerKeyCount(**row) for row in await self._database.fetch(_COUNTS)]

    async def destroy(self, purpose: str, tenant: str, owner: str) -> int:
        """See OwnerKeyStore."""
        return int((await self._database.execute(_DESTROY, purpose, tenant, owner)).rpartition(" ")[2])


def _key_of(row: Any) -> KeptOwnerKey:
    return KeptOwnerKey(row["id"], row["purpose"], row["tenant"], row["owner"], row["sealed_by"], row["sealed"])
