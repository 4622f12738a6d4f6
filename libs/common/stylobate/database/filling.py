"""Putting what :mod:`stylobate.database.copying` read into schemas that are new."""

from collections.abc import AsyncIterable, AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager

import asyncpg

from stylobate.database.copying import connected, sequences_of, tables_of
from stylobate.database.migrations import MigrationError, role_of

_SET_SEQUENCE = "select setval(format('%I', $1::text)::regclass, $2)"
_EMPTY = "select 'truncate ' || string_agg(format('%I', name), ', ') from unnest($1::text[]) name"
_SET_ASIDE = """
select format('alter table %I drop constraint %I', t.relname, f.conname) as out,
    format('alter table %I add constraint %I %s', t.relname, f.conname, pg_get_constraintdef(f.oid)) as back
from pg_constraint f join pg_class t on t.oid = f.conrelid join pg_class o on o.oid = f.confrelid
where t.relnamespace = to_regnamespace($1) and o.relnamespace = t.relnamespace and f.contype = 'f' and f.conparentid = 0
    and array_position($2::text[], t.relname::text) < array_position($2::text[], o.relname::text)
union all
select format('alter table %I disable trigger %I', t.relname, g.tgname),
    format('alter table %I enable %s trigger %I', t.relname, case g.tgenabled when 'A' then 'always' else '' end, g.tgname)
from pg_trigger g join pg_class t on t.oid = g.tgrelid
where t.relnamespace = to_regnamespace($1) and not g.tgisinternal and g.tgparentid = 0 and g.tgenabled in ('O', 'A')
"""
"""What would stand in the way: a table that refers to one that is filled later, and triggers, whose work is in the rows."""
_MADE_OF_TABLES = "select format('refresh materialized view %I', matviewname) from pg_matviews where schemaname = $1"


class Filling:
    """A schema that is filled, in one transaction."""

    def __init__(self, connection: asyncpg.Connection, tables: Collection[str], sequences: Collection[str]) -> None:
        self._connection = connection
        self._tables, self._sequences = tables, sequences

    async def make(self, table: str, made: str) -> bool:
        """Return whether a table is there: what no migration makes cannot be made."""
        del made
        return table in self._tables

    async def put(self, table: str, columns: Collection[str], source: AsyncIterable[bytes]) -> int:
        """Put rows into a table, in the text form of COPY, and return how many there were. Raises MigrationError."""
        try:
            said: str = await self._connection.copy_to_table(table, columns=list(columns), source=source, format="text")
        except asyncpg.PostgresError as error:
            raise MigrationError(f"the rows of {table} do not fit: {error.args[0]}") from error
        return int(said.rsplit(maxsplit=1)[-1])

    async def put_lines(self, table: str, columns: Collection[str], source: AsyncIterable[bytes]) -> int:
        """Do what :meth:`put` does."""
        return await self.put(table, columns, source)

    async def hold_to(self, validators: Mapping[str, str]) -> None:
        """Do nothing: the migrations say all there is."""

    async def continue_sequences(self, last: Mapping[str, int]) -> None:
        """Let sequences go on behind the last value that they gave."""
        for name, value in last.items():
            if value and name in self._sequences:
                await self._connection.execute(_SET_SEQUENCE, name, value)


@asynccontextmanager
async def filling(url: str, service: str, *, use_role: bool) -> AsyncIterator[Filling]:
    """Empty the tables of a schema that was just made, and fill them: all of it or nothing."""
    async with _inside(url, service, use_role=use_role) as connection:
        tables = list(await tables_of(connection, service))
        aside = await connection.fetch(_SET_ASIDE, service, tables)
        for row in aside:
            await connection.execute(row["out"])
        if tables:
            await connection.execute(await connection.fetchval(_EMPTY, tables))
        yield Filling(connection, tables, await sequences_of(connection, service))
        await _then(connection, "set constraints all immediate")
        for row in aside:
            await _then(connection, row["back"])
        for row in await connection.fetch(_MADE_OF_TABLES, service):
            await _then(connection, row[0])


@asynccontextmanager
async def adding(url: str, service: str, *, use_role: bool) -> AsyncIterator[Filling]:
    """Fill tables that are empty: all of it or nothing."""
    async with _inside(url, service, use_role=use_role) as connection:
        yield Filling(connection, await tables_of(connection, service), await sequences_of(connection, service))


async def _then(connection: asyncpg.Connection, statement: str) -> None:
    try:
        await connection.execute(statement)
    except asyncpg.PostgresError as error:
        raise MigrationError(f"the rows do not fit: {statement}: {error.args[0]}") from error


@asynccontextmanager
async def _inside(url: str, service: str, *, use_role: bool) -> AsyncIterator[asyncpg.Connection]:
    """Give a transaction in a service's schema, as its role."""
    async with connected(url) as connection:
        if use_role:
            await connection.execute("select set_config('role', $1, false)", role_of(service))
        await connection.execute("select set_config('search_path', quote_ident($1), false)", service)
        async with connection.transaction():
            yield connection
