"""The first administrator: invited by the operator with a token that works once, since there is no default password."""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from stylobate.audit import AuditRecord
from stylobate.errors import PermissionDeniedError
from stylobate.idempotency import Claim
from stylobate.identity import DEFAULT_TENANT, Principal
from stylobate.rpc.call import Call

from stylobate_auth.access_manager import ADMIN
from stylobate_auth.account_manager import AccountManager
from stylobate_auth.errors import AdministratorExistsError, InvitationInvalidError
from stylobate_auth.login_limits import REGISTER, LoginLimits
from stylobate_auth.model import Account, AccountDraft, place_of
from stylobate_auth.store.port import AuthStore, AuthTransaction
from stylobate_auth.user import UserQuery

HOLDS_FOR = timedelta(hours=1)
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Invitation:
    """An invitation as it is told, once."""

    expires_at: datetime
    token: str = field(default="", repr=False)
    """Empty: this answer comes again, and it is kept nowhere."""
    link: str = field(default="", repr=False)
    """To the form for it; empty: there is none."""


class FirstAdminManager:
    """Keeps the invitation, of which there is one at most, and none that works once an administrator exists.

    :param page: of the form; empty: there is none.
    :param clock: the time in UTC.
    """

    def __init__(
        self, store: AuthStore, accounts: AccountManager, *, limits: LoginLimits, page: str, clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._limits = limits
        self._page = page
        self._clock = clock

    async def invite(self, principal: Principal, caller: Call, claim: Claim | None = None) -> Invitation:
        """Make an invitation; one that was made before ends.

        :raises PermissionDeniedError: the operator's command asks for it, nobody else.
        :raises AdministratorExistsError: there is one.
        """
        if not principal.is_service or principal.act_for:
            raise PermissionDeniedError("The operator's command makes this.")
        if await self._has_administrator(principal.tenant):
            raise AdministratorExistsError
        token, end = secrets.token_urlsafe(_SECRET_BYTES), self._clock() + HOLDS_FOR
        async with self._store.transaction() as transaction:
            await transaction.claim(claim)
            await transaction.put_invitation(principal.tenant, _hash(token), end)
            await transaction.record(_record("auth.first_admin.invite", principal.tenant, caller))
            await transaction.answer(claim, Invitation(end))
        return Invitation(end, token, self._page and f"{self._page}#{token}")

    async def create(self, token: str, draft: AccountDraft, caller: Call, claim: Claim | None = None) -> Account:
        """Make the account of who has the token, as an administrator's.

        :raises InvitationInvalidError: unknown, used, or over, or there is an administrator.
        :raises AuthInvalidInputError: with every finding. :raises EmailTakenError: another account has the address.
        :raises RateLimitedError: too many from this address. :raises HashingBusyError: try again.
        """
        await self._limits.charge_place(REGISTER, place_of(caller))
        tenant, token_hash = DEFAULT_TENANT, _hash(token)
        # before a password is hashed; whether it is the one that gets it is found in the transaction
        is_kept = await self._store.has_invitation(tenant, token_hash, self._clock())
        if not is_kept or await self._has_administrator(tenant):
            raise InvitationInvalidError

        async def admit(transaction: AuthTransaction, account: Account) -> None:
            if not await transaction.take_invitation(tenant, token_hash, self._clock()):
                raise InvitationInvalidError
            if await transaction.hold_administrators(tenant):
                raise InvitationInvalidError
            await transaction.record(_record("auth.first_admin.create", tenant, caller, account.id))

        return await self._accounts.admit(tenant, draft, admit, caller, claim)

    async def _has_administrator(self, tenant: str) -> bool:
        """Return whether a person has the role, also one for whom it ends or who is disabled."""
        return bool(await self._store.users(tenant, UserQuery(role=ADMIN), None, 1))


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _record(action: str, tenant: str, caller: Call, account_id: str = "") -> AuditRecord:
    return AuditRecord(
        action=action,
        actor=account_id or caller.principal.id,
        tenant=tenant,
        via=caller.principal.via,
        target=f"user:{account_id}" if account_id else "",
        request_id=caller.request_id,
        detail={"address": caller.client_address},
    )
