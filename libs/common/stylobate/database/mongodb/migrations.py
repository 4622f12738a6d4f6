"""Schema changes of MongoDB: numbered files of database commands beside the code that needs them, applied once, forward only.

MongoDB does not change its collections in transactions: a process that is killed half-way leaves a file half done, and it is done
again. So a file has only commands that may come twice: ``create``, ``collMod``, ``createIndexes``, ``insert`` of documents with
an ``_id``, ``update``.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from bson import json_util
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ConnectionFailure, OperationFailure
from pymongo.read_concern import ReadConcern

from stylobate.database.address import hosts
from stylobate.database.migrations import FILE, Migration, MigrationError, MigrationSet, role_of
from stylobate.database.mongodb.address import database_of, users_of
from stylobate.database.mongodb.locking import locked
from stylobate.database.mongodb.manager import client_of, user_of
from stylobate.database.mongodb.refusal import greet, is_about_rights, may_not
from stylobate.database.mongodb.signals import COLLECTION as SIGNAL
from stylobate.database.mongodb.statements import Document
from stylobate.database.mongodb.transaction import MAJORITY
from stylobate.database.mongodb.unfinished import UNFINISHED, is_unfinished
from stylobate.database.refusal import URL
from stylobate.resilience import wait_for_dependency

COMMANDS = ("create", "collMod", "createIndexes", "insert", "update", "delete", "dropIndexes")
"""What a file may say."""
LOCK = "migration_lock"
"""The collection that has the lock of whoever brings a database up to date; it may be there, and empty, in one that is new."""
_NEEDED = ("find", "insert", "update", "remove", "changeStream", "listCollections", "listIndexes", "collMod")
"""By a service that runs: it makes no collection and no index by a command. A validator of state is changed while it runs."""
_ROLE_IS_HERE = 51002
_HERE_ALREADY, _MAY_NOT, _NO_SUCH_INDEX, _DUPLICATE = 48, 13, 27, 11000


@dataclass(frozen=True, slots=True)
class MongoMigration(Migration):
    """One file; ``sql`` is its text."""

    def commands(self) -> list[dict[str, Any]]:
        """Return what it says. Raises MigrationError."""
        try:
            found: Any = json_util.loads(self.sql)
        except ValueError as error:
            raise MigrationError(f"{self}: is not JSON: {error}") from None
        if not isinstance(found, list):
            raise MigrationError(f"{self}: is not a list of commands")
        for command in found:
            if not isinstance(command, dict) or next(iter(command), "") not in COMMANDS:
                raise MigrationError(f"{self}: a command begins with one of {', '.join(COMMANDS)}")
        return found


def load(part: MigrationSet) -> list[Migration]:
    """Read a set's files for MongoDB in order. Raises MigrationError where it has none."""
    folder = part.folder / "mongodb"
    if not folder.is_dir():
        raise MigrationError(f"{part.name} does not run on MongoDB yet: it has no migrations for it")
    found: dict[int, Migration] = {}
    for file in sorted(folder.glob("*.json")):
        parts = FILE.fullmatch(f"{file.stem}.sql")
        if parts is None:
            raise MigrationError(f"{part.name}: {file.name} is not named like 0001_what_it_does.json")
        number = int(parts[1])
        if number in found:
            raise MigrationError(f"{part.name}: number {number:04d} comes twice: {found[number].name}, {parts[2]}")
        found[number] = MongoMigration(part.name, number, parts[2], file.read_text(encoding="utf-8"))
    return [found[number] for number in sorted(found)]


