"""Changes in PostgreSQL, together with their events and audit records."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
from stylobate.audit import AuditRecord, AuditTrail
from stylobate.database import Connection
from stylobate.idempotency import Claim, IdempotencyLedger, KeyTakenError
from stylobate.outbox import Event, Outbox

from stylobate_auth.account_input import email_key as email_key_of
from stylobate_auth.account_sealing import ADDRESS, NAME, AccountSealing
from stylobate_auth.errors import EmailTakenError
from stylobate_auth.mail.kinds import MailKind
from stylobate_auth.model import Account, NewAccount, NewMail, Revocation, Session, SessionEnd, UsedMailToken
from stylobate_auth.refresh_token import RefreshToken
from stylobate_auth.store.postgres.api_keys import PostgresApiKeyChanges
from stylobate_auth.store.postgres.failed_logins import PostgresFailedLoginChanges
from stylobate_auth.store.postgres.first_admin import PostgresFirstAdminChanges
from stylobate_auth.store.postgres.grants import PostgresGrantChanges
from stylobate_auth.store.postgres.refresh import PostgresRefreshChanges
from stylobate_auth.store.postgres.roles import PostgresRoleChanges
from stylobate_auth.store.postgres.rows import ACCOUNT_BY_ID, account_of, session_of
from stylobate_auth.store.postgres.service_accounts import PostgresServiceAccountChanges
from stylobate_auth.store.postgres.signing_keys import PostgresSigningKeyChanges
from stylobate_auth.store.postgres.users import PostgresUserChanges
from stylobate_auth.uuids import uuid_of

CHANGES = "auth_changes"
"""Notified with every commit that changes the deny-list or the access version."""

_STREAM = "user"
# No violation of the constraint: the server would write the address into its own log.
_ADD_ACCOUNT = """
insert into account (tenant, id, email, email_key, display_name, email_verified, password_hash, created_at, must_verify)
select $1::text, $2::uuid, $3::text, $4::text, $5::text, $6::boolean, $7::text, $8::timestamptz, $9::boolean
where not exists (select from account known where known.tenant = $1 and known.email_key = any ($10::text[]))
on conflict on constraint account_email do nothing
returning true
"""
_ADD_ROLES = "insert into account_role (tenant, account_id, role) select $1, $2, role from unnest($3::text[]) as r (role)"
_REPLACE_HASH = """
update account set password_hash = $4 where tenant = $1 and id = $2 and password_hash = $3 and disabled_at is null
returning true
"""
_HOLD_HASH = """
select true from account where tenant = $1 and id = $2 and password_hash = $3 and disabled_at is null for share
"""
_REMEMBER_PLACE = """
insert into login_place as known (tenant, account_id, place, expires_at) values ($1, $2, $3, $4)
on conflict (tenant, account_id, place) do update set expires_at = greatest(known.expires_at, excluded.expires_at)
"""
_OPEN_SESSION = """
with opened as (
    insert into session (tenant, id, account_id, opened_at, expires_at, token_expires_at, address, agent, seen_at)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
)
insert into refresh_token (tenant, hash, session_id, issued_at, expires_at) values ($1, $10, $2, $11, $12)
"""
_END_SESSION = """
update session set ended_at = $3, end_reason = $4 where tenant = $1 and id = $2 and ended_at is null
returning *
"""
# In the order of their ids, as refreshes hold them.
_END_SESSIONS = """
with held as materialized (
    select tenant, id from session
    where tenant = $1 and account_id = $2 and id is distinct from $3 and ended_at is null and expires_at > $4
    order by tenant, id for update
)
update session s set ended_at = $4, end_reason = $5 from held h where s.tenant = h.tenant and s.id = h.id
returning s.*
"""
_SET_HASH = "update account set password_hash = $3 where tenant = $1 and id = $2"
_HOLD_ACCOUNT = f"{ACCOUNT_BY_ID} for update"
_RENAME = "update account set display_name = $3 where tenant = $1 and id = $2"
_KEEP_NEW_EMAIL = "update account set new_email = $3, new_email_key = $4 where tenant = $1 and id = $2"
_NEW_EMAIL = "select new_email from account where tenant = $1 and id = $2 for update"
_TAKE_NEW_EMAIL = """
update account a
set old_email = case when $5 then email end, email = new_email, email_key = $3, new_email = null, new_email_key = null,
    email_verified = true, must_verify = false
