"""What the operator changes of a person's account: the name that others see, and the address."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from stylobate.errors import PermissionDeniedError
from stylobate.idempotency import Claim
from stylobate.identity import Principal
from stylobate.rpc.call import Call

from stylobate_auth.account_input import check_address, check_name
from stylobate_auth.errors import AccountUnknownError, AuthInvalidInputError
from stylobate_auth.mail.kinds import WITH_TOKEN, MailKind
from stylobate_auth.mail.outgoing import OutgoingMail
from stylobate_auth.model import Account
from stylobate_auth.store.port import AuthStore, AuthTransaction
from stylobate_auth.user_manager import event_of, record_of


class UserProfileManager:
    """Changes names and addresses of others' accounts, for the operator and nobody else.

    Whoever gives an account another address can have its next password sent there, and be anybody: no role permits that.

    :param allow_test_domains: whether addresses under ``.test`` count.
    """

    def __init__(self, store: AuthStore, *, mail: OutgoingMail, allow_test_domains: bool, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._mail = mail
        self._allow_test_domains = allow_test_domains
        self._clock = clock

    async def rename(self, principal: Principal, account_id: str, name: str, caller: Call, claim: Claim | None = None) -> Account:
        """Change the name that others see; return the account.

        :raises PermissionDeniedError: the operator's command asks for it, nobody else.
        :raises AccountUnknownError: there is no such account of a person. :raises AuthInvalidInputError: it cannot be shown.
        """
        _require_operator(principal)
        checked, findings = check_name(name)
        if findings:
            raise AuthInvalidInputError(violations=findings)
        async with self._store.transaction() as transaction:
            await transaction.claim(claim)
            account = await _held(transaction, principal.tenant, account_id)
            await transaction.rename(account.tenant, account.id, checked)
            account = replace(account, display_name=checked)
            await transaction.emit(event_of("auth.user.changed", account, principal, caller))
            await transaction.record(record_of("auth.account.change", account.tenant, account.id, principal, caller))
            await transaction.answer(claim, account)
        return account

    async def set_email(
        self, principal: Principal, account_id: str, email: str, caller: Call, claim: Claim | None = None
    ) -> Account:
        """Give an account another address, at once and proven by the operator's word; return it.

        With the address that it has, that one counts as proven. Mails that were sent to the one before let nobody in any more,
        and whoever reads that is told, where there is mail.

        Raises as :meth:`rename`, and EmailTakenError: another account has it.
        """
        _require_operator(principal)
        address, key, findings = check_address(email, allow_test_domains=self._allow_test_domains)
        if findings:
            raise AuthInvalidInputError(violations=findings)
        async with self._store.transaction() as transaction:
            await transaction.claim(claim)
            account = await _held(transaction, principal.tenant, account_id)
            if address == account.email:
                await transaction.prove_email(account.tenant, account.id)
                event, action = "auth.user.email_verified", "auth.email.verify"
            else:
                await transaction.keep_new_email(account.tenant, account.id, address, key)
                await transaction.take_new_email(account.tenant, account.id, keeps_old=self._mail.is_on)
                await transaction.void_mail_tokens(account.tenant, account.id, WITH_TOKEN, self._clock())
                await self._mail.write(transaction, account.tenant, MailKind.EMAIL_CHANGED, account.id)
                event, action = "auth.user.email_changed", "auth.email.changed"
            account = replace(account, email=address, email_verified=True)
            await transaction.emit(event_of(event, account, principal, caller))
            await transaction.record(record_of(action, account.tenant, account.id, principal, caller))
            await transaction.answer(claim, account)
        return account


def _require_operator(principal: Principal) -> None:
    if not principal.is_service or principal.act_for:
        raise PermissionDeniedError("The operator's command does this.")


async def _held(transaction: AuthTransaction, tenant: str, account_id: str) -> Account:
    """Return an account of a person, held until the transaction ends. Raises AccountUnknownError."""
    account = await transaction.hold_user(tenant, account_id)
    if account is None:
        raise AccountUnknownError
    return account