class MongoMigrator:
    """Brings the database of one service to what its code needs. Any number of processes may do it at once."""

    def __init__(
        self, url: str, service: str, sets: Sequence[MigrationSet], *, setting: str = URL, is_restore: bool = False
    ) -> None:
        """Describe the work.

        :param setting: that the URL comes from, for who must set it right.
        :param is_restore: whether it is a restore that puts data in; nobody else works on what is not whole.
        """
        self._is_restore = is_restore
        self._url = url
        self._setting = setting
        self._service = service
        self._name = database_of(url, service)
        self._sets = tuple(sets)

    async def grant(self, user: str) -> None:
        """Let a user do what the service needs while it runs, which is less than migrations need. Raises MigrationError.

        The role stands in the service's database, the user where ours does. Said again, the role gets what this release needs.
        """
        role = role_of(self._service)
        may = {"privileges": [{"resource": {"db": self._name, "collection": ""}, "actions": _NEEDED}], "roles": []}
        async with self._connected() as database:
            try:
                try:
                    await database.command({"createRole": role, **may})
                except OperationFailure as error:
                    if error.code != _ROLE_IS_HERE:
                        raise
                    await database.command({"grantPrivilegesToRole": role, "privileges": may["privileges"]})
                given = {"grantRolesToUser": user, "roles": [{"role": role, "db": self._name}]}
                await database.client.get_database(users_of(self._url)).command(given)
            except OperationFailure as error:
                said = str((error.details or {}).get("errmsg", error)).partition(" {")[0]
                needs = "the user needs userAdmin there: " if is_about_rights(error) else ""
                raise MigrationError(f"the role {role} of {self._name} cannot be granted to {user}: {needs}{said}") from error

    async def upgrade(self, upto: Mapping[str, int] | None = None) -> list[str]:
        """Apply what is pending and return its names; see Migrator. Raises MigrationError."""
        files = {
            part.name: [file for file in load(part) if upto is None or file.number <= upto.get(part.name, 0)]
            for part in self._sets
        }
        async with self._connected() as database, self._may(database), self._locked(database):
            if SIGNAL not in await database.list_collection_names():
                await _run(database, {"create": SIGNAL})
            applied = await _applied(database)
            pending = [file for name, have in files.items() for file in _pending(name, have, applied)]
            for file in pending:
                await _apply(database, file)
            return [str(file) for file in pending]

    async def pending(self) -> list[str]:
        """Return the names of what upgrade would apply. Raises MigrationError."""
        files = {part.name: load(part) for part in self._sets}
        async with self._connected() as database, self._may(database):
            await self._check_whole(database)
            applied = await _applied(database)
            return [str(file) for name, have in files.items() for file in _pending(name, have, applied)]

    @asynccontextmanager
    async def _locked(self, database: AsyncDatabase[Document]) -> AsyncIterator[None]:
        """Keep others out; nothing is written where a restore did not come to its end. Raises MigrationError."""
        await self._check_whole(database)
        async with locked(database, LOCK):
            await self._check_whole(database)  # a restore may have begun while somebody else was at it
            yield

    async def _check_whole(self, database: AsyncDatabase[Document]) -> None:
        if not self._is_restore and await is_unfinished(database):
            raise MigrationError(f"database {database.name} at {hosts(self._url)}: {UNFINISHED}")

    @asynccontextmanager
    async def _may(self, database: AsyncDatabase[Document]) -> AsyncIterator[None]:
        try:
            yield
        except OperationFailure as error:
            if error.code != _MAY_NOT:
                raise
            user = user_of(self._url) or "a URL without a user"
            raise MigrationError(f"{user} may not bring the database {database.name} up to date: {may_not(error)}") from error

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncDatabase[Document]]:
        client: AsyncMongoClient[Document] = client_of(self._url, f"stylobate-{self._service}-migrations", setting=self._setting)
        try:
            what = f"database {hosts(self._url)} for migrations of {self._service}"
            await wait_for_dependency(what, lambda: greet(client, self._setting, self._url), faults=(OSError, ConnectionFailure))
            yield client.get_database(self._name, write_concern=MAJORITY, read_concern=ReadConcern("majority"))
        finally:
            await client.close()


async def _applied(database: AsyncDatabase[Document]) -> dict[str, dict[int, str]]:
    found: dict[str, dict[int, str]] = {}
    async for row in database.get_collection("migration").find({}):
        found.setdefault(row["_id"]["set"], {})[row["_id"]["number"]] = row["checksum"]
    return found


def _pending(name: str, have: Sequence[Migration], everything: Mapping[str, Mapping[int, str]]) -> list[Migration]:
    applied = everything.get(name, {})
    pending = [file for file in have if file.number not in applied]
    for file in have:
        if file.number in applied and applied[file.number] != file.checksum:
            raise MigrationError(f"{file} was changed after it was applied; restore it and put the change into a new file")
    if pending and applied and pending[0].number < max(applied):
        raise MigrationError(f"{pending[0]} comes before {name}/{max(applied):04d}, which is applied; give it the next number")
    return pending


async def _apply(database: AsyncDatabase[Document], file: Migration) -> None:
    assert isinstance(file, MongoMigration)  # noqa: S101  `load` makes no others
    for command in file.commands():
        await _run(database, command)
    row = {"_id": {"set": file.set, "number": file.number}, "name": file.name, "checksum": file.checksum}
    await database.get_collection("migration").update_one(
        {"_id": row.pop("_id")}, [{"$set": {**row, "applied_at": "$$NOW"}}], upsert=True
    )


async def _run(database: AsyncDatabase[Document], command: Mapping[str, Any]) -> None:
    """Run one command; what it asks for may be there already."""
    kind = next(iter(command))
    try:
        done = await database.command({**command, "writeConcern": MAJORITY.document})
    except OperationFailure as error:
        if kind == "create" and error.code == _HERE_ALREADY:
            if rest := {name: command[name] for name in ("validator", "validationLevel") if name in command}:
                await database.command({"collMod": command["create"], **rest})
            return
        if kind == "dropIndexes" and error.code == _NO_SUCH_INDEX:
            return
        raise
    failed = [one for one in done.get("writeErrors", ()) if one["code"] != _DUPLICATE]
    if failed:
        raise MigrationError(f"{kind} {command[kind]}: {failed[0]['errmsg']}")
