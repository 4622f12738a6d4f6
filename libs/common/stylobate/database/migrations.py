"""Schema changes: numbered SQL files beside the code that needs them, applied once, forward only."""

import hashlib
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import asyncpg

from stylobate.database.address import hosts, seeking
from stylobate.database.faults import LOST
from stylobate.database.refusal import URL, refusals
from stylobate.database.unfinished import UNFINISHED, is_unfinished
from stylobate.resilience import wait_for_dependency

FILE = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
LOCK = "select pg_advisory_lock(hashtextextended($1, 0))"
_SERVICE = re.compile(r"[a-z][a-z0-9_]{0,40}")

_CREATE_TABLE = """
create table if not exists migration (
  set text not null, number int not null, name text not null, checksum text not null,
  applied_at timestamptz not null default now(),
  primary key (set, number)
)"""
_CREATE_ROLE = """
do $$ begin
  create role %I nologin;
exception when duplicate_object or unique_violation then null; -- another database of this server was quicker
end $$"""
_MAY_TAKE_ROLE = """
select pg_has_role(current_user, $1, case when current_setting('server_version_num')::int < 160000 then 'member' else 'set' end)
"""

_MAY_NOT_LOOK = """
select exists (select from pg_namespace where nspname = $1 and not has_schema_privilege(oid, 'usage'))
"""


class MigrationError(Exception):
    """The files and what was applied do not fit; the text is one line for a person."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file."""

    set: str
    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, the same on every system's line ends."""
        return hashlib.sha256(self.sql.replace("\r\n", "\n").encode()).hexdigest()

    def __str__(self) -> str:
        """Return ``set/0001_name``."""
        return f"{self.set}/{self.number:04d}_{self.name}"


@dataclass(frozen=True, slots=True)
class MigrationSet:
    """The migrations of one part: files ``NNNN_what.sql`` in a folder. Names in them have no schema."""

    name: str
    folder: Path

    @classmethod
    def of(cls, name: str, package: str = "") -> Self:
        """Return the set in the folder ``migrations`` of a package, which is not imported for it; none: ``stylobate.<name>``."""
        found = find_spec(package or f"stylobate.{name}")
        if found is None or found.origin is None:
            raise MigrationError(f"{name}: there is no package {package}")
        return cls(name, Path(found.origin).parent / "migrations")

    def load(self) -> list[Migration]:
        """Read the files in order. Raises MigrationError for an invalid name or a number that comes twice."""
        found: dict[int, Migration] = {}
        for file in self.folder.iterdir():
            if not file.name.endswith(".sql"):
                continue
            parts = FILE.fullmatch(file.name)
            if parts is None:
                raise MigrationError(f"{self.name}: {file.name} is not named like 0001_what_it_does.sql")
            number = int(parts[1])
            if number in found:
                raise MigrationError(f"{self.name}: number {number:04d} comes twice: {found[number].name}, {parts[2]}")
            found[number] = Migration(self.name, number, parts[2], file.read_text(encoding="utf-8"))
        return [found[number] for number in sorted(found)]


