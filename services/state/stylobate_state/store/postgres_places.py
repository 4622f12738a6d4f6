"""Where namespaces stand, in PostgreSQL."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import asyncpg
from stylobate.database import Connection, DatabaseManager

from stylobate_state.errors import StateMovedError
from stylobate_state.store.places import Place

_FENCE_NAME = "state_elsewhere_"
"""Before the namespace in the name of the constraint that refuses to write it."""
CARRYING = "select set_config('stylobate.carrying', $1, true)"
"""Lets the rest of a transaction write a namespace that comes here by a move."""
_GIVE = """
    insert into state_place (namespace, elsewhere, is_moving, move) values ($1, $2, $3 <> '', $3)
    on conflict (namespace) do update
    set elsewhere = excluded.elsewhere, noted_at = now(), is_moving = excluded.is_moving, move = excluded.move
    where case when excluded.is_moving then state_place.elsewhere is null
        else state_place.elsewhere is distinct from excluded.elsewhere or state_place.is_moving end
"""
_EXPECT = "insert into state_place (namespace, elsewhere) values ($1, $2) on conflict (namespace) do nothing"
_HOLD = "select elsewhere from state_place where namespace = $1 for update"
_REFUSE = "update state_place set move = '' where namespace = $1 and elsewhere is not null"
_TAKE = """
    update state_place set elsewhere = null, is_moving = false, move = '', noted_at = now()
    where namespace = $1 and elsewhere is not null and ($2::text is null or move = $2)
"""
_BEGIN = "insert into state_place (namespace) select $1 where $2::text is null on conflict (namespace) do nothing"
_IS_HERE = "select elsewhere is null from state_place where namespace = $1"
_FENCED = "select pg_get_constraintdef(oid) from pg_constraint where conrelid = 'state'::regclass and conname = $1::name"
_FENCE = """
    select format(
        'alter table state add constraint %I
            check (namespace <> %L or coalesce(current_setting(''stylobate.carrying'', true), '''') = %L) not valid',
        $1::text, $2::text, $2::text
    )
"""
_UNFENCE = "select format('alter table state drop constraint if exists %I', $1::text)"
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

    def __init__(self, database: DatabaseManager) -> None:
        self._database = database

    async def said(self) -> Mapping[str, Place]:
        rows = await self._database.fetch("select namespace, elsewhere, is_moving, move from state_place")
        return {name: Place(elsewhere, is_moving, move) for name, elsewhere, is_moving, move in rows}

    async def give(self, namespace: str, database: str, *, with_objects: bool, move: str = "") -> bool:
        try:
            async with self._database.transaction() as connection:
                await _shut(connection, namespace)
                if not with_objects and await connection.fetchval(_HAS_OBJECTS, namespace):
                    raise _HasObjectsError
                await connection.execute(_GIVE, namespace, database, move)
        except _HasObjectsError:
            return False
        return True

    async def expect(self, namespace: str, source: str) -> bool:
        async with self._database.transaction() as connection:
            await connection.execute(_EXPECT, namespace, source)
            if await connection.fetchval(_HOLD, namespace) is None:
                return False
            await _shut(connection, namespace)
        return True

    async def refuse(self, namespace: str) -> bool:
        await self._database.execute(_REFUSE, namespace)
        return not await self._database.fetchval(_IS_HERE, namespace)

    async def take(self, namespace: str, move: str | None = None) -> bool:
        async with self._database.transaction() as connection:
            await connection.execute(_BEGIN, namespace, move)
            if await connection.execute(_TAKE, namespace, move) != "UPDATE 0":
                await connection.execute(await connection.fetchval(_UNFENCE, _FENCE_NAME + namespace))
            return bool(await connection.fetchval(_IS_HERE, namespace))


async def _shut(connection: Connection, namespace: str) -> None:
    """Refuse to write a namespace. Waits until whoever writes has ended; what they wrote is there to be seen then."""
    name = _FENCE_NAME + namespace
    known: str | None = await connection.fetchval(_FENCED, name)
    if known is None or "carrying" not in known:  # one of a release that lets nobody in
        await connection.execute(await connection.fetchval(_UNFENCE, name))
        await connection.execute(await connection.fetchval(_FENCE, name, namespace))
