"""Roles in the database, beside those that modules declare: made, changed, deleted, shown."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from stylobate.audit import AuditRecord
from stylobate.errors import Violation
from stylobate.idempotency import Claim
from stylobate.identity import Principal
from stylobate.outbox import Event
from stylobate.rpc.call import Call

from stylobate_auth.access_manager import AccessManager
from stylobate_auth.access_until import refuse_longer
from stylobate_auth.account_input import name_fault
from stylobate_auth.errors import AuthInvalidInputError, RoleDeclaredError, RoleInheritedError, RoleUnknownError
from stylobate_auth.role_book import BUILTIN, DefinedRole, RoleBook, is_known
from stylobate_auth.role_manager import READ
from stylobate_auth.store.port import AuthStore

WRITE = "roles:write"
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_MAX_DESCRIPTION, _MAX_PERMISSIONS, _MAX_INHERITED, _MAX_ROLES = 200, 256, 32, 1000


@dataclass(frozen=True, slots=True)
class RoleView:
    """A role as it is shown."""

    name: str
    description: str
    permissions: tuple[str, ...]
    inherits: tuple[str, ...]
    effective: tuple[str, ...]
    """All that it permits."""
    declared_by: tuple[str, ...]
    changed_at: datetime | None


class RoleDefinitionManager:
    """Keeps roles of the database, and shows all.

    :param clock: the time in UTC.
    """

    def __init__(self, store: AuthStore, access: AccessManager, *, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._access = access
        self._clock = clock

    async def all(self, principal: Principal) -> list[RoleView]:
        """Return all roles by name. Raises PermissionDeniedError, ApiKeyNotEnoughError."""
        await self._access.require_of_person(principal, READ)
        book = await self._access.book(principal.tenant)
        return [_view(book, name) for name in book.names()]

    async def get(self, principal: Principal, name: str) -> RoleView:
        """Return one. Raises RoleUnknownError, and as :meth:`all`."""
        await self._access.require_of_person(principal, READ)
        book = await self._access.book(principal.tenant)
        if name not in book:
            raise RoleUnknownError
        return _view(book, name)

    async def put(self, principal: Principal, draft: DefinedRole, caller: Call, claim: Claim | None = None) -> RoleView:
        """Make a role, or replace it.

        :raises PermissionDeniedError, ApiKeyNotEnoughError: it takes ``WRITE``, and all that it permits before and afterwards.
        :raises AuthInvalidInputError: with every finding; what is added the principal has for a time only.
        :raises RoleDeclaredError: a module's role.
        """
        await self._access.require_of_person(principal, WRITE)
        if self._access.is_declared(draft.name):
            raise RoleDeclaredError
        role = DefinedRole(
            principal.tenant,
            draft.name,
            draft.description,
            tuple(sorted({*draft.permissions})),
            tuple(sorted({*draft.inherits})),
            self._clock(),
        )
        # before the transaction, which would need a second connection for it; who changes an inherited role since holds all of it
        book = await self._access.book(role.tenant)
        after = self._access.book_of([*(one for one in book.defined.values() if one.name != role.name), role])
        await self._access.require_all(principal, book.permissions(role.name) | after.permissions(role.name))
        await self._access.require_roles(principal, role.inherits)  # what those are granted is handed on too
        added = {(permission, "") for permission in after.permissions(role.name) - book.permissions(role.name)}
        refuse_longer(await self._access.until.rights(principal, added), pointer="/permissions")
        fresh = {*role.inherits}.difference(*(known.inherits for known in [book.defined.get(role.name)] if known))
        refuse_longer(await self._access.until.roles(principal, fresh), pointer="/inherits")
        async with self._store.transaction() as transaction:
            await transaction.claim(claim)
            others = [one for one in await transaction.hold_defined_roles() if one.tenant == role.tenant]
            book = self._access.book_of(others)
            if findings := self._findings(draft, book):
                raise AuthInvalidInputError("The role is not valid.", violations=findings)
            view = _view(self._access.book_of([*(one for one in others if one.name != role.name), role]), role.name)
            await transaction.put_defined_role(role)
            await transaction.change_access()
            what = "change" if role.name in book else "create"
            await transaction.emit(
                _event("auth.role.changed" if role.name in book else "auth.role.created", role.name, principal, caller)
            )
            await transaction.record(_record(f"auth.role.{what}", role.name, principal, caller, role=role))
            await transaction.answer(claim, view)
        return view

    async def delete(self, principal: Principal, name: str, caller: Call, claim: Claim | None = None) -> None:
        """Delete a role, and take it from all who hold it.

        :raises RoleUnknownError: there is none. :raises RoleInheritedError: another role inherits from it. Else as :meth:`put`.
        """
        await self._access.require_of_person(principal, WRITE)
        if self._access.is_declared(name):
            raise RoleDeclaredError
        await self._access.require_all(principal, (await self._access.book(principal.tenant)).permissions(name))
        async with self._store.transaction() as transaction:
            await transaction.claim(claim)
            known = [one for one in await transaction.hold_defined_roles() if one.tenant == principal.tenant]
            book = self._access.book_of(known)
            if name not in book:
                raise RoleUnknownError
            if heirs := [one.name for one in known if name in one.inherits]:
                raise RoleInheritedError(f"Other roles inherit from it: {', '.join(sorted(heirs))}.")
            await transaction.remove_defined_role(principal.tenant, name)
            await transaction.change_access()
            await transaction.emit(_event("auth.role.deleted", name, principal, caller))
            await transaction.record(_record("auth.role.delete", name, principal, caller))
            await transaction.answer(claim, None)

    def _findings(self, draft: DefinedRole, book: RoleBook) -> list[Violation]:
        """Return what is wrong with a role that is to stand in the book."""
        found = []
        if not _NAME.fullmatch(draft.name):
            found.append(Violation("/name", "must be lower case letters, digits, `_` and `-`, a letter first, at most 64"))
        if len(draft.description) > _MAX_DESCRIPTION or (draft.description and name_fault(draft.description)):
            found.append(Violation("/description", f"must be at most {_MAX_DESCRIPTION} printable characters"))
        if len(draft.permissions) > _MAX_PERMISSIONS:
            found.append(Violation("/permissions", f"must be at most {_MAX_PERMISSIONS}"))
        if len(draft.inherits) > _MAX_INHERITED:
            found.append(Violation("/inherits", f"must be at most {_MAX_INHERITED}"))
        if draft.name not in book.defined and len(book.defined) >= _MAX_ROLES:
            found.append(Violation("/name", f"would be one role more than {_MAX_ROLES}"))
        found += [
            Violation(f"/permissions/{number}", "neither a module nor the platform asks for this permission")
            for number, permission in enumerate(draft.permissions)
            if not is_known(permission, self._access.permissions)
        ]
        for number, name in enumerate(draft.inherits):
            if name == draft.name or book.inherits(name, draft.name):
                found.append(Violation(f"/inherits/{number}", "inherits from this role: that would be a cycle"))
            elif name not in book:
                found.append(Violation(f"/inherits/{number}", "there is no such role"))
        return found


def _view(book: RoleBook, name: str) -> RoleView:
    declared, role = book.declared.get(name), book.defined.get(name)
    return RoleView(
        name,
        "" if role is None else role.description,
        tuple(sorted({*(declared or ()), *(() if role is None else role.permissions)})),
        () if role is None else role.inherits,
        tuple(sorted(book.permissions(name))),
        () if declared is None else tuple(sorted({*declared.values()}) or (BUILTIN,)),
        None if role is None else role.changed_at,
    )


def _event(type: str, name: str, principal: Principal, caller: Call) -> Event:  # noqa: A002  CloudEvents' own word
    data = {"role": name}
    return Event.new(type, name, data, source="auth", tenant=principal.tenant, actor=principal.id, cause=caller.cause)


def _record(action: str, name: str, principal: Principal, caller: Call, role: DefinedRole | None = None) -> AuditRecord:
    more = {} if role is None else {"permissions": list(role.permissions), "inherits": list(role.inherits)}
    return AuditRecord(
        action=action,
        actor=principal.id,
        tenant=principal.tenant,
        via=principal.via,
        target=f"role:{name}",
        request_id=caller.request_id,
        detail={"address": caller.client_address, **more},
    )