where tenant = $1 and id = $2 and new_email is not null
  and not exists (select from account b where b.tenant = a.tenant and b.email_key = any ($4::text[]) and b.id <> a.id)
returning true
"""
_ADD_MAIL = """
insert into mail (tenant, id, account_id, kind, token_hash, asked_at, expires_at, due_at) values ($1, $2, $3, $4, $5, $6, $7, $8)
"""
_USE_MAIL = """
update mail set used_at = $4
where tenant = $1 and token_hash = $2 and kind = any ($3::text[])
  and used_at is null and expires_at > $4 and account_id is not null
returning account_id::text, kind
"""
_VOID_MAILS = """
update mail set used_at = $4, due_at = null
where tenant = $1 and account_id = $2 and kind = any ($3::text[]) and used_at is null
"""
_PROVE_EMAIL = "update account set email_verified = true, must_verify = false where tenant = $1 and id = $2"
_REVOKE = """
insert into revocation as known (tenant, kind, id, not_before, expires_at) values ($1, $2, $3, $4, $5)
on conflict (tenant, kind, id) do update
set expires_at = greatest(known.expires_at, excluded.expires_at),
    not_before = greatest(
        known.not_before + case when known.kind = 5 then interval '1 microsecond' else interval '0' end, excluded.not_before
    ),
    changed_at = now()
