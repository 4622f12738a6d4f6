"""Grants in PostgreSQL: what the store and its transactions do with them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from stylobate.database import Connection, DatabaseManager
from stylobate.database.batches import columns

from stylobate_auth.grant import ROLE, Grant, GrantPlace, GrantQuery, GrantQuestion

_GET = "select * from resource_grant where tenant = $1 and subject = $2 and permission = $3 and resource = $4"
_PUT = """
insert into resource_grant (tenant, subject, permission, resource, expires_at, granted_at, granted_by)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict (tenant, subject, permission, resource) do update
set expires_at = excluded.expires_at, granted_at = excluded.granted_at, granted_by = excluded.granted_by
"""
_REMOVE = """
delete from resource_grant where tenant = $1 and subject = $2 and permission = $3 and resource = $4 returning true
"""
_REMOVE_OF = "delete from resource_grant where tenant = $1 and subject = $2"
_END = """
delete from resource_grant g where (tenant, subject, permission, resource) in (
    select tenant, subject, permission, resource from resource_grant
    where expires_at <= $1 order by expires_at limit $2 for update skip locked
)
returning g.*
"""
_NEXT_END = "select min(expires_at) from resource_grant where expires_at is not null"
# Each subject and permission is a range of the primary key, read no further than asked for. The limit is written out: a plan that
# must do for any limit reads and sorts all of them. An array is selected, so that the planner does not see how many are asked for
# and plans once (ADR 0213).
_GRANTED = """
select q.number, g.resource
from unnest((select $1::int[]), $2::text[], $3::text[], $4::text[]) as q (number, tenant, subject, permission)
cross join lateral (
    select resource from resource_grant g
    where g.tenant = q.tenant and g.subject = q.subject and g.permission = q.permission
      and (g.expires_at is null or g.expires_at > $5)
    order by resource limit {most}
) g
"""
_UNDER = _GRANTED.replace(
    "order by resource", "and g.resource > $6 and ($7 = '' or starts_with(g.resource, $7)) order by resource"
)
_COVERING = """
select q.number, g.*
from unnest((select $1::int[]), $2::text[], $3::text[], $4::text[], $5::text[])
    as q (number, tenant, subject, permission, resource)
join resource_grant g on g.tenant = q.tenant and g.subject = q.subject and g.permission = q.permission
  and g.resource = q.resource and (g.expires_at is null or g.expires_at > $6)
order by q.number, g.subject, g.permission, g.resource
"""
_LIST = """
select g.* from resource_grant g
where g.tenant = $1 and (g.subject, g.permission, g.resource) > ($5, $6, $7)
  and (g.expires_at is null or g.expires_at > $2) and ($3 = '' or g.permission = $3)
  and ($4 = '' or g.resource = $4 or (right($4, 1) = '/' and starts_with(g.resource, $4)))
order by g.subject, g.permission, g.resource limit $8
"""
_LIST_OF_ONE = _LIST.replace("where g.tenant = $1", "where g.tenant = $1 and g.subject = $5")
_LIST_ON_ONE = _LIST.replace(
    "($4 = '' or g.resource = $4 or (right($4, 1) = '/' and starts_with(g.resource, $4)))", "g.resource = $4"
)


async def remove_grants_of(connection: Connection, tenant: str, subject: str) -> None:
    """Remove all that a subject has been granted: with the account, or the role."""
    await connection.execute(_REMOVE_OF, tenant, subject)


async def remove_grants_of_role(connection: Connection, tenant: str, role: str) -> None:
    """Do so for a role."""
    await remove_grants_of(connection, tenant, f"{ROLE}{role}")


class PostgresGrantChanges:
    """The part of a transaction."""

    _connection: Connection

    async def grant(self, like: Grant) -> Grant | None:
        row = await self._connection.fetchrow(_GET, *_name(like))
        return None if row is None else _grant_of(row)

    async def put_grant(self, grant: Grant) -> None:
        await self._connection.execute(_PUT, *_name(grant), grant.expires_at, grant.granted_at, grant.granted_by)

    async def remove_grant(self, like: Grant) -> bool:
        return await self._connection.fetchval(_REMOVE, *_name(like)) is not None

    async def end_grants(self, now: datetime, most: int) -> list[Grant]:
        return [*map(_grant_of, await self._connection.fetch(_END, now, most))]


class PostgresGrants:
    """The part of the store."""

    _database: DatabaseManager

    async def granted(self, questions: Sequence[GrantQuestion], now: datetime, most: int) -> list[list[str]]:
        found: list[set[str]] = [set() for _ in questions]
        if asked := columns(row for number, one in enumerate(questions) for row in _pairs(number, one)):
            for row in await self._database.fetch(_GRANTED.format(most=int(most)), *asked, now):
                found[row["number"]].add(row["resource"])
        return [_first(names, most) for names in found]

    async def covering_grants(self, questions: Sequence[GrantQuestion], now: datetime) -> list[list[Grant]]:
        found: list[list[Grant]] = [[] for _ in questions]
        rows = (
            (*pair, resource)
            for number, one in enumerate(questions)
            for pair in _pairs(number, one)
            for resource in one.resources
            if "\0" not in resource
        )
        if asked := columns(rows):
            for row in await self._database.fetch(_COVERING, *asked, now):
                found[row["number"]].append(_grant_of(row))
        return found

    async def granted_under(self, question: GrantQuestion, under: str, after: str, now: datetime, most: int) -> list[str]:
        asked = columns(_pairs(0, question))
        if not asked or "\0" in under + after:
            return []
        rows = await self._database.fetch(_UNDER.format(most=int(most)), *asked, now, max(after, under), under)
        return _first({row["resource"] for row in rows}, most)

    async def grants(self, tenant: str, query: GrantQuery, after: GrantPlace | None, now: datetime, most: int) -> list[Grant]:
        is_on_one = bool(query.resource) and not query.resource.endswith("/")
        statement = _LIST_OF_ONE if query.subject else _LIST_ON_ONE if is_on_one else _LIST
        place = after or (query.subject, "", "")
        rows = await self._database.fetch(statement, tenant, now, query.permission, query.resource, *place, most)
        return [*map(_grant_of, rows)]

    async def next_grant_end(self) -> datetime | None:
        end: datetime | None = await self._database.fetchval(_NEXT_END)
        return end


def _pairs(number: int, question: GrantQuestion) -> list[tuple[int, str, str, str]]:
    return [
        (number, question.tenant, subject, permission)
        for subject in question.subjects
        for permission in question.permissions
        if "\0" not in question.tenant + subject + permission
    ]


def _first(names: set[str], most: int) -> list[str]:
    return sorted(names, key=str.encode)[:most]


def _name(grant: Grant) -> tuple[str, str, str, str]:
    return grant.tenant, grant.subject, grant.permission, grant.resource


def _grant_of(row: Any) -> Grant:
    return Grant(
        row["tenant"],
        row["subject"],
        row["permission"],
        row["resource"],
        row["expires_at"],
        row["granted_at"],
        row["granted_by"],
    )
