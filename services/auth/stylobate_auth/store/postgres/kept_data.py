"""What PostgreSQL keeps of a person, as it is given out to them: columns by name, so that none is given out unmeant."""

from collections.abc import Mapping
from typing import Any

from stylobate.database import DatabaseManager

from stylobate_auth.account_sealing import ADDRESS, NAME, AccountSealing
from stylobate_auth.uuids import uuid_of

_STATEMENTS = {
    "account": """
select id::text, email, display_name, email_verified, created_at, disabled_at, new_email, old_email
from account where tenant = $1 and id = $2 and not is_service and id::text > $3 limit $4
""",
    "roles": """
select role, assigned_at, expires_at
from account_role where tenant = $1 and account_id = $2 and role > $3 order by role limit $4
""",
    "grants": """
select permission || ' ' || resource as "grant", granted_at, expires_at
from resource_grant where tenant = $1 and subject = $2::uuid::text and permission || ' ' || resource > $3
order by permission || ' ' || resource limit $4
""",
    "sessions": """
select id::text, opened_at, seen_at, expires_at, ended_at, end_reason, address, agent
from session where tenant = $1 and account_id = $2 and id::text > $3 order by session.id limit $4
""",
    "api_keys": """
select id::text, name, scopes, allowed_cidrs, rate_limit, created_at, expires_at, revoked_at, last_used_at, replaced_by::text
from api_key where tenant = $1 and owner_id = $2 and id::text > $3 order by api_key.id limit $4
""",
    "mails": """
select id::text, kind, asked_at, expires_at, due_at is null as handed_over, used_at
from mail where tenant = $1 and account_id = $2 and id::text > $3 order by mail.id limit $4
""",
    "login_places": """
select place, expires_at
from login_place where tenant = $1 and account_id = $2 and place > $3 order by place limit $4
""",
}


_SEALED = {"email": ADDRESS, "display_name": NAME, "new_email": ADDRESS, "old_email": ADDRESS}
"""Columns that are stored sealed, and what of an account they are."""


class PostgresKeptData:
    """The part of the store."""

    _database: DatabaseManager
    sealing: AccountSealing

    async def kept(self, tenant: str, account_id: str, part: str, after: str, limit: int) -> list[Mapping[str, Any]]:
        key = uuid_of(account_id)
        rows = [] if key is None else await self._database.fetch(_STATEMENTS[part], tenant, key, after, limit)
        found: list[dict[str, Any]] = [dict(row) for row in rows]
        for row in found if part == "account" else ():
            for column, what in _SEALED.items():
                row[column] = row[column] and await self.sealing.opened(tenant, account_id, what, row[column])
        return [*found]
