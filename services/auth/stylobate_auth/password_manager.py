"""The password of an account: replaced by who knows it, or by who reads the account's mail."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from stylobate.audit import AuditRecord, Outcome
from stylobate.errors import PermissionDeniedError, TokenRevokedError, UnauthenticatedError, Violation
from stylobate.idempotency import Claim
from stylobate.identity import DEFAULT_TENANT, Principal, PrincipalKind
from stylobate.logs import get_logger
from stylobate.outbox import Event
from stylobate.rpc.call import Call

from stylobate_auth.account_input import email_key
from stylobate_auth.errors import AccountUnknownError, AuthInvalidInputError, MailTokenInvalidError, PasswordWrongError
from stylobate_auth.login_limits import LOGIN, MAIL, LoginLimits
from stylobate_auth.mail.kinds import MailKind
from stylobate_auth.mail.outgoing import OutgoingMail
from stylobate_auth.mail.tokens import MailTokens
from stylobate_auth.model import Account, Credentials, Session, SessionEnd, place_of, share_of
from stylobate_auth.password_hasher import PasswordHasher
from stylobate_auth.password_rules import MAX_PASSWORD, PasswordRules
from stylobate_auth.session_manager import SessionManager
from stylobate_auth.store.port import AuthStore, AuthTransaction

_RESET = (MailKind.RESET_PASSWORD,)
_log = get_logger("security")


class PasswordManager:
    """Replaces passwords; whoever is in by the old one is put out."""

    def __init__(
        self,
        store: AuthStore,
        hasher: PasswordHasher,
        rules: PasswordRules,
        sessions: SessionManager,
        *,
        limits: LoginLimits,
        mail: OutgoingMail,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._hasher = hasher
        self._rules = rules
        self._sessions = sessions
        self._limits = limits
        self._mail = mail
        self._clock = clock

    async def change(self, principal: Principal, current: str, new: str, caller: Call, claim: Claim | None = None) -> None:
        """Replace the password of the principal's account. Its own session goes on, every other one ends.

        :raises PasswordWrongError: the current one is another. :raises AuthInvalidInputError: the new one cannot be taken.
        :raises RateLimitedError: too many tries. :raises HashingBusyError: try again.
        """
        found = await self.prove(principal, current, caller, "auth.password.change")
        account, old_hash = found.account, found.password_hash
        findings = await self._rules.findings(new, pointer="/new_password", email=account.email, name=account.display_name)
        if new == current:
            findings = [Violation("/new_password", "must be another than the current one")]
        if findings:
            raise AuthInvalidInputError(violations=findings)
        new_hash = await self._hasher.hash(new, share=share_of(caller), deadline=caller.deadline)
        async with self._store.transaction() as transaction:
            await transaction.claim(claim)
            if not await transaction.hold_password_hash(account.tenant, account.id, old_hash, new_hash):
                raise PasswordWrongError  # another change was quicker
            ended = await self._replaced(transaction, account, principal.session, "auth.password.change", caller)
            await transaction.answer(claim, None)
        await self._sessions.others_ended(ended)

    async def forgot(self, email: str, caller: Call, claim: Claim | None = None) -> None:
        """Send a mail with a token to choose another password. An address that nobody has is answered the same, and as soon.

        A stranger who asks for an account's mails again and again locks nobody out: when no more is sent, the token of one of the
        last three still works.

        :raises NoMailError: there is no mail here. :raises RateLimitedError: too many from this address.
        """
        self._mail.demand()
        await self._limits.charge_place(MAIL, place_of(caller))
        kind, key = MailKind.RESET_PASSWORD, email_key(email)
        found = None if key is None else await self._store.credentials(DEFAULT_TENANT, key, "", self._clock())
        is_allowed = await self._limits.allows_mail(DEFAULT_TENANT, key or "", kind)
        account = found.account if found is not None and is_allowed else None
        async with self._store.transaction() as transaction:
            await transaction.claim(claim)
            await self._mail.write(transaction, DEFAULT_TENANT, kind, None if account is None else account.id)
            await transaction.record(_record("auth.password.forgot", account, caller, is_proven=False))
            await transaction.answer(claim, None)

    async def reset(self, token: str, new: str, caller: Call, claim: Claim | None = None) -> None:
        """Replace the password of the account whose mail the token is from; every session of it ends, and its address is proven.

        :raises MailTokenInvalidError: unknown, used, or over. :raises AuthInvalidInputError: the new one cannot be taken.
        :raises RateLimitedError: too many tries. :raises HashingBusyError: try again.
        """
        await self._limits.charge_place(MAIL, place_of(caller))
        token_hash = MailTokens.hash(token)
        holder = await self._store.mails().holder(DEFAULT_TENANT, token_hash, _RESET, self._clock())
        found = None if holder is None else await self._store.credentials_of(DEFAULT_TENANT, holder)
        if found is None:
            raise MailTokenInvalidError
        account = found.account
        findings = await self._rules.findings(new, pointer="/new_password", email=account.email, name=account.display_name)
        if findings:
            raise AuthInvalidInputError(violations=findings)
        new_hash = await self._hasher.hash(new, share=share_of(caller), deadline=caller.deadline)
        async with self._store.transaction() as transaction:
            await transaction.claim(claim)
            # the account first, as a change does: two that take rows in another order would wait for each other
            await transaction.replace_password_hash(account.tenant, account.id, new_hash)
            if await transaction.use_mail_token(account.tenant, token_hash, _RESET, self._clock()) is None:
                raise MailTokenInvalidError  # somebody else was quicker
            await transaction.prove_email(account.tenant, account.id)
            ended = await self._replaced(transaction, account, "", "auth.password.reset", caller)
            await transaction.answer(claim, None)
        await self._sessions.others_ended(ended)

    async def set(self, principal: Principal, account_id: str, new: str, caller: Call, claim: Claim | None = None) -> None:
        """Replace the password of an account for the operator; every session of it ends. No person may: it could be anybody then.

        :raises PermissionDeniedError: the operator's command asks for it, nobody else.
        :raises AccountUnknownError: there is no such account of a person.
        :raises AuthInvalidInputError: the new one cannot be taken. :raises HashingBusyError: try again.
        """
        if not principal.is_service or principal.act_for:
            raise PermissionDeniedError("The operator's command does this.")
        found = await self._store.user(principal.tenant, account_id)
        if found is None:
            raise AccountUnknownError
        findings = await self._rules.findings(new, pointer="/new_password", email=found.email, name=found.display_name)
        if findings:
            raise AuthInvalidInputError(violations=findings)
        new_hash = await self._hasher.hash(new, share=share_of(caller), deadline=caller.deadline)
        async with self._store.transaction() as transaction:
            await transaction.claim(claim)
            account = await transaction.hold_user(principal.tenant, account_id)
            if account is None:
                raise AccountUnknownError  # deleted meanwhile
            await transaction.replace_password_hash(account.tenant, account.id, new_hash)
            ended = await self._replaced(transaction, account, "", "auth.password.set", caller)
            await transaction.answer(claim, None)
        await self._sessions.others_ended(ended)

    async def prove(self, principal: Principal, password: str, caller: Call, action: str) -> Credentials:
        """Return the principal's account when the password is its own: for what a token alone must not be enough for.

        :param action: what it is for, in the audit trail.
        :raises PasswordWrongError: it is not. Raises as :meth:`change` too.
        """
        if principal.kind is not PrincipalKind.USER:
            raise UnauthenticatedError("This is about the account of an access token.")
        await self._sessions.require_alive(principal)
        found = await self._store.credentials_of(principal.tenant, principal.id)
        if found is None:
            raise TokenRevokedError
        await self._limits.charge_place(LOGIN, place_of(caller))
        await self._limits.charge_session(principal.session)
        is_right = len(password) <= MAX_PASSWORD and await self._hasher.verify(
            found.password_hash, password, share=share_of(caller), deadline=caller.deadline
        )
        if not is_right:
            _log.warning("password_refused", target=f"user:{principal.id}", request_id=caller.request_id)
            record = _record(action, found.account, caller)
            await self._store.note(replace(record, outcome=Outcome.DENIED, reason=PasswordWrongError.reason))
            raise PasswordWrongError
        return found

    async def _replaced(
        self, transaction: AuthTransaction, account: Account, but: str, action: str, caller: Call
    ) -> list[Session]:
        """Do what goes with another password; return the sessions that it ended, all but the one of an id."""
        ended = await self._sessions.end_others(transaction, account, but, SessionEnd.PASSWORD_CHANGED, caller)
        await transaction.emit(
            Event.new(
                "auth.user.password_changed",
                account.id,
                {"user_id": account.id},
                source="auth",
                tenant=account.tenant,
                actor=caller.principal.id or account.id,
                cause=caller.cause,
            )
        )
        await transaction.void_mail_tokens(account.tenant, account.id, _RESET, self._clock())
        await self._mail.write(transaction, account.tenant, MailKind.PASSWORD_CHANGED, account.id)
        record = _record(action, account, caller)
        await transaction.record(replace(record, detail={**record.detail, "sessions_ended": len(ended)}))
        return ended


def _record(action: str, account: Account | None, caller: Call, *, is_proven: bool = True) -> AuditRecord:
    return AuditRecord(
        action=action,
        actor=caller.principal.id or (account.id if is_proven and account is not None else ""),
        via=caller.principal.via,
        target=f"user:{account.id}" if account is not None else "",
        request_id=caller.request_id,
        detail={"address": caller.client_address},
    )
