"""The password of an account: replaced by its owner."""

from dataclasses import replace

from stylobate.audit import AuditRecord, Outcome
from stylobate.errors import TokenRevokedError, UnauthenticatedError, Violation
from stylobate.idempotency import Claim
from stylobate.identity import Principal, PrincipalKind
from stylobate.logs import get_logger
from stylobate.outbox import Event
from stylobate.rpc.call import Call

from stylobate_auth.account_input import email_key
from stylobate_auth.errors import AuthInvalidInputError, PasswordWrongError
from stylobate_auth.login_limits import LOGIN, LoginLimits
from stylobate_auth.model import Account, Credentials, Session, SessionEnd, place_of, share_of
from stylobate_auth.password_hasher import PasswordHasher
from stylobate_auth.password_rules import MAX_PASSWORD, PasswordRules
from stylobate_auth.session_manager import SessionManager
from stylobate_auth.store.port import AuthStore, AuthTransaction

_log = get_logger("security")


class PasswordManager:
    """Replaces passwords; whoever is in by the old one is put out."""

    def __init__(
        self, store: AuthStore, hasher: PasswordHasher, rules: PasswordRules, sessions: SessionManager, limits: LoginLimits
    ) -> None:
        self._store = store
        self._hasher = hasher
        self._rules = rules
        self._sessions = sessions
        self._limits = limits

    async def change(self, principal: Principal, current: str, new: str, caller: Call, claim: Claim | None = None) -> None:
        """Replace the password of the principal's account. Its own session goes on, every other one ends.

        :raises PasswordWrongError: the current one is another. :raises AuthInvalidInputError: the new one cannot be taken.
        :raises RateLimitedError: too many tries. :raises HashingBusyError: try again.
        """
        found = await self.prove(principal, current, caller)
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
            ended = await self._replaced(transaction, account, principal.session, caller)
            await transaction.answer(claim, None)
        await self._sessions.others_ended(ended)

    async def prove(self, principal: Principal, password: str, caller: Call) -> Credentials:
        """Return the principal's account when the password is its own: for what a token alone must not be enough for.

        :raises PasswordWrongError: it is not. Raises as :meth:`change` too.
        """
        if principal.kind is not PrincipalKind.USER:
            raise UnauthenticatedError("This is about the account of an access token.")
        await self._sessions.require_alive(principal)
        found = await self._store.credentials_of(principal.tenant, principal.id)
        if found is None:
            raise TokenRevokedError
        place = place_of(caller)
        await self._limits.charge_place(LOGIN, place)
        # by place, as at an owner's own: who stole a token must not use up what the account's owner logs in with
        await self._limits.charge_account(principal.tenant, email_key(found.account.email) or "", place, is_known=True)
        is_right = len(password) <= MAX_PASSWORD and await self._hasher.verify(
            found.password_hash, password, share=share_of(caller), deadline=caller.deadline
        )
        if not is_right:
            _log.warning("password_refused", target=f"user:{principal.id}", request_id=caller.request_id)
            record = _record("auth.password.change", found.account, caller)
            await self._store.note(replace(record, outcome=Outcome.DENIED, reason=PasswordWrongError.reason))
            raise PasswordWrongError
        return found

    async def _replaced(self, transaction: AuthTransaction, account: Account, but: str, caller: Call) -> list[Session]:
        """Do what goes with another password; return the sessions that it ended."""
        ended = await self._sessions.end_others(transaction, account, but, SessionEnd.PASSWORD_CHANGED, caller)
        await transaction.emit(
            Event.new(
                "auth.user.password_changed",
                account.id,
                {"user_id": account.id},
                source="auth",
                tenant=account.tenant,
                actor=account.id,
                cause=caller.cause,
            )
        )
        record = _record("auth.password.change", account, caller)
        await transaction.record(replace(record, detail={**record.detail, "sessions_ended": len(ended)}))
        return ended


def _record(action: str, account: Account, caller: Call) -> AuditRecord:
    return AuditRecord(
        action=action,
        actor=account.id,
        tenant=account.tenant,
        via=caller.principal.via,
        target=f"user:{account.id}",
        request_id=caller.request_id,
        detail={"address": caller.client_address},
    )
