"""People's accounts, for administrators: found, disabled, enabled, their sessions ended."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from stylobate.audit import AuditRecord
from stylobate.errors import Violation
from stylobate.idempotency import Claim
from stylobate.identity import Principal
from stylobate.outbox import Event
from stylobate.paging import no_token, page_position, page_size, page_token
from stylobate.rpc.call import Call

from stylobate_auth.access_manager import USER, AccessManager
from stylobate_auth.account_input import email_key
from stylobate_auth.api_key import BELIEVED_FOR, revocation_of
from stylobate_auth.errors import AccountUnknownError, AuthInvalidInputError, LastAdministratorError
from stylobate_auth.mail.kinds import MailKind
from stylobate_auth.model import CLOCKS_DIFFER, Account, Revocation, RevocationKind, Session, SessionEnd
from stylobate_auth.revocation_manager import RevocationManager
from stylobate_auth.session_manager import SessionManager
from stylobate_auth.store.port import AuthStore, AuthTransaction
from stylobate_auth.user import UserDeletion, UserPlace, UserQuery
from stylobate_auth.uuids import uuid_of

READ, WRITE = "users:read", "users:write"
_MAX_ROLE = 128


class UserManager:
    """Keeps people's accounts.

    :param token_lifetime: of access tokens.
    :param clock: the time in UTC.
    """

    def __init__(
        self,
        store: AuthStore,
        access: AccessManager,
        sessions: SessionManager,
        revocations: RevocationManager,
        *,
        token_lifetime: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._access = access
        self._sessions = sessions
        self._revocations = revocations
        self._believed_for = max(token_lifetime, BELIEVED_FOR) + CLOCKS_DIFFER
        self._clock = clock

    async def page(self, principal: Principal, query: UserQuery, size: int, token: str) -> tuple[list[Account], str]:
        """Return a page of accounts, and the token of the next one.

        :raises PermissionDeniedError, ApiKeyNotEnoughError: the caller may not.
        :raises AuthInvalidInputError: a filter that nothing could fit. :raises InvalidInputError: no size or token of this list.
        """
        await self._access.require_of_person(principal, READ)
        checked, limit = _checked(query), page_size(size)
        about = ("users", checked.email, checked.role, str(checked.created_after or ""), str(checked.created_before or ""))
        place = _place(page_position(about, token))
        found = await self._store.users(principal.tenant, checked, place, limit + 1)
        last = UserPlace(found[limit - 1].created_at, found[limit - 1].id) if len(found) > limit else None
        return found[:limit], "" if last is None else page_token(about, str(last))

    async def get(self, principal: Principal, account_id: str) -> Account | UserDeletion:
        """Return an account, or what is left of it. Raises AccountUnknownError, and as :meth:`page`."""
        await self._access.require_of_person(principal, READ)
        account = await self._store.user(principal.tenant, account_id)
        found = account or await self._store.deletion(principal.tenant, account_id)
        if found is None:
            raise AccountUnknownError
        return found

    async def changed_by(self, principal: Principal, account_id: str, permission: str) -> Account | None:
        """Return the account that the principal may change by a permission and its roles; None: it is deleted.

        :raises AccountUnknownError: there never was one. Else as :meth:`disable`.
        """
        await self._access.require_of_person(principal, permission)
        account = await self._store.user(principal.tenant, account_id)
        if account is not None:
            await self._require_roles_of(principal, account)
        elif await self._store.deletion(principal.tenant, account_id) is None:
            raise AccountUnknownError
        return account

    async def disable(self, principal: Principal, account_id: str, caller: Call, claim: Claim | None = None) -> None:
        """Let nobody in to an account: what is open ends. One that is disabled stays so.

        :raises AccountUnknownError: there is none. :raises LastAdministratorError: nobody else could enable it.
        :raises PermissionDeniedError: also where the account's roles permit what the caller may not.
        """
        await self._access.require_of_person(principal, WRITE)
        await self._require_roles_of(principal, await self._find(principal.tenant, account_id))
        now, ended, entries = self._clock(), list[Session](), list[Revocation]()
        async with self._store.transaction() as transaction:
            await transaction.claim(claim)
            account = await self.hold(transaction, principal.tenant, account_id)
            if account.disabled_at is None:
                await transaction.set_disabled(account.tenant, account.id, now)
                ended, entries = await self.shut(transaction, account, caller)
                await transaction.emit(event_of("auth.user.disabled", account, principal, caller))
                await transaction.record(record_of("auth.user.disable", account.tenant, account.id, principal, caller))
            await transaction.answer(claim, None)
        await self.was_shut(ended, entries)

    async def enable(self, principal: Principal, account_id: str, caller: Call, claim: Claim | None = None) -> None:
        """Let an account's owner in again. Raises as :meth:`disable`."""
        await self._access.require_of_person(principal, WRITE)
        await self._require_roles_of(principal, await self._find(principal.tenant, account_id))
        async with self._store.transaction() as transaction:
            await transaction.claim(claim)
            account = await transaction.hold_user(principal.tenant, account_id)
            if account is None:
                raise AccountUnknownError
            if account.disabled_at is not None:
                await transaction.set_disabled(account.tenant, account.id, None)
                await transaction.emit(event_of("auth.user.enabled", account, principal, caller))
                await transaction.record(record_of("auth.user.enable", account.tenant, account.id, principal, caller))
            await transaction.answer(claim, None)

    async def sessions(self, principal: Principal, account_id: str, size: int, token: str) -> tuple[list[Session], str]:
        """Return a page of an account's sessions that live, the newest first. Raises as :meth:`get`, and InvalidInputError."""
        await self._access.require_of_person(principal, READ)
        await self._find(principal.tenant, account_id)
        return await self._sessions.page(principal.tenant, account_id, size, token)

    async def end_sessions(self, principal: Principal, account_id: str, caller: Call, claim: Claim | None = None) -> None:
        """End every session of an account. Raises AccountUnknownError, PermissionDeniedError, ApiKeyNotEnoughError."""
        await self._access.require_of_person(principal, WRITE)
        await self._require_roles_of(principal, await self._find(principal.tenant, account_id))
        async with self._store.transaction() as transaction:
            await transaction.claim(claim)
            account = await transaction.hold_user(principal.tenant, account_id)
            if account is None:
                raise AccountUnknownError
            ended = await self._sessions.end_others(transaction, account, "", SessionEnd.REVOKED, caller)
            await transaction.record(record_of("auth.user.end_sessions", account.tenant, account.id, principal, caller))
            await transaction.answer(claim, None)
        await self._sessions.others_ended(ended)

    async def hold(self, transaction: AuthTransaction, tenant: str, account_id: str) -> Account:
        """Return an account that is about to be shut, held until the transaction ends.

        :raises AccountUnknownError: there is none. :raises LastAdministratorError: nobody would be left who may do everything.
        """
        administrators = await transaction.hold_administrators(tenant)
        account = await transaction.hold_user(tenant, account_id)
        if account is None:
            raise AccountUnknownError
        if administrators == {account.id}:
            raise LastAdministratorError
        return account

    async def shut(self, transaction: AuthTransaction, account: Account, caller: Call) -> tuple[list[Session], list[Revocation]]:
        """End all that lets somebody in to an account, in the caller's transaction; :meth:`was_shut` follows the commit."""
        now = self._clock()
        ended = await self._sessions.end_others(transaction, account, "", SessionEnd.REVOKED, caller)
        keys = await transaction.end_api_keys(account.tenant, account.id, now)
        await transaction.void_mail_tokens(account.tenant, account.id, tuple(MailKind), now)
        entries = [revocation_of(account.tenant, key, now) for key in keys]
        entries.append(Revocation(account.tenant, RevocationKind.SUBJECT, account.id, now + self._believed_for, now))
        await transaction.revoke(*entries)
        return ended, entries

    async def was_shut(self, ended: Iterable[Session], entries: Iterable[Revocation]) -> None:
        """Tell this process's watchers of what was committed; the others hear of it from the database."""
        for entry in entries:
            self._revocations.add(entry)
        await self._sessions.others_ended(ended)

    async def _find(self, tenant: str, account_id: str) -> Account:
        account = await self._store.user(tenant, account_id)
        if account is None:
            raise AccountUnknownError
        return account

    async def _require_roles_of(self, principal: Principal, account: Account) -> None:
        """Else whoever helps users could lock administrators out."""
        if account.id != principal.id:
            await self._access.require_roles(principal, set(account.roles) - {USER})


