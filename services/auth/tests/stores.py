"""Every store of auth, each as two processes have it, and what tests put into them."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from stylobate.audit import AuditRecord, AuditTrail
from stylobate.audit.mongodb import MongoAuditStore
from stylobate.audit.postgres import PostgresAuditStore
from stylobate.database import MigrationSet
from stylobate.database.mongodb import MongoManager
from stylobate.encryption import DataKeys, SecretKeyEncryption
from stylobate.encryption.mongodb import MongoDataKeyStore
from stylobate.encryption.postgres import PostgresDataKeyStore
from stylobate.idempotency.mongodb import MongoIdempotencyLedger
from stylobate.idempotency.postgres import PostgresIdempotencyLedger
from stylobate.ids import new_id
from stylobate.outbox import Event
from stylobate.outbox.mongodb import MongoOutbox
from stylobate.outbox.postgres import PostgresOutbox
from stylobate_auth.account_sealing import AccountSealing
from stylobate_auth.model import (
    Account,
    NewAccount,
    Revocation,
    RevocationKind,
    Session,
)
from stylobate_auth.refresh_token import RefreshToken, Rotation
from stylobate_auth.store.mongodb import MongoAuthStore
from stylobate_auth.store.postgres import PostgresAuthStore

from .memory_store import MemoryAuthStore

NOW = datetime.now(UTC).replace(microsecond=123_456)
SETS = (
    MigrationSet.of("outbox", "stylobate.outbox"),
    MigrationSet.of("idempotency", "stylobate.idempotency"),
    MigrationSet.of("audit", "stylobate.audit"),
    MigrationSet.of("encryption"),
    MigrationSet.of("auth", "stylobate_auth.store"),
)


def sealing(database: Any, **changes: Any) -> AccountSealing:
    """Return what seals accounts in a database, as each process of auth has it."""
    kept = MongoDataKeyStore(database) if isinstance(database, MongoManager) else PostgresDataKeyStore(database)
    return AccountSealing(DataKeys(kept, SecretKeyEncryption("s" * 40, purpose="test")), **changes)


class MemoryStores:
    """The memory store with what it committed beside it."""

    def __init__(self) -> None:
        self.store = MemoryAuthStore()
        self.other = self.store
        """The store as another process has it."""
        self.wakes = 0

    async def events(self) -> list[str]:
        """Return the types of the events, in order."""
        return [event.type for event in self.store.events]

    async def records(self) -> list[str]:
        """Return the actions of the audit records, in order."""
        return [record.action for record in self.store.records]


class _Stores:
    """A store of a database twice, on connections of its own each."""

    def __init__(self, databases: list[Any], trails: list[AuditTrail[Any]]) -> None:
        self.database = databases[0]
        self.wakes = 0
        self._trail = trails[0]
        self.store, self.other = (
            self._made(database, trail, on_events=self._wake, sealing=sealing(database))
            for database, trail in zip(databases, trails, strict=True)
        )

    def with_sealing(self, found: AccountSealing) -> Any:
        """Return the store as a process with another setting has it."""
        return self._made(self.database, self._trail, sealing=found)

    def _made(self, database: Any, trail: AuditTrail[Any], **options: Any) -> Any:
        raise NotImplementedError

    def _wake(self) -> None:
        self.wakes += 1


class PostgresStores(_Stores):
    """Those in PostgreSQL."""

    def _made(self, database: Any, trail: AuditTrail[Any], **options: Any) -> Any:
        return PostgresAuthStore(database, PostgresOutbox("auth"), trail, PostgresIdempotencyLedger(database), **options)

    async def events(self) -> list[str]:
        """Return the types of the events, in order."""
        return [row["type"] for row in await self.database.fetch("select type from outbox_event order by seq")]

    async def rows(self, query: str) -> list[Any]:
        """Return what a query finds."""
        return list(await self.database.fetch(query))

    async def records(self) -> list[str]:
        """Return the actions of the audit records, in order."""
        return [row["action"] for row in await self.database.fetch("select action from audit_record order by time, id")]


class MongoStores(_Stores):
    """Those in MongoDB."""

    def _made(self, database: Any, trail: AuditTrail[Any], **options: Any) -> Any:
        return MongoAuthStore(database, MongoOutbox("auth"), trail, MongoIdempotencyLedger(database), **options)

    def migration(self) -> list[dict[str, Any]]:
        """Return the commands of auth's migrations."""
        return [command for file in sorted((SETS[-1].folder / "mongodb").iterdir()) for command in json.loads(file.read_text())]

    async def events(self) -> list[str]:
        """Return the types of the events, in order."""
        return [event["type"] for event in await self.database.find("outbox_event", {}, sort=[("_id", 1)])]

    async def records(self) -> list[str]:
        """Return the actions of the audit records, in order."""
        return [record["action"] for record in await self.database.find("audit_record", {}, sort=[("time", 1), ("_id", 1)])]


