"""People's accounts in PostgreSQL, as administrators see and change them: what the store and its transactions do."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from stylobate.database import Connection, DatabaseManager

from stylobate_auth.account_sealing import AccountSealing
from stylobate_auth.model import Account
from stylobate_auth.store.postgres.grants import remove_grants_of
from stylobate_auth.store.postgres.rows import ACCOUNT_BY_ID, account_as_far, account_of
from stylobate_auth.user import UserDeletion, UserPlace, UserQuery
from stylobate_auth.uuids import uuid_of

_BY_ID = f"{ACCOUNT_BY_ID} and not a.is_service"
_BY_IDS = """
select a.tenant, a.id::text, a.email, a.display_name, a.email_verified, a.created_at, a.disabled_at, array[]::text[] as roles
from account a
where a.tenant = $1 and a.id = any ($2::uuid[]) and not a.is_service
"""
_HOLD = f"{_BY_ID} for update"
_SET_DISABLED = "update account set disabled_at = $3 where tenant = $1 and id = $2"
_END_KEYS = """
update api_key set revoked_at = $3 where tenant = $1 and owner_id = $2 and revoked_at is null returning id::text
"""
_DELETE = "delete from account where tenant = $1 and id = $2"
_BEGIN_DELETION = """
insert into user_deletion (tenant, account_id, began_at, due_at) values ($1, $2, $3, $3) on conflict do nothing
"""
_FINISH_DELETION = """
update user_deletion set done_at = $3, due_at = null where tenant = $1 and account_id = $2 and done_at is null returning true
"""
_DELETION = "select tenant, account_id::text, began_at, done_at from user_deletion where tenant = $1 and account_id = $2"
_TAKE_DELETIONS = """
update user_deletion set due_at = $2
where (tenant, account_id) in (
    select tenant, account_id from user_deletion where due_at <= $1 order by due_at limit $3 for update skip locked
)
returning tenant, account_id::text, began_at, done_at
"""
_DELAY_DELETION = "update user_deletion set due_at = $3 where tenant = $1 and account_id = $2 and done_at is null"
# The place is a bound of the index, also for the first page: with `or` it would be looked at row by row.
_LIST = """
select a.tenant, a.id::text, a.email, a.display_name, a.email_verified, a.created_at, a.disabled_at,
       array(select r.role from account_role r where r.tenant = a.tenant and r.account_id = a.id order by r.role) as roles
from account a
where a.tenant = $1 and not a.is_service and (a.created_at, a.id) > ($2, $3) and a.created_at >= $4 and a.created_at < $5
  and ($6::text[] is null or a.email_key = any ($6::text[]))
  and ($7 = '' or exists (select from account_role r where r.tenant = a.tenant and r.account_id = a.id and r.role = $7))
order by a.created_at, a.id limit $8
"""
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


class PostgresUserChanges:
    """The part of a transaction."""

    _connection: Connection
    sealing: AccountSealing

    async def hold_user(self, tenant: str, account_id: str) -> Account | None:
        key = uuid_of(account_id)
        row = None if key is None else await self._connection.fetchrow(_HOLD, tenant, key)
        return None if row is None else await account_of(row, self.sealing)

    async def set_disabled(self, tenant: str, account_id: str, at: datetime | None) -> None:
        await self._connection.execute(_SET_DISABLED, tenant, UUID(account_id), at)

    async def begin_deletion(self, tenant: str, account_id: str, at: datetime) -> None:
        key = UUID(account_id)
        await self._connection.execute(_DELETE, tenant, key)
        await remove_grants_of(self._connection, tenant, account_id)
        await self._connection.execute(_BEGIN_DELETION, tenant, key, at)

    async def finish_deletion(self, tenant: str, account_id: str, at: datetime) -> bool:
        return await self._connection.fetchval(_FINISH_DELETION, tenant, UUID(account_id), at) is not None

    async def end_api_keys(self, tenant: str, account_id: str, at: datetime) -> list[str]:
        return sorted(row["id"] for row in await self._connection.fetch(_END_KEYS, tenant, UUID(account_id), at))


class PostgresUsers:
    """The part of the store."""

    _database: DatabaseManager
    sealing: AccountSealing

    async def user(self, tenant: str, account_id: str) -> Account | None:
        key = uuid_of(account_id)
        row = None if key is None else await self._database.fetchrow(_BY_ID, tenant, key)
        return None if row is None else await account_of(row, self.sealing)

    async def users_by_id(self, tenant: str, ids: Sequence[str]) -> list[Account]:
        keys = [key for one in ids if (key := uuid_of(one)) is not None]
        rows = await self._database.fetch(_BY_IDS, tenant, keys) if keys else ()
        return [await account_as_far(row, self.sealing) for row in rows]

    async def users(self, tenant: str, query: UserQuery, after: UserPlace | None, limit: int) -> list[Account]:
        place = (_FIRST, UUID(int=0)) if after is None else (after.created_at, UUID(after.id))
        since, until = query.created_after or _FIRST, query.created_before or _LAST
        emails = await self.sealing.indexes(tenant, query.email) if query.email else None
        rows = await self._database.fetch(_LIST, tenant, *place, since, until, emails, query.role, limit)
        return [await account_as_far(row, self.sealing) for row in rows]

    async def deletion(self, tenant: str, account_id: str) -> UserDeletion | None:
        key = uuid_of(account_id)
        row = None if key is None else await self._database.fetchrow(_DELETION, tenant, key)
        return None if row is None else _deletion_of(row)

    async def take_deletions(self, now: datetime, until: datetime, most: int) -> list[UserDeletion]:
        return [_deletion_of(row) for row in await self._database.fetch(_TAKE_DELETIONS, now, until, most)]

    async def delay_deletion(self, deletion: UserDeletion, until: datetime) -> None:
        await self._database.execute(_DELAY_DELETION, deletion.tenant, UUID(deletion.id), until)


def _deletion_of(row: Any) -> UserDeletion:
    return UserDeletion(row["tenant"], row["account_id"], row["began_at"], row["done_at"])
