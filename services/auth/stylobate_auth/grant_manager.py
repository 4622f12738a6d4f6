"""Grants: permissions on single resources, given, taken away, listed, and ended when their time is over."""

import re
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime

import msgspec
from stylobate.audit import AuditRecord
from stylobate.errors import Violation
from stylobate.idempotency import Claim
from stylobate.identity import Principal
from stylobate.identity.api_key import refuse_key
from stylobate.identity.resources import STATE, resource_fault
from stylobate.outbox import Event
from stylobate.paging import no_token, page_position, page_size, page_token
from stylobate.rpc.call import Call

from stylobate_auth.access_manager import AccessManager
from stylobate_auth.access_until import refuse_longer
from stylobate_auth.errors import AccountUnknownError, AuthInvalidInputError, GrantUnknownError, RoleUnknownError
from stylobate_auth.grant import ROLE, Grant, GrantPlace, GrantQuery
from stylobate_auth.role_book import is_known
from stylobate_auth.store.port import AuthStore, AuthTransaction

READ, WRITE = "grants:read", "grants:write"
_AT_ONCE = 500
_SUBJECT = re.compile(rf"{ROLE}[a-z][a-z0-9_-]{{0,63}}|[0-9a-f-]{{36}}")


class GrantManager:
    """Keeps grants.

    :param namespaces: of the state service: an object of another one is mistyped.
    :param clock: the time in UTC.
    """

    def __init__(
        self, store: AuthStore, access: AccessManager, *, namespaces: Collection[str], clock: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._access = access
        self._namespaces = frozenset(namespaces)
        self._clock = clock

    async def put(self, principal: Principal, draft: Grant, caller: Call, claim: Claim | None = None) -> Grant:
        """Give a grant, or another end to one that is given.

        :raises ApiKeyNotEnoughError: a key asks.
        :raises PermissionDeniedError: it takes ``WRITE``, and the permission on the resource.
        :raises AuthInvalidInputError: with every finding; it would last longer than the principal has it.
        :raises AccountUnknownError, RoleUnknownError: no such subject.
        """
        grant = await self._checked(principal, draft)
        now = self._clock()
        if grant.expires_at is not None and grant.expires_at <= now:
            raise AuthInvalidInputError(violations=[Violation("/expires_at", "must be in the future")])
        refuse_longer(await self._access.until.rights(principal, [(grant.permission, grant.resource)]), grant.expires_at)
        async with self._store.transaction() as transaction:
            await transaction.claim(claim)
            await self._hold_subject(transaction, grant)
            present = await transaction.grant(grant)
            if present is None or present.expires_at != grant.expires_at:
                present = replace(grant, granted_at=now, granted_by=principal.id)
                await transaction.put_grant(present)
                await transaction.change_access()
                until = {} if grant.expires_at is None else {"expires_at": grant.expires_at.isoformat()}
                await transaction.emit(_event("auth.grant.given", grant, principal, caller, **until))
                await transaction.record(_record("auth.grant.give", grant, principal, caller, **until))
            await transaction.answer(claim, present)
        return present

    async def remove(self, principal: Principal, like: Grant, caller: Call, claim: Claim | None = None) -> None:
        """Take a grant away. Raises GrantUnknownError: there is none; else as :meth:`put`."""
        grant = await self._checked(principal, like, is_new=False)
        async with self._store.transaction() as transaction:
            await transaction.claim(claim)
            if not await transaction.remove_grant(grant):
                raise GrantUnknownError
            await transaction.change_access()
            await transaction.emit(_event("auth.grant.removed", grant, principal, caller, reason="removed"))
            await transaction.record(_record("auth.grant.remove", grant, principal, caller))
            await transaction.answer(claim, None)

    async def page(
        self, principal: Principal, query: GrantQuery, size: int, token: str, *, is_everyone: bool = False
    ) -> tuple[list[Grant], str]:
        """Return a page of grants, and the token of the next one.

        :param query: without a subject the principal's own are meant, or everybody's.
        :raises PermissionDeniedError, ApiKeyNotEnoughError: the principal may not.
        :raises InvalidInputError: no size or token of this list.
        """
        refuse_key(principal)
        subject = "" if is_everyone else query.subject or principal.id
        if subject != principal.id:
            await self._access.require(principal, READ)
        asked, limit = GrantQuery(subject, query.permission, query.resource), page_size(size)
        if "\0" in subject + query.permission + query.resource:
            return [], ""
        about = ("grants", subject, query.permission, query.resource)
        found = await self._store.grants(principal.tenant, asked, _place(page_position(about, token)), self._clock(), limit + 1)
        if len(found) <= limit:
            return found, ""
        last = found[limit - 1]
        place = msgspec.json.encode((last.subject, last.permission, last.resource)).decode()
        return found[:limit], page_token(about, place)

    async def end_due(self) -> datetime | None:
        """Remove the grants whose end has come; return when the next one ends. Raises DatabaseUnavailableError."""
        while True:
            end = await self._store.next_grant_end()
            if end is None or end > self._clock():
                return end
            async with self._store.transaction() as transaction:
                ended = await transaction.end_grants(self._clock(), _AT_ONCE)
                if ended:
                    await transaction.change_access()
                for one in ended:
                    data = {**_told(one), "reason": "expired"}
                    await transaction.emit(
                        Event.new("auth.grant.removed", one.subject, data, source="auth", tenant=one.tenant, actor="")
                    )
                    await transaction.record(
                        AuditRecord("auth.grant.expire", tenant=one.tenant, target=_target(one), detail=_detail(one))
                    )
            if not ended:
                return end  # another process is at it

    async def _checked(self, principal: Principal, draft: Grant, *, is_new: bool = True) -> Grant:
        """Return the grant of the principal's tenant, which the principal may give and take away."""
        grant = Grant(principal.tenant, draft.subject, draft.permission, draft.resource, draft.expires_at)
        await self._access.require_of_person(principal, WRITE)
        if findings := self._findings(grant, is_new=is_new):
            raise AuthInvalidInputError("The grant is not valid.", violations=findings)
        await self._access.require(principal, grant.permission, grant.resource)
        return grant

    def _findings(self, grant: Grant, *, is_new: bool) -> list[Violation]:
        """Return what is wrong with it. What nothing asks for any more can still be taken away."""
        found = []
        if not _SUBJECT.fullmatch(grant.subject):
            found.append(Violation("/subject", "must be the id of an account, or `role:` and the name of a role"))
        if is_new and not is_known(grant.permission, self._access.permissions):
            found.append(Violation("/permission", "neither a module nor the platform asks for this permission"))
        if fault := resource_fault(grant.resource):
            found.append(Violation("/resource", fault))
        elif is_new and (namespace := _namespace(grant.resource)) and namespace not in self._namespaces:
            found.append(Violation("/resource", f"no module has the namespace `{namespace}`"))
        return found

    async def _hold_subject(self, transaction: AuthTransaction, grant: Grant) -> None:
        if grant.role:
            if await self._access.gone_roles(transaction, grant.tenant, [grant.role]):
                raise RoleUnknownError
        elif await transaction.hold_account(grant.tenant, grant.subject) is None:
            raise AccountUnknownError


def _namespace(resource: str) -> str:
    """Return the namespace of a state object, or of all of a namespace; empty for anything else."""
    kind, _, rest = resource.partition("/")
    return rest.partition("/")[0] if kind == STATE else ""


def _place(position: str) -> GrantPlace | None:
    """Return the place in a position; None for an empty one. Raises InvalidInputError."""
    if not position:
        return None
    try:
        place: GrantPlace = msgspec.json.decode(position, type=GrantPlace)
    except msgspec.MsgspecError:
        raise no_token() from None
    return place


def _told(grant: Grant) -> dict[str, str]:
    return {"subject": grant.subject, **_detail(grant)}


def _target(grant: Grant) -> str:
    return grant.subject if grant.role else f"user:{grant.subject}"


def _detail(grant: Grant) -> dict[str, str]:
    return {"permission": grant.permission, "resource": grant.resource}


def _event(type: str, grant: Grant, principal: Principal, caller: Call, **more: str) -> Event:  # noqa: A002  CloudEvents' own word
    data = {**_told(grant), **more}
    return Event.new(type, grant.subject, data, source="auth", tenant=grant.tenant, actor=principal.id, cause=caller.cause)


def _record(action: str, grant: Grant, principal: Principal, caller: Call, **more: str) -> AuditRecord:
    return AuditRecord(
        action=action,
        actor=principal.id,
        tenant=grant.tenant,
        via=principal.via,
        target=_target(grant),
        request_id=caller.request_id,
        detail={**_detail(grant), "address": caller.client_address, **more},
    )
