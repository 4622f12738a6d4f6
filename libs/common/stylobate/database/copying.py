"""All that stands in the schemas of services: read at one moment, and put into schemas that are new."""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import asyncpg

from stylobate.database.address import hosts, seeking
from stylobate.database.migrations import MigrationError, role_of
from stylobate.database.refusal import URL, refusals
from stylobate.database.unfinished import UNFINISHED, is_unfinished

_TABLES = """
select c.relname as name, array(
    select a.attname::text from pg_attribute a
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = '' order by a.attnum
) as columns, array(
    select distinct o.relname::text from pg_constraint f join pg_class o on o.oid = f.confrelid
    where f.conrelid = c.oid and f.contype = 'f' and o.oid <> c.oid and o.relnamespace = c.relnamespace
) as needs
from pg_class c where c.relnamespace = to_regnamespace($1) and c.relkind = 'r' and c.relname <> 'migration' order by c.relname
"""
_NAMED = "select nspname from pg_namespace where starts_with(nspname, $1) order by 1"
_SEQUENCES = "select sequencename as name, coalesce(last_value, 0) as last from pg_sequences where schemaname = $1 order by 1"


@dataclass(frozen=True, slots=True)
class SchemaContents:
    """What a schema has."""

    migrations: tuple[tuple[str, int, str], ...]
    """Set, number and checksum of what was applied."""
    tables: Mapping[str, tuple[str, ...]]
    """Their columns; a table stands behind those that it refers to."""
    sequences: Mapping[str, int]
    """The last value that each gave; 0: none yet."""
    validators: Mapping[str, str] = field(default_factory=dict)
    """What collections hold writers to, as extended JSON; on PostgreSQL the migrations say all there is."""
    made: Mapping[str, str] = field(default_factory=dict)
    """How collections were made, as extended JSON, where more than migrations may have made them."""
    left_out: tuple[str, ...] = ()
    """What cannot be read at a moment: time series of MongoDB."""


Sink = Callable[[bytes], Coroutine[Any, Any, None]]


class Moment(Protocol):
    """What is read of the services of one URL at one moment; see Snapshot, and MongoSnapshot."""

    async def enter(self, service: str, *, use_role: bool) -> bool:
        """Look into a service's part from now on; return whether there is one. Raises MigrationError."""

    async def contents(self, service: str, *, is_of_module: bool = False) -> SchemaContents:
        """Return what the part that was entered has.

        :param is_of_module: whether it is what a module has, which may have made more than its migrations say.
        """

    async def named(self, prefix: str) -> list[str]:
        """Return the parts whose name begins so, whoever's they are."""

    async def read(self, table: str, columns: Collection[str], sink: Sink) -> int:
        """Give what a table has to the sink, in the form of a file, and return how many rows there are."""

    async def read_lines(self, table: str, columns: Collection[str], sink: Sink) -> int:
        """Give it as lines, each of which begins with the id and a tab."""


class Into(Protocol):
    """What is filled; see Filling, and MongoFilling."""

    async def make(self, table: str, made: str) -> bool:
        """Make what no migration has made, where it is known how; return whether it is there.

        :param made: how, of :attr:`SchemaContents.made`; empty: it is not known.
        """

    async def put(self, table: str, columns: Collection[str], source: AsyncIterable[bytes]) -> int:
        """Put what :meth:`Moment.read` gave, and return how many rows there were. Raises MigrationError."""

    async def put_lines(self, table: str, columns: Collection[str], source: AsyncIterable[bytes]) -> int:
        """Put what :meth:`Moment.read_lines` gave."""

    async def continue_sequences(self, last: Mapping[str, int]) -> None:
        """Let sequences go on behind the last value that they gave."""

    async def hold_to(self, validators: Mapping[str, str]) -> None:
        """Let collections hold writers to what they did."""


