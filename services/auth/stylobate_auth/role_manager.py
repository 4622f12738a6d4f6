"""The roles of accounts: given, taken away, and ended when their time is over."""

from collections.abc import Callable, Sequence
from datetime import datetime

from stylobate.audit import AuditRecord
from stylobate.errors import Violation
from stylobate.idempotency import Claim
from stylobate.identity import Principal
from stylobate.identity.api_key import refuse_key
from stylobate.outbox import Event
from stylobate.rpc.call import Call

from stylobate_auth.access_manager import ADMIN, USER, AccessManager
from stylobate_auth.access_until import refuse_longer
from stylobate_auth.errors import (
    AccountUnknownError,
    AuthInvalidInputError,
    LastAdministratorError,
    RoleKeptError,
    RoleNotHeldError,
    RoleUnknownError,
)
from stylobate_auth.model import Account
from stylobate_auth.role import HeldRole, RoleDraft
from stylobate_auth.store.port import AuthStore, AuthTransaction

READ, ASSIGN = "roles:read", "roles:assign"
_AT_ONCE = 500


class RoleManager:
    """Keeps the roles of accounts.

    :param clock: the time in UTC.
    """

    def __init__(self, store: AuthStore, access: AccessManager, *, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._access = access
        self._clock = clock

    async def assign(
        self, principal: Principal, account_id: str, draft: RoleDraft, caller: Call, claim: Claim | None = None
    ) -> HeldRole:
        """Give a role, or another end to one that is held.

        :raises ApiKeyNotEnoughError: a key asks.
        :raises PermissionDeniedError: it takes ``ASSIGN`` and all that the role permits.
        :raises RoleUnknownError, AccountUnknownError: there is none.
        :raises AuthInvalidInputError: its end is over, or later than the principal has what it permits.
        :raises LastAdministratorError, RoleKeptError: it may have no end.
        """
        role, expires_at = draft.role, draft.expires_at
        await self._require(principal, role)
        now = self._clock()
        if expires_at is not None and expires_at <= now:
            raise AuthInvalidInputError(violations=[Violation("/expires_at", "must be in the future")])
        refuse_longer(await self._access.until.roles(principal, [role]), expires_at)
        async with self._store.transaction() as transaction:
            await transaction.claim(claim)
            if await self._access.gone_roles(transaction, principal.tenant, [role]):
                raise RoleUnknownError
            account, known = await self._hold(transaction, principal.tenant, account_id, role, is_end=expires_at is not None)
            held = next((held for held in known if held.role == role), None)
            if held is None or held.expires_at != expires_at:
                held = HeldRole(role, expires_at, now, principal.id)
                await transaction.put_held_role(account.tenant, account.id, held)
                await transaction.change_access()
                until = {} if expires_at is None else {"expires_at": expires_at.isoformat()}
                await transaction.emit(_event("auth.role.assigned", account.id, role, principal, caller, **until))
                await transaction.record(_record("auth.role.assign", account.id, role, principal, caller, **until))
            await transaction.answer(claim, held)
        return held

    async def remove(self, principal: Principal, account_id: str, role: str, caller: Call, claim: Claim | None = None) -> None:
        """Take a role away.

        :raises RoleNotHeldError: it is not held. Else as :meth:`assign`.
        """
        await self._require(principal, role)
        async with self._store.transaction() as transaction:
            await transaction.claim(claim)
            account, known = await self._hold(transaction, principal.tenant, account_id, role, is_end=True)
            if not any(held.role == role for held in known):
                raise RoleNotHeldError
            await transaction.remove_held_role(account.tenant, account.id, role)
            await transaction.change_access()
            await transaction.emit(_event("auth.role.removed", account.id, role, principal, caller, reason="removed"))
            await transaction.record(_record("auth.role.remove", account.id, role, principal, caller))
            await transaction.answer(claim, None)

    async def of_account(self, principal: Principal, account_id: str) -> Sequence[HeldRole]:
        """Return what an account holds, by name; empty: the principal's own. Raises as :meth:`assign`."""
        refuse_key(principal)
        account_id = account_id or principal.id
        if account_id != principal.id:
            await self._access.require(principal, READ)
        if await self._store.account(principal.tenant, account_id) is None:
            raise AccountUnknownError
        now = self._clock()
        found = await self._store.held_roles(principal.tenant, account_id)
        return [held for held in found if held.expires_at is None or held.expires_at > now]

    async def end_due(self) -> datetime | None:
        """Remove the roles whose end has come; return when the next one ends. Raises DatabaseUnavailableError."""
        while True:
            end = await self._store.next_role_end()
            if end is None or end > self._clock():
                return end
            async with self._store.transaction() as transaction:
                ended = await transaction.end_roles(self._clock(), _AT_ONCE)
                if ended:
                    await transaction.change_access()
                for one in ended:
                    data = {"user_id": one.account_id, "role": one.role, "reason": "expired"}
                    await transaction.emit(
                        Event.new("auth.role.removed", one.account_id, data, source="auth", tenant=one.tenant, actor="")
                    )
                    await transaction.record(
                        AuditRecord(
                            action="auth.role.expire",
                            tenant=one.tenant,
                            target=f"user:{one.account_id}",
                            detail={"role": one.role},
                        )
                    )
            if not ended:
                return end  # another process is at it

    async def _require(self, principal: Principal, role: str) -> None:
        await self._access.require_of_person(principal, ASSIGN)
        await self._access.require_roles(principal, [role])

    async def _hold(
        self, transaction: AuthTransaction, tenant: str, account_id: str, role: str, *, is_end: bool
    ) -> tuple[Account, list[HeldRole]]:
        """Return an account with its roles, held against others.

        :param is_end: whether it is to hold the role no longer, or not for good.
        :raises AccountUnknownError: there is none. :raises LastAdministratorError: nobody would be left who may do everything.
        :raises RoleKeptError: every person holds the role.
        """
        administrators = await transaction.hold_administrators(tenant) if role == ADMIN else set()  # before any account
        account = await transaction.hold_account(tenant, account_id)
        if account is None:
            raise AccountUnknownError
        if is_end and administrators == {account.id}:
            raise LastAdministratorError
        if is_end and role == USER and account.email:
            raise RoleKeptError
        return account, await transaction.held_roles(tenant, account.id)


def _event(
    type: str,  # noqa: A002  CloudEvents' own word
    account_id: str,
    role: str,
    principal: Principal,
    caller: Call,
    **more: str,
) -> Event:
    data = {"user_id": account_id, "role": role, **more}
    return Event.new(type, account_id, data, source="auth", tenant=principal.tenant, actor=principal.id, cause=caller.cause)


def _record(action: str, account_id: str, role: str, principal: Principal, caller: Call, **more: str) -> AuditRecord:
    return AuditRecord(
        action=action,
        actor=principal.id,
        tenant=principal.tenant,
        via=principal.via,
        target=f"user:{account_id}",
        request_id=caller.request_id,
        detail={"role": role, "address": caller.client_address, **more},
    )