class Migrator:
    """Brings the schema of one service to what its code needs. Any number of processes may do it at once."""

    def __init__(
        self,
        url: str,
        service: str,
        sets: Sequence[MigrationSet],
        *,
        use_role: bool = True,
        setting: str = URL,
        is_restore: bool = False,
    ) -> None:
        """Describe the work.

        :param setting: that the URL comes from, for who must set it right.
        :param service: names the schema, and the role that owns it: ``stylobate_<service>``.
        :param use_role: create that role and work in it; else everything belongs to the user of the URL.
        :param is_restore: whether it is a restore that puts data in; nobody else works on what is not whole.
        :raises ValueError: for a service name that is not a plain identifier.
        """
        if _SERVICE.fullmatch(service) is None:
            raise ValueError(f"{service!r} is not a service name")
        self._url = url
        self._setting = setting
        self._service = service
        self._role = role_of(service) if use_role else ""
        self._sets = tuple(sets)
        self._is_restore = is_restore

    async def grant(self, user: str) -> None:
        """Let a database user take the service's role: what the user that the service connects as needs, and nothing else.

        :raises MigrationError: where there is no such user, no role, or granting it is not allowed.
        """
        if not self._role:
            raise MigrationError("without roles (STYLOBATE_DATABASE_ROLES=false) there is nothing to grant")
        async with self._connection() as connection:
            try:
                await connection.execute(await _statement(connection, "grant %I to %I", self._role, user))
            except (asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedObjectError) as error:
                raise MigrationError(f"the role {self._role} cannot be granted to {user}: {error.args[0]}") from error

    async def upgrade(self, upto: Mapping[str, int] | None = None) -> list[str]:
        """Apply what is pending, each file in a transaction of its own, and return its names.

        Waits for a server that does not answer, and for another process that is at it.

        :param upto: by set the last number to apply, to take in data of an earlier release; a set that is not named is left out.

        :raises MigrationError: when an applied file was changed, or a new one would come before it.
        :raises asyncpg.PostgresError: when a file fails; what came before it stays applied.
        """
        files_by_set = {
            part.name: [file for file in part.load() if upto is None or file.number <= upto.get(part.name, 0)]
            for part in self._sets
        }
        async with self._connection() as connection:
            await connection.execute(LOCK, lock_of(self._service))
            await self._refuse_unfinished(connection)  # while this one waited, a restore may have begun
            try:
                await self._prepare(connection)
                pending = [file for name, have in files_by_set.items() for file in await _pending(connection, name, have)]
                for file in pending:
                    await self._apply(connection, file)
            except asyncpg.InsufficientPrivilegeError as error:
                user = await connection.fetchval("select session_user")
                raise MigrationError(f"{user} may not bring the schema {self._service} up to date: {error.args[0]}") from error
            return [str(file) for file in pending]

    async def pending(self) -> list[str]:
        """Return the names of what upgrade would apply, as the service's own role sees it.

        :raises MigrationError: as upgrade does, and where the user may not take the role or look into the schema.
        """
        async with self._connection() as connection:
            await self._look_as_the_service(connection)
            await connection.execute("select set_config('search_path', quote_ident($1), false)", self._service)
            if await connection.fetchval("select to_regclass('migration')") is None:
                return [str(file) for part in self._sets for file in part.load()]
            pending = [str(file) for part in self._sets for file in await _pending(connection, part.name, part.load())]
            await self._refuse_unfinished(connection)  # afterwards: what was seen may be of a restore that has just begun
            return pending

    async def _refuse_unfinished(self, connection: asyncpg.Connection) -> None:
        if not self._is_restore and await is_unfinished(connection):
            raise MigrationError(f"database {hosts(self._url)}: {UNFINISHED}")

    async def _look_as_the_service(self, connection: asyncpg.Connection) -> None:
        user = await connection.fetchval("select current_user")
        if self._role and await connection.fetchval("select exists (select from pg_roles where rolname = $1)", self._role):
            if not await connection.fetchval(_MAY_TAKE_ROLE, self._role):
                raise MigrationError(
                    f"{user} may not take role {self._role}; the owner lets it: "
                    f"`stylobate db upgrade --grant-to {self._service}={user}`"
                )
            await connection.execute("select set_config('role', $1, false)", self._role)
        if await connection.fetchval(_MAY_NOT_LOOK, self._service):
            raise MigrationError(f"{user} may not look into the schema {self._service}: it belongs to another user")

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:

        async def connect() -> asyncpg.Connection:
            with refusals(self._setting, self._url):
                return await asyncpg.connect(seeking(self._url, read_only=False), timeout=5)

        what = f"database {hosts(self._url)} for migrations of {self._service}"
        try:
            connection = await wait_for_dependency(what, connect, faults=LOST)
        except asyncpg.PostgresError as error:  # waiting does not help
            raise MigrationError(f"database {hosts(self._url)}: {error.args[0]}") from error
        try:
            await self._refuse_unfinished(connection)
            yield connection
        finally:
            await connection.close()  # and with it the lock

    async def _prepare(self, connection: asyncpg.Connection) -> None:
        try:
            if self._role:
                await self._prepare_role(connection)
            if not await connection.fetchval("select exists (select from pg_namespace where nspname = $1)", self._service):
                owner = self._role or await connection.fetchval("select current_user")
                await connection.execute(await _statement(connection, "create schema %I authorization %I", self._service, owner))
        except asyncpg.InsufficientPrivilegeError as error:
            raise MigrationError(
                f"the user of the database URL may not make the schema {self._service} and its role ({error.args[0]}); let it "
                "(CREATEROLE, and CREATE on the database), or make them beforehand"
            ) from error
        await connection.execute("select set_config('search_path', quote_ident($1), false)", self._service)
        if self._role:
            await connection.execute("select set_config('role', $1, false)", self._role)
        await connection.execute(_CREATE_TABLE)

    async def _prepare_role(self, connection: asyncpg.Connection) -> None:
        if not await connection.fetchval("select exists (select from pg_roles where rolname = $1)", self._role):
            await connection.execute(await _statement(connection, _CREATE_ROLE, self._role))
        if not await connection.fetchval(_MAY_TAKE_ROLE, self._role):
            await connection.execute(await _statement(connection, "grant %I to current_user", self._role))

    async def _apply(self, connection: asyncpg.Connection, file: Migration) -> None:
        async with connection.transaction():
            await connection.execute("set local lock_timeout = '10s'")  # rather fail than make every caller queue behind us
            await connection.execute(file.sql)
            await connection.execute(
                "insert into migration (set, number, name, checksum) values ($1, $2, $3, $4)",
                *(file.set, file.number, file.name, file.checksum),
            )


def lock_of(service: str) -> str:
    """Return the name of the lock that is held while the schema of a service is brought up to date; see :data:`LOCK`."""
    return f"stylobate.migrations.{service}"


def role_of(service: str) -> str:
    """Return the role that owns a service's schema."""
    return f"stylobate_{service}"


async def _pending(connection: asyncpg.Connection, name: str, have: Sequence[Migration]) -> list[Migration]:
    rows = await connection.fetch("select number, name, checksum from migration where set = $1", name)
    applied = {row["number"]: row for row in rows}
    pending = [file for file in have if file.number not in applied]
    for file in have:
        if file.number in applied and applied[file.number]["checksum"] != file.checksum:
            raise MigrationError(f"{file} was changed after it was applied; restore it and put the change into a new file")
    if pending and applied and pending[0].number < max(applied):
        raise MigrationError(f"{pending[0]} comes before {name}/{max(applied):04d}, which is applied; give it the next number")
    return pending


async def _statement(connection: asyncpg.Connection, pattern: str, *names: str) -> str:
    """Return a statement with identifiers put in and quoted by the server."""
    text: str = await connection.fetchval("select format($1, variadic $2::text[])", pattern, list(names))
    return text