class Snapshot:
    """One moment of one database."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def enter(self, service: str, *, use_role: bool) -> bool:
        """Look into a service's schema from now on, as its role; return whether there is one. Raises MigrationError."""
        try:
            await self._connection.execute("select set_config('role', 'none', true)")
            if not await has_schema(self._connection, service):
                return False
            if use_role:
                await self._connection.execute("select set_config('role', $1, true)", role_of(service))
            await self._connection.execute("select set_config('search_path', quote_ident($1), true)", service)
        except asyncpg.InsufficientPrivilegeError as error:
            user = await self._connection.fetchval("select session_user")
            raise MigrationError(f"{user} may not read the schema {service}: {error.args[0]}") from error
        return True

    async def contents(self, service: str, *, is_of_module: bool = False) -> SchemaContents:
        """Return what the schema that was entered has."""
        del is_of_module
        applied = await self._connection.fetch("select set, number, checksum from migration order by set, number")
        return SchemaContents(
            tuple((row["set"], row["number"], row["checksum"]) for row in applied),
            await tables_of(self._connection, service),
            await sequences_of(self._connection, service),
        )

    async def named(self, prefix: str) -> list[str]:
        """Return the schemas whose name begins so."""
        return [row["nspname"] for row in await self._connection.fetch(_NAMED, prefix)]

    async def read(self, table: str, columns: Collection[str], sink: Sink) -> int:
        """Give the rows of a table to the sink, in the text form of COPY, and return how many there are."""
        said: str = await self._connection.copy_from_table(table, columns=list(columns), output=sink, format="text")
        return int(said.rsplit(maxsplit=1)[-1])

    async def read_lines(self, table: str, columns: Collection[str], sink: Sink) -> int:
        """Do what :meth:`read` does, whose first column is the id."""
        return await self.read(table, columns, sink)


@asynccontextmanager
async def snapshot(url: str) -> AsyncIterator[Snapshot]:
    """Hold one moment of a database: who writes goes on meanwhile. Raises ConfigError, OSError."""
    async with connected(url) as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        if await is_unfinished(connection):  # with the first statement the moment is chosen
            raise MigrationError(f"database {hosts(url)}: {UNFINISHED}")
        yield Snapshot(connection)


async def schemas_there(url: str, services: Collection[str]) -> list[str]:
    """Return the services that have a schema in a database."""
    async with connected(url) as connection:
        return [service for service in services if await has_schema(connection, service)]


async def drop_schemas(url: str, services: Collection[str]) -> None:
    """Remove schemas that were made a moment ago, and what is in them."""
    async with connected(url) as connection:
        for service in services:
            statement = await connection.fetchval("select format('drop schema if exists %I cascade', $1::text)", service)
            await connection.execute(statement)


async def has_schema(connection: asyncpg.Connection, service: str) -> bool:
    """Return whether a service has a schema."""
    return bool(await connection.fetchval("select exists (select from pg_namespace where nspname = $1)", service))


async def tables_of(connection: asyncpg.Connection, service: str) -> dict[str, tuple[str, ...]]:
    """Return the tables of a schema with their columns, each behind those that it refers to, as far as there is such an order."""
    return in_order(await connection.fetch(_TABLES, service))


async def sequences_of(connection: asyncpg.Connection, service: str) -> dict[str, int]:
    """Return the sequences of a schema, and the last value that each gave; 0: none yet."""
    return {row["name"]: row["last"] for row in await connection.fetch(_SEQUENCES, service)}


def in_order(rows: Collection[Any]) -> dict[str, tuple[str, ...]]:
    """Return tables with their columns, each behind those that it refers to; what refers to each other is in no order.

    :param rows: with ``name``, ``columns``, ``needs``.
    """
    left = {row["name"]: row for row in rows}
    found: dict[str, tuple[str, ...]] = {}
    while left:
        free = [name for name, row in left.items() if not any(need in left for need in row["needs"])]
        for name in free or list(left):
            found[name] = tuple(left.pop(name)["columns"])
    return found


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Give a connection to what can be written to. Raises ConfigError, MigrationError where it does not answer."""
    with refusals(URL, url):
        try:
            connection = await asyncpg.connect(seeking(url, read_only=False), timeout=5)
        except (OSError, TimeoutError) as error:
            raise MigrationError(f"{URL}: {hosts(url)} does not answer: {error}") from error
    try:
        yield connection
    finally:
        await connection.close()
