"""The port to what auth keeps durably, and to the copies of sessions that may vanish.

Every method is one atomic step; what belongs together is done in a transaction, with its events and audit records. Rows
of one tenant are never seen or touched through another's. Any method raises DatabaseUnavailableError when the database
does not answer: a write may have happened then.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

from stylobate.audit import AuditRecord
from stylobate.idempotency import Claim
from stylobate.outbox import Event

from stylobate_auth.mail.kinds import MailKind
from stylobate_auth.model import (
    Account,
    Credentials,
    DueMail,
    NewAccount,
    NewMail,
    Revocation,
    RevocationPage,
    Session,
    SessionEnd,
    UsedMailToken,
)
from stylobate_auth.refresh_token import RefreshToken
from stylobate_auth.store.api_keys import ApiKeyChanges, ApiKeys
from stylobate_auth.store.failed_logins import FailedLoginChanges, FailedLoginCounts
from stylobate_auth.store.first_admin import FirstAdminChanges, FirstAdmins
from stylobate_auth.store.grants import GrantChanges, Grants
from stylobate_auth.store.kept_data import KeptData
from stylobate_auth.store.roles import RoleChanges, Roles
from stylobate_auth.store.service_accounts import ServiceAccountChanges, ServiceAccounts
from stylobate_auth.store.sessions import RefreshChanges, RefreshRotations
from stylobate_auth.store.signing_keys import SigningKeyChanges, SigningKeys
from stylobate_auth.store.users import UserChanges, Users


class AuthTransaction(
    ApiKeyChanges,
    FailedLoginChanges,
    FirstAdminChanges,
    GrantChanges,
    RefreshChanges,
    RoleChanges,
    ServiceAccountChanges,
    SigningKeyChanges,
    UserChanges,
    Protocol,
):
    """Changes that happen together when the context ends well, and not at all when it ends with an error."""

    async def claim(self, claim: Claim | None) -> None:
        """Take an idempotency key until the transaction ends, if there is one: before anything else. Raises KeyTakenError."""

    async def answer(self, claim: Claim | None, result: object) -> None:
        """Keep what the change results in under the key that was taken. Raises KeyTakenError."""

    async def add_account(self, new: NewAccount) -> None:
        """Add the account with its roles. Raises EmailTakenError, also when two come at the same moment."""

    async def hold_password_hash(self, tenant: str, account_id: str, old: str, new: str) -> bool:
        """Return whether the hash is still the old one and the account not disabled; then nobody changes either until the end.

        :param new: what it is replaced with; the same as the old one: it stays. Whoever replaces it waits for those who hold it,
            and they for who replaces it: no session is opened with a password after its sessions were ended.
        """

    async def account(self, tenant: str, account_id: str) -> Account | None:
        """Return an account as the transaction sees it."""

    async def remember_place(self, tenant: str, account_id: str, place: str, until: datetime) -> None:
        """Remember a place that logged in to the account; one that is known already is known for longer."""

    async def open_session(self, session: Session, token: RefreshToken) -> None:
        """Add a session with its first refresh token."""

    async def end_session(self, tenant: str, session_id: str, end: SessionEnd, at: datetime) -> Session | None:
        """End a session and return it as it is now; None when it is unknown or was over already."""

    async def end_sessions(self, tenant: str, account_id: str, but: str, end: SessionEnd, at: datetime) -> list[Session]:
        """End every session of an account that is alive, but the one of that id; return them as they are now."""

    async def revoke(self, *revocations: Revocation) -> None:
        """Add to the deny-list; an entry that is there already keeps the later of both expiries. Wakes whoever listens.

        That a key changed is said with a later time than before, also by who looked at the clock earlier: of two who change it
        at once the last one to be done is heard.
        """

    async def replace_password_hash(self, tenant: str, account_id: str, new: str) -> None:
        """Replace the hash whatever it is: by who proved the account otherwise."""

    async def hold_account(self, tenant: str, account_id: str) -> Account | None:
        """Return an account, held against others until the transaction ends; None: there is none.

        Whoever changes one, its roles or its mails does so first.
        """

    async def rename(self, tenant: str, account_id: str, display_name: str) -> None:
        """Give an account another name."""

    async def keep_new_email(self, tenant: str, account_id: str, email: str, email_key: str) -> None:
        """Keep an address that an account is to have once it is proven, in place of any other such."""

    async def take_new_email(self, tenant: str, account_id: str, *, keeps_old: bool = True) -> None:
        """Give an account the address that was kept for it, proven. Raises EmailTakenError: another account has it by now.

        :param keeps_old: the address that it had stays until a mail has told whoever reads it; else it is gone at once.
        """

    async def add_mail(self, mail: NewMail) -> None:
        """Write a mail that is sent once the transaction is committed, without fail."""

    async def use_mail_token(
        self, tenant: str, token_hash: bytes, kinds: Sequence[MailKind], now: datetime
    ) -> UsedMailToken | None:
        """Use the token of a mail of one of these kinds; None when it is unknown, was used or voided, or ended.

        Of several who use it at once one gets it.
        """

    async def void_mail_tokens(self, tenant: str, account_id: str, kinds: Sequence[MailKind], now: datetime) -> None:
        """Make the tokens of an account's mails of these kinds good for nothing; what is not sent yet will not be."""

    async def prove_email(self, tenant: str, account_id: str) -> None:
        """Remember that the account's address was proven."""

    async def emit(self, *events: Event) -> None:
        """Leave events in the outbox."""

    async def record(self, *records: AuditRecord) -> None:
        """Write audit records."""