@pytest.fixture
def memory() -> MemoryStores:
    """Return the memory store."""
    return MemoryStores()


@pytest.fixture
async def postgres(database_for: Any) -> AsyncIterator[PostgresStores]:
    """Return the PostgreSQL store."""
    databases = [await database_for("auth", *SETS) for _ in range(2)]
    async with (
        AuditTrail.open(PostgresAuditStore(databases[0]), "auth") as first,
        AuditTrail.open(PostgresAuditStore(databases[1]), "auth") as second,
    ):
        yield PostgresStores(databases, [first, second])


@pytest.fixture
async def mongodb(mongo_for: Any) -> AsyncIterator[MongoStores]:
    """Return the MongoDB store."""
    databases = [await mongo_for("auth", *SETS) for _ in range(2)]
    async with (
        AuditTrail.open(MongoAuditStore(databases[0]), "auth") as first,
        AuditTrail.open(MongoAuditStore(databases[1]), "auth") as second,
    ):
        yield MongoStores(databases, [first, second])


@pytest.fixture(params=["postgres", "mongodb"])
def durable(request: pytest.FixtureRequest) -> Any:
    """Return the store in each database."""
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["memory", "postgres", "mongodb"])
def bench(request: pytest.FixtureRequest) -> Any:
    """Return a store with its other process's view, its events and its records."""
    return request.getfixturevalue(request.param)


def new_account(email: str = "ada@example.com", tenant: str = "default", roles: tuple[str, ...] = ("user",)) -> NewAccount:
    """Return an account to be added."""
    account = Account(tenant, new_id(), email, "Ada", roles, False, NOW)
    return NewAccount(account, email, "$argon2id$hash")


def new_session(account: Account, **changes: Any) -> Session:
    """Return a session of an account, to be opened."""
    session = Session(account.tenant, new_id(), account.id, NOW, NOW + timedelta(days=30), NOW + timedelta(minutes=10))
    return replace(session, **changes)


def refresh_token(name: str = "first") -> RefreshToken:
    """Return a refresh token that holds for 30 days."""
    return RefreshToken(name.encode().ljust(32, b"."), NOW, NOW + timedelta(days=30))


async def add_account(store: Any, new: NewAccount, *, emit: bool = False) -> Account:
    """Add an account, with its event where that is asked for."""
    async with store.transaction() as transaction:
        if emit:
            await transaction.emit(registered(new.account))
        await transaction.add_account(new)
    return new.account


def registered(account: Account) -> Event:
    """Return the event of an account that was added."""
    return Event.new("auth.user.registered", account.id, {})


async def register(store: Any, new: NewAccount, *, fail: bool) -> None:
    """Add an account with all that goes with it; fail at the end where that is asked for."""
    async with store.transaction() as transaction:
        await transaction.add_account(new)
        await transaction.revoke(Revocation("default", RevocationKind.TOKEN, "token", NOW + timedelta(hours=1)))
        await transaction.emit(registered(new.account))
        await transaction.record(AuditRecord("auth.register"))
        if fail:
            raise RuntimeError


def rotation(session: Session, spent: str = "first", new: str = "second") -> Rotation:
    """Return the exchange of a refresh token."""
    return Rotation(session, refresh_token(spent), refresh_token(new), b"s" * 32)


def record() -> AuditRecord:
    """Return the audit record of a refresh."""
    return AuditRecord(action="auth.refresh", actor="u", target="session:s")


async def open_session(store: Any, session: Session, token: RefreshToken) -> None:
    """Open a session."""
    async with store.transaction() as transaction:
        await transaction.open_session(session, token)