def _checked(query: UserQuery) -> UserQuery:
    """Return a query with its address as addresses are compared. Raises AuthInvalidInputError with every finding."""
    findings, key = list[Violation](), ""
    if query.email:
        key = email_key(query.email) or ""
        if not key or "\0" in key:
            findings.append(Violation("/email", "is not an address"))
    if len(query.role) > _MAX_ROLE or "\0" in query.role:
        findings.append(Violation("/role", f"must be at most {_MAX_ROLE} characters, none of them U+0000"))
    if findings:
        raise AuthInvalidInputError("The filter is not valid.", violations=findings)
    return UserQuery(key, query.role, query.created_after, query.created_before)


def _place(position: str) -> UserPlace | None:
    if not position:
        return None
    time, _, account_id = position.partition("/")
    try:
        place = UserPlace(datetime.fromisoformat(time), account_id)
    except ValueError:
        raise no_token() from None
    if place.created_at.tzinfo is None or uuid_of(account_id) is None:
        raise no_token()
    return place


def event_of(type: str, account: Account, principal: Principal, caller: Call) -> Event:  # noqa: A002  CloudEvents' own word
    """Return an event about an account. It names it and not the person: events outlive accounts."""
    data = {"user_id": account.id}
    return Event.new(type, account.id, data, source="auth", tenant=account.tenant, actor=principal.id, cause=caller.cause)


def record_of(action: str, tenant: str, account_id: str, principal: Principal, caller: Call) -> AuditRecord:
    """Return the audit record of what was done to an account."""
    return AuditRecord(
        action=action,
        actor=principal.id,
        tenant=tenant,
        via=principal.via,
        target=f"user:{account_id}",
        request_id=caller.request_id,
        detail={"address": caller.client_address},
    )
