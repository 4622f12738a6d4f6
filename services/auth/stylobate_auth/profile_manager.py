"""What an owner changes of an account beside its password: the name that others see, and the address."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from stylobate.audit import AuditRecord
from stylobate.errors import TokenRevokedError, UnauthenticatedError, Violation
from stylobate.idempotency import Claim
from stylobate.identity import DEFAULT_TENANT, Principal, PrincipalKind
from stylobate.outbox import Event
from stylobate.rpc.call import Call

from stylobate_auth.account_input import check_address, check_name
from stylobate_auth.errors import AuthInvalidInputError, MailTokenInvalidError
from stylobate_auth.login_limits import MAIL, LoginLimits
from stylobate_auth.mail.kinds import WITH_TOKEN, MailKind
from stylobate_auth.mail.outgoing import OutgoingMail
from stylobate_auth.mail.tokens import MailTokens
from stylobate_auth.model import Account, place_of
from stylobate_auth.password_manager import PasswordManager
from stylobate_auth.session_manager import SessionManager
from stylobate_auth.store.port import AuthStore

_PROOFS = (MailKind.VERIFY_EMAIL, MailKind.CHANGE_EMAIL)


class ProfileManager:
    """Changes names and addresses; an address counts once its mailbox was read.

    :param allow_test_domains: whether addresses under ``.test`` count.
    """

    def __init__(
        self,
        store: AuthStore,
        passwords: PasswordManager,
        sessions: SessionManager,
        *,
        limits: LoginLimits,
        mail: OutgoingMail,
        allow_test_domains: bool,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._sessions = sessions
        self._limits = limits
        self._mail = mail
        self._allow_test_domains = allow_test_domains
        self._clock = clock

    async def rename(self, principal: Principal, name: str, caller: Call, claim: Claim | None = None) -> Account:
        """Change the name that others see; return the account. Raises AuthInvalidInputError, TokenRevokedError."""
        await self._require_session(principal)
        checked, findings = check_name(name)
        if findings:
            raise AuthInvalidInputError(violations=findings)
        async with self._store.transaction() as transaction:
            await transaction.claim(claim)
            account = await transaction.hold_account(principal.tenant, principal.id)
            if account is None:
                raise TokenRevokedError
            await transaction.rename(account.tenant, account.id, checked)
            account = replace(account, display_name=checked)
            await transaction.emit(_event("auth.user.changed", account, caller))
            await transaction.record(_record("auth.account.change", account, caller))
            await transaction.answer(claim, account)
        return account

    async def request_verification(self, principal: Principal, caller: Call, claim: Claim | None = None) -> None:
        """Send a mail that proves the address of the principal's account; nothing where it is proven.

        :raises NoMailError: there is no mail here. :raises RateLimitedError: three were sent within the hour.
        """
        self._mail.demand()
        await self._require_session(principal)
        account = await self._store.account(principal.tenant, principal.id)
        if account is None:
            raise TokenRevokedError
        kind = MailKind.VERIFY_EMAIL
        if not account.email_verified:
            await self._limits.charge_mail(account.tenant, account.id, kind)
        async with self._store.transaction() as transaction:
            await transaction.claim(claim)
            if not account.email_verified:
                await self._mail.write(transaction, account.tenant, kind, account.id)
                await transaction.record(_record("auth.email.verification", account, caller))
            await transaction.answer(claim, None)

    async def change_email(
        self, principal: Principal, email: str, password: str, caller: Call, claim: Claim | None = None
    ) -> None:
        """Send a mail to an address that the account is to have. Until that is read the account keeps the one it has.

        Nobody is told whether another account has the address; its owner is, by mail.

        :raises PasswordWrongError: not the account's. :raises AuthInvalidInputError: no address, or the one that it has.
        :raises NoMailError: there is no mail here. :raises RateLimitedError: too many mails, or tries of the password.
        """
        self._mail.demand()
        account = (await self._passwords.prove(principal, password, caller, "auth.email.change")).account
        address, key, findings = check_address(email, allow_test_domains=self._allow_test_domains)
        if not findings and address == account.email:
            findings = [Violation("/email", "must be another than the account has")]
        if findings:
            raise AuthInvalidInputError(violations=findings)
        kind = MailKind.CHANGE_EMAIL
        for subject in (account.id, key):  # neither one account's owner nor one mailbox's is to be drowned
            await self._limits.charge_mail(account.tenant, subject, kind)
        other = await self._store.credentials(account.tenant, key, "", self._clock())
        is_taken = other is not None and other.account.id != account.id
        async with self._store.transaction() as transaction:
            await transaction.claim(claim)
            await transaction.hold_account(account.tenant, account.id)
            await transaction.void_mail_tokens(account.tenant, account.id, (kind,), self._clock())
            if other is not None and is_taken:
                await self._mail.write(transaction, account.tenant, MailKind.ALREADY_REGISTERED, other.account.id)
            else:
                await transaction.keep_new_email(account.tenant, account.id, address, key)
                await self._mail.write(transaction, account.tenant, kind, account.id)
            await transaction.record(_record("auth.email.change", account, caller))
            await transaction.answer(claim, None)

    async def verify(self, token: str, caller: Call, claim: Claim | None = None) -> None:
        """Use the token of a mail: the account's address is proven, or the account has the one that it was to have.

        :raises MailTokenInvalidError: unknown, used, or over. :raises EmailTakenError: another account was quicker.
        :raises RateLimitedError: too many tries.
        """
        await self._limits.charge_place(MAIL, place_of(caller))
        token_hash, now = MailTokens.hash(token), self._clock()
        holder = await self._store.mails().holder(DEFAULT_TENANT, token_hash, _PROOFS, now)
        if holder is None:
            raise MailTokenInvalidError
        async with self._store.transaction() as transaction:
            await transaction.claim(claim)
            # the account first, as whatever changes one: two that take rows in another order would wait for each other
            account = await transaction.hold_account(DEFAULT_TENANT, holder)
            used = await transaction.use_mail_token(DEFAULT_TENANT, token_hash, _PROOFS, now)
            if account is None or used is None:
                raise MailTokenInvalidError  # somebody else was quicker
            if used.kind is MailKind.CHANGE_EMAIL:
                await transaction.take_new_email(account.tenant, account.id)
                # whoever reads the mailbox that the account had must not get in by it any more
                await transaction.void_mail_tokens(account.tenant, account.id, WITH_TOKEN, now)
                await self._mail.write(transaction, account.tenant, MailKind.EMAIL_CHANGED, account.id)
                event, action = "auth.user.email_changed", "auth.email.changed"
            else:
                await transaction.prove_email(account.tenant, account.id)
                event, action = "auth.user.email_verified", "auth.email.verify"
            await transaction.emit(_event(event, account, caller))
            await transaction.record(_record(action, account, caller))
            await transaction.answer(claim, None)

    async def _require_session(self, principal: Principal) -> None:
        if principal.kind is not PrincipalKind.USER:
            raise UnauthenticatedError("This is about the account of an access token.")
        await self._sessions.require_alive(principal)


def _event(type: str, account: Account, caller: Call) -> Event:  # noqa: A002  CloudEvents' own word
    """Return an event that names the account and not the person: events outlive accounts."""
    data = {"user_id": account.id}
    return Event.new(type, account.id, data, source="auth", tenant=account.tenant, actor=account.id, cause=caller.cause)


def _record(action: str, account: Account, caller: Call) -> AuditRecord:
    return AuditRecord(
        action=action,
        actor=caller.principal.id or account.id,
        tenant=account.tenant,
        via=caller.principal.via,
        target=f"user:{account.id}",
        request_id=caller.request_id,
        detail={"address": caller.client_address},
    )