"""
"""A key that changed (kind 5) did so later than it is known to have, whatever the clocks say of those who change it at once."""


class PostgresAuthTransaction(
    PostgresApiKeyChanges,
    PostgresFailedLoginChanges,
    PostgresFirstAdminChanges,
    PostgresGrantChanges,
    PostgresRefreshChanges,
    PostgresRoleChanges,
    PostgresServiceAccountChanges,
    PostgresSigningKeyChanges,
    PostgresUserChanges,
):
    """The port's transaction on a connection inside one."""

    def __init__(
        self,
        connection: Connection,
        outbox: Outbox[Connection],
        audit: AuditTrail[Connection],
        ledger: IdempotencyLedger[Connection],
        sealing: AccountSealing,
    ) -> None:
        self.sealing = sealing
        self._connection = connection
        self._outbox = outbox
        self._audit = audit
        self._ledger = ledger
        self._revoked = False
        self._changes_access = False
        self.emitted = False
        self.has_mail = False

    async def claim(self, claim: Claim | None) -> None:
        if claim is not None and not (await self._ledger.claim(self._connection, [claim]))[0]:
            raise KeyTakenError

    async def answer(self, claim: Claim | None, result: object) -> None:
        if claim is not None:
            await self._ledger.answer(self._connection, [(claim, result)])

    async def add_account(self, new: NewAccount) -> None:
        account = new.account
        key, sealed = UUID(account.id), self.sealing.sealed
        email_key, *others = await self.sealing.indexes(account.tenant, new.email_key)
        added = await self._connection.fetchval(
            _ADD_ACCOUNT,
            account.tenant,
            key,
            await sealed(account.tenant, account.id, ADDRESS, account.email),
            email_key,
            await sealed(account.tenant, account.id, NAME, account.display_name),
            account.email_verified,
            new.password_hash,
            account.created_at,
            new.must_verify,
            others,
        )
        if added is None:
            raise EmailTakenError
        await self._connection.execute(_ADD_ROLES, account.tenant, key, list(account.roles))

    async def hold_password_hash(self, tenant: str, account_id: str, old: str, new: str) -> bool:
        key = UUID(account_id)
        if old == new:
            return await self._connection.fetchval(_HOLD_HASH, tenant, key, old) is not None
        return await self._connection.fetchval(_REPLACE_HASH, tenant, key, old, new) is not None

    async def account(self, tenant: str, account_id: str) -> Account | None:
        row = await self._connection.fetchrow(ACCOUNT_BY_ID, tenant, UUID(account_id))
        return None if row is None else await account_of(row, self.sealing)

    async def remember_place(self, tenant: str, account_id: str, place: str, until: datetime) -> None:
        await self._connection.execute(_REMEMBER_PLACE, tenant, UUID(account_id), place, until)

    async def open_session(self, session: Session, token: RefreshToken) -> None:
        await self._connection.execute(
            _OPEN_SESSION,
            session.tenant,
            UUID(session.id),
            UUID(session.account_id),
            session.opened_at,
            session.expires_at,
            session.token_expires_at,
            session.address,
            session.agent,
            session.seen_at,
            token.hash,
            token.issued_at,
            token.expires_at,
        )

    async def end_session(self, tenant: str, session_id: str, end: SessionEnd, at: datetime) -> Session | None:
        row = await self._connection.fetchrow(_END_SESSION, tenant, UUID(session_id), at, end.value)
        return None if row is None else session_of(row)

    async def end_sessions(self, tenant: str, account_id: str, but: str, end: SessionEnd, at: datetime) -> list[Session]:
        kept = UUID(but) if but else None
        return [
            session_of(row) for row in await self._connection.fetch(_END_SESSIONS, tenant, UUID(account_id), kept, at, end.value)
        ]

    async def revoke(self, *revocations: Revocation) -> None:
        rows = [(entry.tenant, entry.kind, entry.id, entry.not_before, entry.expires_at) for entry in revocations]
        await self._connection.executemany(_REVOKE, rows)
        self._revoked = self._revoked or bool(rows)

    async def replace_password_hash(self, tenant: str, account_id: str, new: str) -> None:
        await self._connection.execute(_SET_HASH, tenant, UUID(account_id), new)

    async def hold_account(self, tenant: str, account_id: str) -> Account | None:
        key = uuid_of(account_id)
        row = None if key is None else await self._connection.fetchrow(_HOLD_ACCOUNT, tenant, key)
        return None if row is None else await account_of(row, self.sealing)

    async def rename(self, tenant: str, account_id: str, display_name: str) -> None:
        sealed = await self.sealing.sealed(tenant, account_id, NAME, display_name)
        await self._connection.execute(_RENAME, tenant, UUID(account_id), sealed)

    async def keep_new_email(self, tenant: str, account_id: str, email: str, email_key: str) -> None:
        sealed = await self.sealing.sealed(tenant, account_id, ADDRESS, email)
        index, *_ = await self.sealing.indexes(tenant, email_key)
        await self._connection.execute(_KEEP_NEW_EMAIL, tenant, UUID(account_id), sealed, index)

    async def take_new_email(self, tenant: str, account_id: str, *, keeps_old: bool = True) -> None:
        key = UUID(account_id)
        stored = await self._connection.fetchval(_NEW_EMAIL, tenant, key)
        if stored is None:
            raise EmailTakenError
        address = await self.sealing.opened(tenant, account_id, ADDRESS, stored)
        indexes = await self.sealing.indexes(tenant, email_key_of(address) or address)
        try:
            taken = await self._connection.fetchval(_TAKE_NEW_EMAIL, tenant, key, indexes[0], indexes, keeps_old)
        except asyncpg.UniqueViolationError:  # registered at this very moment
            raise EmailTakenError from None
        if taken is None:
            raise EmailTakenError

    async def add_mail(self, mail: NewMail) -> None:
        account = None if mail.account_id is None else UUID(mail.account_id)
        due = None if account is None else mail.asked_at
        values = (mail.kind.value, mail.token_hash, mail.asked_at, mail.expires_at, due)
        await self._connection.execute(_ADD_MAIL, mail.tenant, UUID(mail.id), account, *values)
        self.has_mail = True

    async def use_mail_token(
        self, tenant: str, token_hash: bytes, kinds: Sequence[MailKind], now: datetime
    ) -> UsedMailToken | None:
        row = await self._connection.fetchrow(_USE_MAIL, tenant, token_hash, [kind.value for kind in kinds], now)
        return None if row is None else UsedMailToken(row["account_id"], MailKind(row["kind"]))

    async def void_mail_tokens(self, tenant: str, account_id: str, kinds: Sequence[MailKind], now: datetime) -> None:
        await self._connection.execute(_VOID_MAILS, tenant, UUID(account_id), [kind.value for kind in kinds], now)

    async def prove_email(self, tenant: str, account_id: str) -> None:
        await self._connection.execute(_PROVE_EMAIL, tenant, UUID(account_id))

    async def emit(self, *events: Event) -> None:
        if events:
            await self._outbox.append(self._connection, events, stream=_STREAM)
            self.emitted = True

    async def record(self, *records: AuditRecord) -> None:
        await self._audit.record(self._connection, *records)

    async def flush(self) -> None:
        """Do what belongs at the end of the transaction."""
        if self._changes_access:
            await self._raise_version()
        if self._revoked or self._changes_access:
            await self._connection.execute("select pg_notify($1, '')", CHANGES)
