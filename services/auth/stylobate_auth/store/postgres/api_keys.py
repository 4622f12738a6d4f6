"""API keys in PostgreSQL: what the store and its transactions do with them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from stylobate.database import Connection, DatabaseManager

from stylobate_auth.api_key import ApiKey, NewApiKey
from stylobate_auth.errors import PublicKeyTakenError
from stylobate_auth.uuids import uuid_of

PRUNE_API_KEYS = """
delete from api_key where (tenant, id) in (
    select tenant, id from api_key where least(expires_at, revoked_at) <= $1::timestamptz - interval '30 days'
    order by least(expires_at, revoked_at) limit $2 for update skip locked
)
"""
"""What is over for 30 days."""
PRUNE_ASSERTIONS = """
delete from client_assertion where (tenant, client_id, jti_hash) in (
    select tenant, client_id, jti_hash from client_assertion where expires_at <= $1 order by expires_at limit $2
    for update skip locked
)
"""

# The owner's row is what two wait for that count at once. `for share` would let both count the same.
_LOCK_OWNER = "select from account where tenant = $1 and id = $2 for no key update"
_COUNT = """
select count(*) from api_key
where tenant = $1 and owner_id = $2 and revoked_at is null and replaced_by is null and (expires_at is null or expires_at > $3)
"""
_ADD = """
insert into api_key (tenant, id, owner_id, name, secret_hash, scopes, allowed_cidrs, created_at, expires_at, rate_limit)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""
_ADD_PUBLIC = """
insert into api_key (
    tenant, id, owner_id, name, secret_hash, scopes, allowed_cidrs, created_at, expires_at, rate_limit, public_key, thumbprint
)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
on conflict (tenant, owner_id, thumbprint) where thumbprint is not null and revoked_at is null do nothing
"""
_REPLACE = """
update api_key set replaced_by = $3, expires_at = least(expires_at, $5)
where tenant = $1 and id = $2 and revoked_at is null and replaced_by is null and (expires_at is null or expires_at > $4)
returning *
"""
_LIMIT = """
update api_key set rate_limit = $3
where tenant = $1 and id = $2 and revoked_at is null and (expires_at is null or expires_at > $4)
returning *
"""
_END = "update api_key set revoked_at = $3 where tenant = $1 and id = $2 and revoked_at is null"
_OF_OWNER = """
select * from api_key where tenant = $1 and owner_id = $2 and revoked_at is null and ($3::uuid is null or id > $3)
order by id limit $4
"""
_PUBLIC_KEYS = """
select * from api_key where tenant = $1 and owner_id = $2 and thumbprint is not null and revoked_at is null order by id desc
"""
_USE_ASSERTION = """
insert into client_assertion (tenant, client_id, jti_hash, expires_at) values ($1, $2, $3, $4) on conflict do nothing
"""
_NOTE_USED = """
update api_key k set last_used_at = u.at
from unnest($1::text[], $2::uuid[], $3::timestamptz[]) as u (tenant, id, at)
where k.tenant = u.tenant and k.id = u.id and (k.last_used_at is null or k.last_used_at < u.at)
"""


class PostgresApiKeyChanges:
    """The part of a transaction."""

    _connection: Connection

    async def count_api_keys(self, tenant: str, owner: str, now: datetime) -> int:
        key = UUID(owner)
        await self._connection.execute(_LOCK_OWNER, tenant, key)
        return int(await self._connection.fetchval(_COUNT, tenant, key, now))

    async def add_api_key(self, new: NewApiKey) -> None:
        key = new.key
        values = (
            key.tenant,
            UUID(key.id),
            UUID(key.owner),
            key.name,
            new.secret_hash,
            list(key.scopes),
            list(key.allowed_cidrs),
            key.created_at,
            key.expires_at,
            key.rate_limit,
        )
        if not new.thumbprint:
            await self._connection.execute(_ADD, *values)
        elif await self._connection.execute(_ADD_PUBLIC, *values, key.public_key, new.thumbprint) != "INSERT 0 1":
            raise PublicKeyTakenError

    async def replace_api_key(self, key: ApiKey, successor: str, now: datetime, until: datetime) -> ApiKey | None:
        row = await self._connection.fetchrow(_REPLACE, key.tenant, UUID(key.id), UUID(successor), now, until)
        return None if row is None else _key_of(row)

    async def limit_api_key(self, key: ApiKey, rate_limit: str, now: datetime) -> ApiKey | None:
        row = await self._connection.fetchrow(_LIMIT, key.tenant, UUID(key.id), rate_limit, now)
        return None if row is None else _key_of(row)

    async def end_api_key(self, key: ApiKey, at: datetime) -> bool:
        return await self._connection.execute(_END, key.tenant, UUID(key.id), at) == "UPDATE 1"


class PostgresApiKeys:
    """The part of the store."""

    _database: DatabaseManager

    async def api_key(self, tenant: str, key_id: str) -> ApiKey | None:
        key = uuid_of(key_id)
        row = (
            None
            if key is None
            else await self._database.fetchrow("select * from api_key where tenant = $1 and id = $2", tenant, key)
        )
        return None if row is None else _key_of(row)

    async def api_keys(self, tenant: str, owner: str, after: str, limit: int) -> list[ApiKey]:
        key = uuid_of(owner)
        if key is None:
            return []
        return [_key_of(row) for row in await self._database.fetch(_OF_OWNER, tenant, key, uuid_of(after), limit)]

    async def api_keys_by_id(self, ids: Sequence[str]) -> Mapping[str, NewApiKey]:
        known = [key for text in ids if (key := uuid_of(text)) is not None]
        rows = await self._database.fetch("select * from api_key where id = any($1::uuid[])", known)
        return {str(row["id"]): NewApiKey(_key_of(row), row["secret_hash"], row["thumbprint"] or "") for row in rows}

    async def public_keys(self, tenant: str, owner: str) -> list[ApiKey]:
        key = uuid_of(owner)
        return [] if key is None else [_key_of(row) for row in await self._database.fetch(_PUBLIC_KEYS, tenant, key)]

    async def use_assertion(self, tenant: str, client: str, jti_hash: bytes, until: datetime) -> bool:
        return await self._database.execute(_USE_ASSERTION, tenant, UUID(client), jti_hash, until) == "INSERT 0 1"

    async def note_api_keys_used(self, used: Mapping[tuple[str, str], datetime]) -> None:
        rows = sorted(used.items())  # two processes that write the same rows in another order would wait for each other
        tenants, ids = [tenant for (tenant, _), _ in rows], [UUID(key) for (_, key), _ in rows]
        await self._database.execute(_NOTE_USED, tenants, ids, [at for _, at in rows])


def _key_of(row: Any) -> ApiKey:
    return ApiKey(
        tenant=row["tenant"],
        id=str(row["id"]),
        owner=str(row["owner_id"]),
        name=row["name"],
        scopes=tuple(row["scopes"]),
        allowed_cidrs=tuple(row["allowed_cidrs"]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        last_used_at=row["last_used_at"],
        replaced_by="" if row["replaced_by"] is None else str(row["replaced_by"]),
        rate_limit=row["rate_limit"],
        public_key=row["public_key"] or "",
    )
