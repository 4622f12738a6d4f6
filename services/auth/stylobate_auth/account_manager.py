"""Accounts: made by registering or by an administrator, proven by a password."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from stylobate.audit import AuditRecord, Outcome
from stylobate.clients.bans import BannedError
from stylobate.errors import TokenRevokedError, UnauthenticatedError, Violation
from stylobate.idempotency import Claim
from stylobate.identity import DEFAULT_TENANT, Principal, PrincipalKind
from stylobate.ids import new_id
from stylobate.logs import get_logger
from stylobate.outbox import Event
from stylobate.rpc.call import Call

from stylobate_auth.access_manager import ADMIN, USER, AccessManager
from stylobate_auth.access_until import refuse_longer
from stylobate_auth.account_input import check_account, email_key
from stylobate_auth.errors import (
    AccountDisabledError,
    AuthInvalidInputError,
    EmailNotVerifiedError,
    EmailTakenError,
    InvalidCredentialsError,
    RegistrationClosedError,
)
from stylobate_auth.failed_login_manager import FailedLoginManager
from stylobate_auth.login_limits import LOGIN, REGISTER, LoginLimits
from stylobate_auth.mail.kinds import MailKind
from stylobate_auth.mail.outgoing import OutgoingMail
from stylobate_auth.model import Account, AccountDraft, Credentials, NewAccount, Tokens, place_of, share_of
from stylobate_auth.password_hasher import PasswordHasher
from stylobate_auth.password_rules import MAX_PASSWORD, PasswordRules
from stylobate_auth.session_manager import SessionManager
from stylobate_auth.settings import Registration
from stylobate_auth.store.port import AuthStore, AuthTransaction

CREATE = "users:create"
_log = get_logger("security")
Admission = Callable[[AuthTransaction, Account], Awaitable[None]]
"""Raises where the account must not be made."""


class _PasswordReplacedError(Exception):
    """The hash that a login was held against is not the account's any more."""


