"""Everything in this process's memory: for tests of the managers. One transaction at a time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Self

from stylobate.audit import AuditRecord
from stylobate.database.memory import MemoryTransaction
from stylobate.idempotency import Claim, IdempotencyLedger, KeyTakenError
from stylobate.idempotency.memory import MemoryIdempotencyLedger
from stylobate.outbox import Event, Outbox
from stylobate.outbox.memory import MemoryEventLog
from stylobate_auth.api_key import NewApiKey
from stylobate_auth.errors import EmailTakenError
from stylobate_auth.failed_login import FailedLogins
from stylobate_auth.grant import Grant
from stylobate_auth.mail.kinds import MailKind
from stylobate_auth.model import (
    Account,
    Credentials,
    NewAccount,
    NewMail,
    Revocation,
    RevocationKind,
    RevocationPage,
    Session,
    SessionEnd,
    UsedMailToken,
)
from stylobate_auth.refresh_token import RefreshToken
from stylobate_auth.role import HeldRole
from stylobate_auth.role_book import DefinedRole
from stylobate_auth.service_account import ServiceAccount
from stylobate_auth.signing_key import SigningKey
from stylobate_auth.user import UserDeletion

from .memory_api_keys import MemoryApiKeyChanges, MemoryApiKeys
from .memory_failed_logins import MemoryFailedLoginChanges, MemoryFailedLoginCounts
from .memory_first_admin import MemoryFirstAdminChanges, MemoryFirstAdmins
from .memory_grants import MemoryGrantChanges, MemoryGrants
from .memory_kept_data import MemoryKeptData
from .memory_mails import MailRow, MemoryMailQueue, is_good
from .memory_refresh import MemoryRefreshChanges, MemoryRefreshTokens, TokenRow
from .memory_roles import MemoryRoleChanges, MemoryRoles
from .memory_service_accounts import MemoryServiceAccountChanges, MemoryServiceAccounts
from .memory_signing_keys import MemorySigningKeyChanges, MemorySigningKeys
from .memory_users import MemoryUserChanges, MemoryUsers

_Key = tuple[str, str]


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass
class _Tables:
    """All rows, in insertion order."""

    accounts: dict[_Key, NewAccount] = field(default_factory=dict)
    emails: dict[_Key, str] = field(default_factory=dict)
    sessions: dict[_Key, Session] = field(default_factory=dict)
    tokens: dict[tuple[str, bytes], TokenRow] = field(default_factory=dict)
    secrets: dict[_Key, bytes] = field(default_factory=dict)
    revocations: dict[tuple[str, int, str], tuple[Revocation, datetime]] = field(default_factory=dict)
    places: dict[tuple[str, str, str], datetime] = field(default_factory=dict)
    defined: dict[_Key, DefinedRole] = field(default_factory=dict)
    held: dict[tuple[str, str, str], HeldRole] = field(default_factory=dict)
    grants: dict[tuple[str, str, str, str], Grant] = field(default_factory=dict)
    service_accounts: dict[_Key, ServiceAccount] = field(default_factory=dict)
    api_keys: dict[_Key, NewApiKey] = field(default_factory=dict)
    invitations: dict[str, tuple[bytes, datetime]] = field(default_factory=dict)
    assertions: dict[tuple[str, str, bytes], datetime] = field(default_factory=dict)
    signing_keys: dict[str, SigningKey] = field(default_factory=dict)
    issuers: dict[str, datetime] = field(default_factory=dict)
    new_emails: dict[_Key, tuple[str, str]] = field(default_factory=dict)
    old_emails: dict[_Key, str] = field(default_factory=dict)
    mails: dict[_Key, MailRow] = field(default_factory=dict)
    failed: dict[_Key, tuple[FailedLogins, datetime]] = field(default_factory=dict)
    deletions: dict[_Key, tuple[UserDeletion, datetime | None]] = field(default_factory=dict)
    records: list[AuditRecord] = field(default_factory=list)
    access_version: int = 1
    roles_digest: str = ""

    def copy(self) -> Self:
        """Return tables that can change without these."""
        tables = copy(self)
        for name, value in vars(self).items():
            if isinstance(value, (dict, list)):
                setattr(tables, name, value.copy())
        return tables


class MemoryAuthTransaction(
    MemoryApiKeyChanges,
    MemoryFailedLoginChanges,
    MemoryFirstAdminChanges,
    MemoryGrantChanges,
    MemoryRefreshChanges,
    MemoryRoleChanges,
    MemoryServiceAccountChanges,
    MemorySigningKeyChanges,
    MemoryUserChanges,
):
    """Works on a copy of the tables."""

    def __init__(
        self,
        tables: _Tables,
        clock: Callable[[], datetime],
        ledger: IdempotencyLedger[MemoryTransaction],
        outbox: Outbox[MemoryTransaction],
        inner: MemoryTransaction,
    ) -> None:
        self.tables = tables
        self._clock = clock
        self._ledger = ledger
        self._outbox = outbox
        self._inner = inner
        self.revokes = False

    async def claim(self, claim: Claim | None) -> None:
        """See the port."""
        if claim is not None and not (await self._ledger.claim(self._inner, [claim]))[0]:
            raise KeyTakenError

    async def answer(self, claim: Claim | None, result: object) -> None:
        """See the port."""
        if claim is not None:
            await self._ledger.answer(self._inner, [(claim, result)])

    async def add_account(self, new: NewAccount) -> None:
        """See the port."""
        tenant = new.account.tenant
        if (tenant, new.email_key) in self.tables.emails:
            raise EmailTakenError
        self.tables.emails[tenant, new.email_key] = new.account.id
        self.tables.accounts[tenant, new.account.id] = new

    async def hold_password_hash(self, tenant: str, account_id: str, old: str, new: str) -> bool:
        """See the port."""
        row = self.tables.accounts.get((tenant, account_id))
        if row is None or row.password_hash != old or row.account.disabled_at is not None:
            return False
        self.tables.accounts[tenant, account_id] = replace(row, password_hash=new)
        return True

    async def account(self, tenant: str, account_id: str) -> Account | None:
        """See the port."""
        row = self.tables.accounts.get((tenant, account_id))
        return row.account if row is not None else None

    async def remember_place(self, tenant: str, account_id: str, place: str, until: datetime) -> None:
        """See the port."""
        key = (tenant, account_id, place)
        self.tables.places[key] = max(until, self.tables.places.get(key, until))

    async def open_session(self, session: Session, token: RefreshToken) -> None:
        """See the port."""
        self.tables.sessions[session.tenant, session.id] = session
        self.tables.tokens[session.tenant, token.hash] = TokenRow(token, session.id)

    async def end_session(self, tenant: str, session_id: str, end: SessionEnd, at: datetime) -> Session | None:
        """See the port."""
        session = self.tables.sessions.get((tenant, session_id))
        if session is None or session.ended_at is not None:
            return None
        ended = self.tables.sessions[tenant, session_id] = replace(session, ended_at=at, end=end)
        return ended

    async def end_sessions(self, tenant: str, account_id: str, but: str, end: SessionEnd, at: datetime) -> list[Session]:
        """See the port."""
        found = [
            session
            for session in self.tables.sessions.values()
            if (session.tenant, session.account_id) == (tenant, account_id) and session.id != but and session.is_alive(at)
        ]
        return [ended for session in found if (ended := await self.end_session(tenant, session.id, end, at)) is not None]

    async def revoke(self, *revocations: Revocation) -> None:
        """See the port."""
        for revocation in revocations:
            known = self.tables.revocations.get(revocation.key)
            kept = revocation if known is None else _later(known[0], revocation)
            self.tables.revocations[revocation.key] = (kept, self._clock())
            self.revokes = True

    async def replace_password_hash(self, tenant: str, account_id: str, new: str) -> None:
        """See the port."""
        row = self.tables.accounts[tenant, account_id]
        self.tables.accounts[tenant, account_id] = replace(row, password_hash=new)

    async def hold_account(self, tenant: str, account_id: str) -> Account | None:
        """See the port; the transaction holds everything anyway."""
        return await self.account(tenant, account_id)

    async def rename(self, tenant: str, account_id: str, display_name: str) -> None:
        """See the port."""
        row = self.tables.accounts[tenant, account_id]
        self.tables.accounts[tenant, account_id] = replace(row, account=replace(row.account, display_name=display_name))

    async def keep_new_email(self, tenant: str, account_id: str, email: str, email_key: str) -> None:
        """See the port."""
        self.tables.new_emails[tenant, account_id] = (email, email_key)

    async def take_new_email(self, tenant: str, account_id: str, *, keeps_old: bool = True) -> None:
        """See the port."""
        row = self.tables.accounts[tenant, account_id]
        email, key = self.tables.new_emails.pop((tenant, account_id), ("", ""))
        if not email or self.tables.emails.get((tenant, key), account_id) != account_id:
            raise EmailTakenError
        self.tables.old_emails.pop((tenant, account_id), None)
        if keeps_old:
            self.tables.old_emails[tenant, account_id] = row.account.email
        del self.tables.emails[tenant, row.email_key]
        self.tables.emails[tenant, key] = account_id
        account = replace(row.account, email=email, email_verified=True)
        self.tables.accounts[tenant, account_id] = replace(row, account=account, email_key=key, must_verify=False)

    async def add_mail(self, mail: NewMail) -> None:
        """See the port."""
        self.tables.mails[mail.tenant, mail.id] = MailRow(mail, mail.asked_at if mail.account_id else None)

    async def use_mail_token(
        self, tenant: str, token_hash: bytes, kinds: Sequence[MailKind], now: datetime
    ) -> UsedMailToken | None:
        """See the port."""
        for key, row in self.tables.mails.items():
            if is_good(row, tenant, token_hash, kinds, now):
                self.tables.mails[key] = replace(row, used_at=now)
                return UsedMailToken(row.mail.account_id or "", row.mail.kind)
        return None

    async def void_mail_tokens(self, tenant: str, account_id: str, kinds: Sequence[MailKind], now: datetime) -> None:
        """See the port."""
        for key, row in self.tables.mails.items():
            if (row.mail.tenant, row.mail.account_id) == (tenant, account_id) and row.mail.kind in kinds and row.used_at is None:
                self.tables.mails[key] = replace(row, used_at=now, due_at=None)

    async def prove_email(self, tenant: str, account_id: str) -> None:
        """See the port."""
        row = self.tables.accounts[tenant, account_id]
        self.tables.accounts[tenant, account_id] = replace(
            row, account=replace(row.account, email_verified=True), must_verify=False
        )

    async def emit(self, *events: Event) -> None:
        """See the port."""
        if events:
            await self._outbox.append(self._inner, events, stream="user")

    async def record(self, *records: AuditRecord) -> None:
        """See the port."""
        self.tables.records.extend(records)


class MemoryAuthStore(
    MemoryApiKeys,
    MemoryFailedLoginCounts,
    MemoryFirstAdmins,
    MemoryGrants,
    MemoryKeptData,
    MemoryRefreshTokens,
    MemoryRoles,
    MemoryServiceAccounts,
    MemorySigningKeys,
    MemoryUsers,
):
    """The port in memory. ``events`` and ``records`` are what was committed.

    :param clock: stands in for the database's.
    """

    def __init__(self, clock: Callable[[], datetime] = _now) -> None:
        self._tables = _Tables()
        self._clock = clock
        self.ledger = MemoryIdempotencyLedger()
        """The answers of changes with an idempotency key."""
        self._log = MemoryEventLog("auth", clock)
        self._lock = asyncio.Lock()
        self._callbacks: list[Callable[[], None]] = []

    @property
    def events(self) -> list[Event]:
        """Every event, in the order of commits."""
        return self._log.written

    @property
    def records(self) -> list[AuditRecord]:
        """Every audit record."""
        return self._tables.records

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[MemoryAuthTransaction]:
        """See the port."""
        async with self._lock, MemoryTransaction.begin() as inner:
            transaction = MemoryAuthTransaction(self._tables.copy(), self._clock, self.ledger, self._log, inner)
            yield transaction
            self._tables = transaction.tables
        if transaction.revokes:
            self._tell()

    async def account(self, tenant: str, account_id: str) -> Account | None:
        """See the port."""
        row = self._tables.accounts.get((tenant, account_id))
        return row.account if row is not None else None

    async def credentials(self, tenant: str, email_key: str, place: str, now: datetime) -> Credentials | None:
        """See the port."""
        account_id = self._tables.emails.get((tenant, email_key))
        if account_id is None:
            return None
        row = self._tables.accounts[tenant, account_id]
        until = self._tables.places.get((tenant, account_id, place), now)
        return Credentials(row.account, row.password_hash, row.must_verify, until > now)

    async def credentials_of(self, tenant: str, account_id: str) -> Credentials | None:
        """See the port."""
        row = self._tables.accounts.get((tenant, account_id))
        return None if row is None else Credentials(row.account, row.password_hash, row.must_verify)

    async def session(self, tenant: str, session_id: str) -> Session | None:
        """See the port."""
        return self._tables.sessions.get((tenant, session_id))

    async def sessions(self, tenant: str, account_id: str, now: datetime, before: str, most: int) -> list[Session]:
        """See the port."""
        found = [
            session
            for session in self._tables.sessions.values()
            if (session.tenant, session.account_id) == (tenant, account_id)
            and session.is_alive(now)
            and (not before or session.id < before)
        ]
        return sorted(found, key=lambda session: session.id, reverse=True)[:most]

    async def announce_roles(self, digest: str) -> int:
        """See the port."""
        if self._tables.roles_digest != digest:
            self._tables.roles_digest = digest
            self._tables.access_version += 1
            self._tell()
        return self._tables.access_version

    async def revocations(self, since: datetime | None) -> RevocationPage:
        """See the port."""
        now = self._clock()
        entries = [
            entry
            for entry, changed_at in self._tables.revocations.values()
            if entry.expires_at > now and (since is None or changed_at >= since)
        ]
        return RevocationPage(entries, self._tables.access_version, now)

    @asynccontextmanager
    async def listen(self, callback: Callable[[], None]) -> AsyncIterator[None]:
        """See the port."""
        self._callbacks.append(callback)
        try:
            yield
        finally:
            self._callbacks.remove(callback)

    async def note(self, record: AuditRecord) -> None:
        """See the port."""
        self._tables.records.append(record)

    def mails(self) -> MemoryMailQueue:
        """See the port."""
        return MemoryMailQueue(self)

    async def now(self) -> datetime:
        """See the port."""
        return self._clock()

    async def prune(self, now: datetime) -> int:
        """See the port."""
        tables = self._tables
        sessions = [key for key, session in tables.sessions.items() if session.expires_at <= now]
        revocations = [key for key, (entry, _) in tables.revocations.items() if entry.expires_at <= now]
        mails = [key for key, row in tables.mails.items() if row.mail.expires_at <= now and row.due_at is None]
        for key in mails:
            del tables.mails[key]
        for key in sessions:
            del tables.sessions[key]
        places = [key for key, until in tables.places.items() if until <= now]
        for revocation in revocations:
            del tables.revocations[revocation]
        for place in places:
            del tables.places[place]
        tables.tokens = {key: row for key, row in tables.tokens.items() if (key[0], row.session_id) not in sessions}
        tokens = [key for key, row in tables.tokens.items() if row.token.expires_at <= now]
        for token in tokens:
            del tables.tokens[token]
        return len(sessions) + len(tokens) + len(revocations) + len(places) + len(mails) + self._prune_api_keys(now)

    def _tell(self) -> None:
        for callback in self._callbacks:
            callback()


def _later(known: Revocation, entry: Revocation) -> Revocation:
    """Return the entry with what is the later of both; a key that changed again did so later than before."""
    before, now = known.not_before, entry.not_before
    if before is not None and now is not None:
        now = max(before + timedelta(microseconds=entry.kind == RevocationKind.KEY_CHANGED), now)
    return replace(entry, expires_at=max(known.expires_at, entry.expires_at), not_before=now or before)