class AuthStore(
    ApiKeys,
    FailedLoginCounts,
    FirstAdmins,
    Grants,
    KeptData,
    RefreshRotations,
    Roles,
    ServiceAccounts,
    SigningKeys,
    Users,
    Protocol,
):
    """Accounts, sessions, refresh tokens, API keys, roles held, grants, the deny-list."""

    def transaction(self) -> AbstractAsyncContextManager[AuthTransaction]:
        """Begin a transaction."""

    async def account(self, tenant: str, account_id: str) -> Account | None:
        """Return an account; None when there is none (also for an id that is not a UUID)."""

    async def credentials(self, tenant: str, email_key: str, place: str, now: datetime) -> Credentials | None:
        """Return the account of an address, as compared, with its password hash, and whether it knows the place now."""

    async def credentials_of(self, tenant: str, account_id: str) -> Credentials | None:
        """Return an account with its password hash; no place is asked about."""

    async def session(self, tenant: str, session_id: str) -> Session | None:
        """Return a session, also one that is over."""

    async def sessions(self, tenant: str, account_id: str, now: datetime, before: str, most: int) -> list[Session]:
        """Return sessions of an account that live, the newest first; ``before``: only ones older than that id, empty: all."""

    async def announce_roles(self, digest: str) -> int:
        """Say what the roles mean now; return the access version, raised by one if the digest is another than before."""

    async def revocations(self, since: datetime | None) -> RevocationPage:
        """Return the deny-list as far as it is in force.

        :param since: ``as_of`` of an earlier page: what was added after it is in this one, more may be. None: everything.
        """

    def listen(self, callback: Callable[[], None]) -> AbstractAsyncContextManager[None]:
        """While the context lasts, call back soon after revocations or the access version changed, here or elsewhere.

        It may call too often, and it may miss: who must know looks by itself as well.
        """

    async def note(self, record: AuditRecord) -> None:
        """Leave an audit record of something that changed nothing, written soon."""

    def mails(self) -> "MailQueue":
        """Return the mails of this store."""

    async def now(self) -> datetime:
        """Return the time by the database's clock."""

    async def prune(self, now: datetime) -> int:
        """Remove a bounded number of sessions, refresh tokens, revocations, places, mails and API keys that are over.

        Return how many.

        :param now: by :meth:`now`: a process whose clock is ahead must not remove what others still use.
        """


class MailQueue(Protocol):
    """Mails that were committed with what caused them."""

    async def take(self, now: datetime, until: datetime, most: int) -> list[DueMail]:
        """Return mails that are due, and make them due again at ``until``.

        Who takes them has until then, and nobody else gets them meanwhile; when it is killed another one takes them.
        """

    async def done(self, mail: DueMail) -> None:
        """Remember that a mail was handed over, or given up."""

    async def delay(self, mail: DueMail, until: datetime) -> None:
        """Try a mail again later."""

    async def holder(self, tenant: str, token_hash: bytes, kinds: Sequence[MailKind], now: datetime) -> str | None:
        """Return whose account a token that could be used now is about; None for any other."""


class SessionCopies(Protocol):
    """Copies of sessions that make reading one cheap. They may vanish, and a failing server is as good as an empty one."""

    async def get(self, tenant: str, session_id: str) -> Session | None:
        """Return the copy; None when there is none."""

    async def put(self, session: Session) -> None:
        """Keep a copy of a session that was just changed, in place of any other."""

    async def add(self, session: Session) -> None:
        """Keep a copy of a session that was just read, unless there is one: it may be newer."""