class AccountManager:
    """Makes accounts and logs them in.

    :param registration: who may register.
    :param allow_test_domains: whether addresses under ``.test`` count.
    """

    def __init__(
        self,
        store: AuthStore,
        hasher: PasswordHasher,
        rules: PasswordRules,
        sessions: SessionManager,
        access: AccessManager,
        *,
        limits: LoginLimits,
        failures: FailedLoginManager,
        mail: OutgoingMail,
        place_lifetime: timedelta,
        registration: Registration,
        allow_test_domains: bool,
        clock: Callable[[], datetime],
        new_id: Callable[[], str] = new_id,
    ) -> None:
        self._store = store
        self._hasher = hasher
        self._rules = rules
        self._sessions = sessions
        self._access = access
        self._limits = limits
        self._failures = failures
        self._place_lifetime = place_lifetime
        self._mail = mail
        self._registration = registration
        self._allow_test_domains = allow_test_domains
        self._clock = clock
        self._new_id = new_id

    async def register(self, draft: AccountDraft, caller: Call, claim: Claim | None = None) -> Account | None:
        """Make an account for whoever asks; roles are not theirs to choose. None: a mail says the rest.

        :raises RegistrationClosedError: not here. :raises AuthInvalidInputError: with every finding.
        :raises EmailTakenError: another account has the address. :raises HashingBusyError: try again.
        :raises RateLimitedError: too many from this address.
        """
        if self._registration == "closed":
            raise RegistrationClosedError
        await self._limits.charge_place(REGISTER, place_of(caller))
        draft = replace(draft, roles=())
        if self._registration == "open":
            return await self._make(DEFAULT_TENANT, draft, caller, claim)
        await self._make_by_mail(DEFAULT_TENANT, draft, caller, claim)
        return None

    async def create(self, principal: Principal, draft: AccountDraft, caller: Call, claim: Claim | None = None) -> Account:
        """Make an account with roles, for a service or for who holds ``users:create`` and what the roles permit.

        Raises as :meth:`register`, and PermissionDeniedError.
        """
        await self._access.require(principal, CREATE)
        _refuse_unknown(await self._access.unknown_roles(principal.tenant, draft.roles))
        given = set(draft.roles) - {USER}
        await self._access.require_roles(principal, given)
        refuse_longer(await self._access.until.roles(principal, given), pointer="/roles")
        return await self._make(principal.tenant, draft, caller, claim)

    async def admit(
        self, tenant: str, draft: AccountDraft, admission: Admission, caller: Call, claim: Claim | None = None
    ) -> Account:
        """Make an administrator's account, whoever asks, where the admission says so in the transaction.

        Raises as :meth:`register`, and what the admission raises.
        """
        return await self._make(tenant, replace(draft, roles=(ADMIN,)), caller, claim, admission)

    async def login(self, email: str, password: str, caller: Call, claim: Claim | None = None) -> tuple[Account, Tokens]:
        """Open a session. An address that nobody has costs as much as a wrong password.

        :raises InvalidCredentialsError: no account with both. :raises HashingBusyError: try again.
        :raises RateLimitedError: too many from this address, or at this account.
        :raises EmailNotVerifiedError: nobody has proven the account's address yet, which it was registered with.
        :raises AccountDisabledError: an administrator disabled it.
        :raises BannedError: the account or its tenant is banned; told to nobody who does not know the password.
        """
        place = place_of(caller)
        await self._limits.charge_place(LOGIN, place)
        key = email_key(email) if len(password) <= MAX_PASSWORD else None
        found = None
        if key is not None:
            found = await self._store.credentials(DEFAULT_TENANT, key, place, self._clock())
            is_known = found is not None and found.is_known_place
            await self._limits.charge_account(DEFAULT_TENANT, key, place, is_known=is_known)
        while True:
            stored = found.password_hash if found else None
            is_right = await self._hasher.verify(
                stored, password[:MAX_PASSWORD], share=share_of(caller), deadline=caller.deadline
            )
            if found is None or not is_right:
                if found is not None:
                    self._failures.note(found.account.tenant, found.account.id)
                await self._refuse(found, caller, InvalidCredentialsError.reason)
                raise InvalidCredentialsError
            if found.account.disabled_at is not None:
                await self._refuse(found, caller, AccountDisabledError.reason)
                raise AccountDisabledError
            if found.must_verify:
                await self._refuse(found, caller, EmailNotVerifiedError.reason)
                raise EmailNotVerifiedError
            tokens = await self._open(found, password, caller, claim)
            if tokens is not None:
                return found.account, tokens
            # changed since we looked, or made with today's parameters by another login: what holds now is asked for
            found = await self._store.credentials_of(found.account.tenant, found.account.id)

    async def _open(self, found: Credentials, password: str, caller: Call, claim: Claim | None) -> Tokens | None:
        """Open a session of an account whose password was right; None when the hash is another by now."""
        account, old_hash, place = found.account, found.password_hash, place_of(caller)
        new_hash = await self._hash(password, caller) if self._hasher.is_outdated(old_hash) else old_hash
        try:
            async with self._store.transaction() as transaction:
                await transaction.claim(claim)
                if not await transaction.hold_password_hash(account.tenant, account.id, old_hash, new_hash):
                    raise _PasswordReplacedError
                session, tokens = await self._sessions.open(transaction, account, caller)
                if place:
                    await transaction.remember_place(account.tenant, account.id, place, self._clock() + self._place_lifetime)
                await transaction.answer(claim, (account, tokens))
        except _PasswordReplacedError:
            return None
        except BannedError:
            await self._refuse(found, caller, BannedError.reason)
            raise
        await self._sessions.opened(session)
        return tokens

    async def me(self, principal: Principal) -> Account:
        """Return the principal's account.

        :raises TokenRevokedError: its session is over or it is gone. :raises ApiKeyNotEnoughError: a key asks.
        """
        if principal.kind is not PrincipalKind.USER:
            raise UnauthenticatedError("This asks about the account of an access token.")
        await self._sessions.require_alive(principal)
        account = await self._store.account(principal.tenant, principal.id)
        if account is None:
            raise TokenRevokedError
        return account

    async def _make_by_mail(self, tenant: str, draft: AccountDraft, caller: Call, claim: Claim | None) -> None:
        """Make an account that nobody gets into before its address is proven. Nobody is told whether the address has one already.

        Its owner is, by mail: how to get in, or, where its address was never proven, how to choose another password. So nobody
        who registers with somebody else's address keeps them out, or gets in with them.
        """
        new = await self._checked(tenant, draft, caller, must_verify=True)
        is_allowed = await self._limits.allows_mail(tenant, new.email_key, MailKind.VERIFY_EMAIL)
        while True:
            found = await self._store.credentials(tenant, new.email_key, "", self._clock())
            try:
                async with self._store.transaction() as transaction:
                    await transaction.claim(claim)
                    if found is None:
                        await self._add(transaction, new, caller)
                        await self._mail.write(transaction, tenant, MailKind.VERIFY_EMAIL, new.account.id)
                    else:
                        kind = MailKind.RESET_PASSWORD if found.must_verify else MailKind.ALREADY_REGISTERED
                        await self._mail.write(transaction, tenant, kind, found.account.id if is_allowed else None)
                        record = _record("auth.register", found.account, caller)
                        await transaction.record(replace(record, outcome=Outcome.DENIED, reason=EmailTakenError.reason))
                    await transaction.answer(claim, None)
                    return
            except EmailTakenError:
                continue  # at this very moment, by another

    async def _make(
        self, tenant: str, draft: AccountDraft, caller: Call, claim: Claim | None, admission: Admission | None = None
    ) -> Account:
        new = await self._checked(tenant, draft, caller)
        async with self._store.transaction() as transaction:
            await transaction.claim(claim)
            if admission is not None:
                await admission(transaction, new.account)
            await self._add(transaction, new, caller)
            await transaction.answer(claim, new.account)
        return new.account

    async def _add(self, transaction: AuthTransaction, new: NewAccount, caller: Call) -> None:
        _refuse_unknown(await self._access.gone_roles(transaction, new.account.tenant, new.account.roles))
        await transaction.add_account(new)
        await transaction.emit(_registered(new.account, caller))
        await transaction.record(_record("auth.register", new.account, caller))

    async def _checked(self, tenant: str, draft: AccountDraft, caller: Call, *, must_verify: bool = False) -> NewAccount:
        """Return the account that is asked for. Raises AuthInvalidInputError, HashingBusyError."""
        of_password = await self._rules.findings(draft.password, email=draft.email, name=draft.display_name)
        checked = check_account(draft, of_password, allow_test_domains=self._allow_test_domains)
        password_hash = await self._hash(draft.password, caller)
        account = Account(
            tenant=tenant,
            id=self._new_id(),
            email=checked.email,
            display_name=checked.display_name,
            roles=tuple(sorted({USER, *draft.roles})),
            email_verified=False,
            created_at=self._clock(),
        )
        return NewAccount(account, checked.email_key, password_hash, must_verify)

    async def _hash(self, password: str, caller: Call) -> str:
        return await self._hasher.hash(password, share=share_of(caller), deadline=caller.deadline)

    async def _refuse(self, found: Credentials | None, caller: Call, reason: str) -> None:
        """Note a failed login. What was typed as the address is not kept: it may be the password."""
        target = f"user:{found.account.id}" if found else ""
        _log.warning("login_refused", target=target, reason=reason, request_id=caller.request_id)
        await self._store.note(
            AuditRecord(
                action="auth.login",
                outcome=Outcome.DENIED,
                via=caller.principal.via,
                target=target,
                detail={"address": caller.client_address},
                reason=reason,
                request_id=caller.request_id,
            )
        )


def _refuse_unknown(roles: Sequence[str]) -> None:
    if roles:
        raise AuthInvalidInputError(violations=[Violation("/roles", f"there is no role {role}") for role in roles])


def _registered(account: Account, caller: Call) -> Event:
    """Return the event. It names the account and not the person: events outlive accounts."""
    data = {"user_id": account.id, "roles": list(account.roles)}
    actor = caller.principal.id or account.id
    return Event.new(
        "auth.user.registered", account.id, data, source="auth", tenant=account.tenant, actor=actor, cause=caller.cause
    )


def _record(action: str, account: Account, caller: Call) -> AuditRecord:
    return AuditRecord(
        action=action,
        actor=caller.principal.id or account.id,
        tenant=account.tenant,
        via=caller.principal.via,
        target=f"user:{account.id}",
        request_id=caller.request_id,
        detail={"roles": list(account.roles), "address": caller.client_address},
    )
