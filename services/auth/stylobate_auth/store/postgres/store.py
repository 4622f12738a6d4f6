"""The port in PostgreSQL: its reads, and the look into the deny-list."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from uuid import UUID

from stylobate.audit import AuditRecord, AuditTrail
from stylobate.database import Connection, DatabaseManager
from stylobate.idempotency import IdempotencyLedger
from stylobate.outbox import Outbox

from stylobate_auth.account_sealing import NO_SEALING, AccountSealing
from stylobate_auth.model import Account, Credentials, Revocation, RevocationPage, Session
from stylobate_auth.store.postgres.account_texts import PostgresAccountTexts
from stylobate_auth.store.postgres.api_keys import PRUNE_API_KEYS, PRUNE_ASSERTIONS, PostgresApiKeys
from stylobate_auth.store.postgres.failed_logins import PostgresFailedLoginCounts
from stylobate_auth.store.postgres.first_admin import PRUNE_INVITATIONS, PostgresFirstAdmins
from stylobate_auth.store.postgres.grants import PostgresGrants
from stylobate_auth.store.postgres.kept_data import PostgresKeptData
from stylobate_auth.store.postgres.mail import PostgresMailQueue
from stylobate_auth.store.postgres.refresh import PRUNE_REFRESH_TOKENS, PostgresRefreshTokens
from stylobate_auth.store.postgres.roles import PostgresRoles
from stylobate_auth.store.postgres.rows import ACCOUNT_BY_ID, CREDENTIALS, account_of, session_of
from stylobate_auth.store.postgres.service_accounts import PostgresServiceAccounts
from stylobate_auth.store.postgres.signing_keys import PostgresSigningKeys
from stylobate_auth.store.postgres.transaction import CHANGES, PostgresAuthTransaction
from stylobate_auth.store.postgres.users import PostgresUsers
from stylobate_auth.uuids import uuid_of

# A transaction that began before a look may commit after it, with the time of its beginning in its rows. None lasts
# longer than a statement may take.
_LATE_COMMITS = timedelta(seconds=30)
_PRUNE_BATCH = 1000

_SESSIONS = """
select * from session
where tenant = $1 and account_id = $2 and ended_at is null and expires_at > $3 and ($4::uuid is null or id < $4)
order by id desc limit $5
"""
_ANNOUNCE = """
with changed as (
    update access_state set version = version + 1, roles_digest = $1 where roles_digest <> $1 returning version
)
select version, pg_notify($2, '') is null as told from changed
"""
# One snapshot: the time, the version and the entries fit together.
_LOOK = """
select s.version, now() as as_of, r.tenant, r.kind, r.id, r.not_before, r.expires_at
from access_state s
left join revocation r on r.expires_at > now() and ($1::timestamptz is null or r.changed_at >= $1)
"""
# What others hold is left for the next turn: two processes that remove the same rows in another order would wait for each other.
_PRUNE_SESSIONS = """
delete from session where (tenant, id) in (
    select tenant, id from session where expires_at <= $1 order by expires_at limit $2 for update skip locked
)
"""
_PRUNE_REVOCATIONS = """
delete from revocation where (tenant, kind, id) in (
    select tenant, kind, id from revocation where expires_at <= $1 order by expires_at limit $2 for update skip locked
)
"""
_PRUNE_PLACES = """
delete from login_place where (tenant, account_id, place) in (
    select tenant, account_id, place from login_place where expires_at <= $1 order by expires_at limit $2 for update skip locked
)
"""
_PRUNE_MAILS = """
delete from mail where (tenant, id) in (
    select tenant, id from mail where expires_at <= $1 and due_at is null order by expires_at limit $2 for update skip locked
)
"""


class PostgresAuthStore(
    PostgresAccountTexts,
    PostgresApiKeys,
    PostgresFailedLoginCounts,
    PostgresFirstAdmins,
    PostgresKeptData,
    PostgresGrants,
    PostgresRefreshTokens,
    PostgresRoles,
    PostgresServiceAccounts,
    PostgresSigningKeys,
    PostgresUsers,
):
    """The port on the service's own schema.

    :param outbox: gets the events.
    :param audit: gets the audit records.
    :param ledger: gets the answers of changes with an idempotency key.
    :param sealing: of addresses and names.
    :param on_events: called after a commit that held events (wakes the relay); ``on_mails``, of one that held mails.
    """

    def __init__(
        self,
        database: DatabaseManager,
        outbox: Outbox[Connection],
        audit: AuditTrail[Connection],
        ledger: IdempotencyLedger[Connection],
        *,
        on_events: Callable[[], None] = lambda: None,
        on_mails: Callable[[], None] = lambda: None,
        sealing: AccountSealing = NO_SEALING,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._audit = audit
        self._ledger = ledger
        self._on_events = on_events
        self._on_mails = on_mails
        self.sealing = sealing

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PostgresAuthTransaction]:
        async with self._database.transaction() as connection:
            transaction = PostgresAuthTransaction(connection, self._outbox, self._audit, self._ledger, self.sealing)
            yield transaction
            await transaction.flush()
        if transaction.emitted:
            self._on_events()
        if transaction.has_mail:
            self._on_mails()

    async def account(self, tenant: str, account_id: str) -> Account | None:
        key = uuid_of(account_id)
        row = None if key is None else await self._database.fetchrow(ACCOUNT_BY_ID, tenant, key)
        return None if row is None else await account_of(row, self.sealing)

    async def credentials(self, tenant: str, email_key: str, place: str, now: datetime) -> Credentials | None:
        if "\0" in email_key:
            return None  # PostgreSQL cannot hold it, so no account has it
        row = await self._database.fetchrow(CREDENTIALS, tenant, await self.sealing.indexes(tenant, email_key), place, now)
        if row is None:
            return None
        account = await account_of(row, self.sealing)
        return Credentials(account, row["password_hash"], row["must_verify"], row["is_known_place"])

    async def credentials_of(self, tenant: str, account_id: str) -> Credentials | None:
        row = await self._database.fetchrow(ACCOUNT_BY_ID, tenant, UUID(account_id))
        if row is None:
            return None
        return Credentials(await account_of(row, self.sealing), row["password_hash"], row["must_verify"])

    async def session(self, tenant: str, session_id: str) -> Session | None:
        key = uuid_of(session_id)
        if key is None:
            return None
        row = await self._database.fetchrow("select * from session where tenant = $1 and id = $2", tenant, key)
        return None if row is None else session_of(row)

    async def sessions(self, tenant: str, account_id: str, now: datetime, before: str, most: int) -> list[Session]:
        rows = await self._database.fetch(_SESSIONS, tenant, UUID(account_id), now, uuid_of(before), most)
        return [session_of(row) for row in rows]

    async def announce_roles(self, digest: str) -> int:
        version = await self._database.fetchval(_ANNOUNCE, digest, CHANGES)
        if version is None:
            version = await self._database.fetchval("select version from access_state")
        return int(version)

    async def revocations(self, since: datetime | None) -> RevocationPage:
        rows = await self._database.fetch(_LOOK, None if since is None else since - _LATE_COMMITS)
        entries = [
            Revocation(row["tenant"], row["kind"], row["id"], row["expires_at"], row["not_before"])
            for row in rows
            if row["id"] is not None
        ]
        return RevocationPage(entries, rows[0]["version"], rows[0]["as_of"])

    @asynccontextmanager
    async def listen(self, callback: Callable[[], None]) -> AsyncIterator[None]:
        listening = await self._database.listen(CHANGES, lambda _payload: callback())
        try:
            yield
        finally:
            await listening.close()

    async def note(self, record: AuditRecord) -> None:
        await self._audit.note(record)

    def mails(self) -> PostgresMailQueue:
        return PostgresMailQueue(self._database, self.sealing)

    async def now(self) -> datetime:
        found: datetime = await self._database.fetchval("select now()")
        return found

    async def prune(self, now: datetime) -> int:
        removed = 0
        for statement in (
            _PRUNE_SESSIONS,
            PRUNE_REFRESH_TOKENS,
            _PRUNE_REVOCATIONS,
            _PRUNE_PLACES,
            _PRUNE_MAILS,
            PRUNE_API_KEYS,
            PRUNE_ASSERTIONS,
            PRUNE_INVITATIONS,
        ):
            removed += int((await self._database.execute(statement, now, _PRUNE_BATCH)).rpartition(" ")[2])
        return removed
