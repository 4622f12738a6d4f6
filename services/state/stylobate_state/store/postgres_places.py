"""Where namespaces stand, in PostgreSQL."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import asyncpg
from stylobate.database import DatabaseManager
from stylobate.ids import new_id
from stylobate.outbox.postgres import PostgresEventLog, PostgresNumbering

from stylobate_state.errors import StateMovedError

_FENCE_NAME = "state_elsewhere_"
"""Before the namespace in the name of the constraint that refuses to write it."""
_TAKE = """
    insert into state_place (namespace, opening)
    select $1, array(select number from outbox_head order by partition)
    on conflict (namespace) do update set elsewhere = null, opening = excluded.opening, noted_at = now(), is_moving = false
    where state_place.elsewhere is not null
"""
_GIVE = """
    insert into state_place (namespace, elsewhere, is_moving) values ($1, $2, $3)
    on conflict (namespace) do update set elsewhere = excluded.elsewhere, opening = null, noted_at = now(),
        is_moving = excluded.is_moving and state_place.elsewhere is distinct from excluded.elsewhere
    where state_place.elsewhere is distinct from excluded.elsewhere or (state_place.is_moving and not excluded.is_moving)
"""
_IS_FENCED = "select exists (select from pg_constraint where conrelid = 'state'::regclass and conname = $1::name)"
_FENCE = "select format('alter table state add constraint %I check (namespace <> %L) not valid', $1::text, $2::text)"
# By the primary key, a step for each tenant: a namespace has no index of its own.
_HAS_OBJECTS = """
    with recursive tenants as (
        select min(tenant) as tenant from state
        union all
        select (select min(s.tenant) from state s where s.tenant > t.tenant) from tenants t where t.tenant is not null
    )
    select exists (
        select from tenants t
        where t.tenant is not null and exists (select from state s where s.tenant = t.tenant and s.namespace = $1)
    )
"""


@contextmanager
def fenced() -> Iterator[None]:
    """Raise StateMovedError for what would write a namespace that stands elsewhere."""
    try:
        yield
    except asyncpg.CheckViolationError as error:
        name = error.constraint_name or ""
        if not name.startswith(_FENCE_NAME):
            raise
        raise StateMovedError(name.removeprefix(_FENCE_NAME)) from error


class _HasObjectsError(Exception):
    """Takes a transaction back."""


class PostgresPlaceStore:
    """A PlaceStore in the service's schema."""

    def __init__(self, database: DatabaseManager, source: str) -> None:
        self._database = database
        self._source = source

    async def elsewhere(self) -> Mapping[str, str]:
        rows = await self._database.fetch("select namespace, elsewhere from state_place where elsewhere is not null")
        return {row["namespace"]: row["elsewhere"] for row in rows}

    async def moving(self) -> Collection[str]:
        rows = await self._database.fetch("select namespace from state_place where is_moving")
        return {row["namespace"] for row in rows}

    async def has(self, namespace: str) -> bool:
        found = await self._database.fetchval("select elsewhere is null from state_place where namespace = $1", namespace)
        return bool(found)

    async def opening(self, namespace: str) -> Sequence[int]:
        opening: list[int] = await self._database.fetchval("select opening from state_place where namespace = $1", namespace)
        return opening

    async def take(self, namespace: str) -> None:
        head = await PostgresEventLog(self._database, self._source).head()
        if not head.epoch:  # as in every new log: a position of the log where the namespace stood before would fit
            await PostgresNumbering(self._database, self._source).begin(new_id(), "a namespace came here")
        await self._database.execute(_TAKE, namespace)

    async def give(self, namespace: str, database: str, *, with_objects: bool, is_moving: bool = False) -> bool:
        fence = f"{_FENCE_NAME}{namespace}"
        try:
            async with self._database.transaction() as connection:
                if not await connection.fetchval(_IS_FENCED, fence):
                    # waits until whoever writes has ended; what they wrote is there to be seen then
                    await connection.execute(await connection.fetchval(_FENCE, fence, namespace))
                if not with_objects and await connection.fetchval(_HAS_OBJECTS, namespace):
                    raise _HasObjectsError
                await connection.execute(_GIVE, namespace, database, is_moving)
        except _HasObjectsError:
            return False
        return True
