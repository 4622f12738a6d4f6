"""Service accounts: made and deleted by who may; their keys are the key manager's."""

import unicodedata
from collections.abc import Callable, Sequence
from datetime import datetime

from stylobate.audit import AuditRecord
from stylobate.errors import Violation
from stylobate.idempotency import Claim
from stylobate.identity import Principal
from stylobate.ids import new_id
from stylobate.outbox import Event
from stylobate.paging import page_position, page_size, page_token
from stylobate.rpc.call import Call

from stylobate_auth.access_manager import AccessManager
from stylobate_auth.access_until import refuse_longer
from stylobate_auth.account_input import name_fault
from stylobate_auth.api_key import revocation_of
from stylobate_auth.errors import AccountUnknownError, AuthInvalidInputError
from stylobate_auth.revocation_manager import RevocationManager
from stylobate_auth.service_account import ServiceAccount
from stylobate_auth.store.port import AuthStore

READ, WRITE = "service_accounts:read", "service_accounts:write"
_MAX_NAME = 100
_ABOUT = ("service_accounts",)


class ServiceAccountManager:
    """Keeps service accounts.

    :param clock: the time in UTC.
    """

    def __init__(
        self,
        store: AuthStore,
        access: AccessManager,
        revocations: RevocationManager,
        *,
        clock: Callable[[], datetime],
        new_id: Callable[[], str] = new_id,
    ) -> None:
        self._store = store
        self._access = access
        self._revocations = revocations
        self._clock = clock
        self._new_id = new_id

    async def create(
        self, principal: Principal, name: str, roles: Sequence[str], caller: Call, claim: Claim | None = None
    ) -> ServiceAccount:
        """Make one, for who may and holds all that the roles permit.

        :raises PermissionDeniedError, ApiKeyNotEnoughError: the caller may not.
        :raises AuthInvalidInputError: with every finding.
        """
        await self._access.require_of_person(principal, WRITE)
        shown, findings = _name(name)
        findings += _unknown(await self._access.unknown_roles(principal.tenant, roles))
        if findings:
            raise AuthInvalidInputError(violations=findings)
        await self._access.require_roles(principal, roles)
        refuse_longer(await self._access.until.roles(principal, roles), pointer="/roles")
        account = ServiceAccount(principal.tenant, self._new_id(), shown, tuple(sorted(set(roles))), self._clock())
        async with self._store.transaction() as transaction:
            await transaction.claim(claim)
            if gone := await self._access.gone_roles(transaction, account.tenant, account.roles):
                raise AuthInvalidInputError(violations=_unknown(gone))
            await transaction.add_service_account(account)
            await transaction.emit(
                _event("auth.service_account.created", account.id, caller, principal, roles=list(account.roles))
            )
            await transaction.record(_record("auth.service_account.create", account.id, caller, principal))
            await transaction.answer(claim, account)
        return account

    async def page(self, principal: Principal, size: int, token: str) -> tuple[Sequence[ServiceAccount], str]:
        """Return a page, and the token of the next one. Raises as :meth:`create`."""
        await self._access.require_of_person(principal, READ)
        limit = page_size(size)
        found = await self._store.service_accounts(principal.tenant, page_position(_ABOUT, token), limit + 1)
        return found[:limit], page_token(_ABOUT, found[limit - 1].id) if len(found) > limit else ""

    async def delete(self, principal: Principal, account_id: str, caller: Call, claim: Claim | None = None) -> None:
        """Delete one with its keys. Raises AccountUnknownError, and as :meth:`create`."""
        await self._access.require_of_person(principal, WRITE)
        now = self._clock()
        async with self._store.transaction() as transaction:
            await transaction.claim(claim)
            keys = await transaction.remove_service_account(principal.tenant, account_id)
            if keys is None:
                raise AccountUnknownError
            ended = [revocation_of(principal.tenant, key, now) for key in keys]
            for revocation in ended:
                await transaction.revoke(revocation)
            await transaction.emit(_event("auth.service_account.deleted", account_id, caller, principal))
            await transaction.record(_record("auth.service_account.delete", account_id, caller, principal))
            await transaction.answer(claim, None)
        for revocation in ended:
            self._revocations.add(revocation)


def _unknown(roles: Sequence[str]) -> list[Violation]:
    return [Violation("/roles", f"there is no role {role}") for role in roles]


def _name(text: str) -> tuple[str, list[Violation]]:
    name = unicodedata.normalize("NFC", text[: 4 * _MAX_NAME].strip())
    if not 1 <= len(name) <= _MAX_NAME:
        return name, [Violation("/name", f"must have 1 to {_MAX_NAME} characters")]
    fault = name_fault(name)
    return name, [Violation("/name", fault)] if fault else []


def _event(type: str, account_id: str, caller: Call, principal: Principal, **more: object) -> Event:  # noqa: A002  CloudEvents' word
    data = {"user_id": account_id, **more}
    return Event.new(type, account_id, data, source="auth", tenant=principal.tenant, actor=principal.id, cause=caller.cause)


def _record(action: str, account_id: str, caller: Call, principal: Principal) -> AuditRecord:
    return AuditRecord(
        action=action,
        actor=principal.id,
        tenant=principal.tenant,
        via=principal.via,
        target=f"user:{account_id}",
        request_id=caller.request_id,
        detail={"address": caller.client_address},
    )
