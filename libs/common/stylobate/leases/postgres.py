"""Leases in the service's own schema; the clock is the database's."""

from collections.abc import Mapping
from datetime import timedelta

from stylobate.database import DatabaseManager
from stylobate.leases.port import LeaseStanding

_ACQUIRE = """
insert into lease as held (name, holder, token, expires_at) values ($1, $2, 1, clock_timestamp() + $3)
on conflict (name) do update set holder = excluded.holder, token = held.token + 1, expires_at = clock_timestamp() + $3
where held.expires_at <= clock_timestamp() or held.expires_at > clock_timestamp() + 2 * $3::interval
returning token
"""
_RENEW = """
update lease set expires_at = clock_timestamp() + $4 from unnest($2::text[], $3::bigint[]) as ours (name, token)
where lease.name = ours.name and lease.token = ours.token and holder = $1 and expires_at > clock_timestamp()
returning lease.name
"""
_RELEASE = "update lease set expires_at = clock_timestamp() where name = $1 and holder = $2 and token = $3"
_STANDING = "select holder, expires_at - clock_timestamp() as remaining from lease where name = $1"


class PostgresLeaseStore:
    """The port on the migrations of ``stylobate.leases``."""

    def __init__(self, database: DatabaseManager) -> None:
        self._database = database

    async def acquire(self, name: str, holder: str, ttl: timedelta) -> int | None:
        token: int | None = await self._database.fetchval(_ACQUIRE, name, holder, ttl)
        return token

    async def renew(self, holder: str, tokens: Mapping[str, int], ttl: timedelta) -> set[str]:
        rows = await self._database.fetch(_RENEW, holder, [*tokens], [*tokens.values()], ttl)
        return {row["name"] for row in rows}

    async def release(self, name: str, holder: str, token: int) -> None:
        await self._database.execute(_RELEASE, name, holder, token)

    async def standing(self, name: str) -> LeaseStanding | None:
        row = await self._database.fetchrow(_STANDING, name)
        return None if row is None else LeaseStanding(row["holder"], row["remaining"])
