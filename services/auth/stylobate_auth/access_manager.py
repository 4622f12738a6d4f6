"""Roles, what they permit, and who may do what."""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from stylobate.errors import InvalidInputError, PermissionDeniedError, Violation
from stylobate.identity import Principal
from stylobate.identity.api_key import refuse_key
from stylobate.identity.platform_permissions import PLATFORM_PERMISSIONS

from stylobate_auth.model import Question
from stylobate_auth.role_book import BUILTIN, DefinedRole, Reason, RoleBook
from stylobate_auth.store.port import AuthStore

ADMIN = "admin"
"""The builtin role that may do everything."""
USER = "user"
"""The builtin role that every account holds; what it permits is up to the modules."""
MAX_QUESTIONS = 1000
EXPLAIN = "access:read"

_BUILTIN: Mapping[str, Mapping[str, str]] = {ADMIN: {"*": BUILTIN}, USER: {}}


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision and why."""

    is_allowed: bool
    reasons: Sequence[Reason] = ()
    """What permits it; some, and it is not allowed: the API key that asks is not for it."""
    would_permit: Sequence[str] = ()
    """Where nothing permits it, the roles that would, those that permit the least first."""


class AccessManager:
    """Decides permissions: from the roles that an account holds, and what roles permit (declarations and database).

    Decisions are not remembered; who asks remembers, and the access version tells when that ends. What the roles of the database
    mean is read anew when the version is another one.

    :param declared: permissions by role, each with the module that adds it; added to the builtin roles.
    :param permissions: that modules declare.
    :param clock: the time in UTC, for roles that end.
    """

    def __init__(
        self,
        store: AuthStore,
        declared: Mapping[str, Mapping[str, str]],
        *,
        permissions: Collection[str] = (),
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._clock = clock
        self._declared = {name: {**_BUILTIN.get(name, {}), **declared.get(name, {})} for name in {*_BUILTIN, *declared}}
        self.permissions = frozenset({*permissions, *PLATFORM_PERMISSIONS})
        """Every permission that something asks for."""
        self._plain = RoleBook(self._declared)
        self._books: dict[str, RoleBook] = {}
        self._books_of = -1

    @property
    def digest(self) -> str:
        """Stands for what all declared roles permit: the same in every process with the same declarations."""
        text = json.dumps({name: sorted(permissions) for name, permissions in self._declared.items()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def is_declared(self, role: str) -> bool:
        """Return whether a role is builtin or a module's."""
        return role in self._declared

    def book_of(self, defined: Iterable[DefinedRole]) -> RoleBook:
        """Return what roles mean with these beside the declared ones."""
        return RoleBook(self._declared, {role.name: role for role in defined})

    async def book(self, tenant: str) -> RoleBook:
        """Return what roles mean now."""
        return self._books_from(await self._store.defined_roles(), tenant)

    async def announce(self) -> int:
        """Raise the access version if roles mean something else than at the last start; return it."""
        return await self._store.announce_roles(self.digest)

    async def check(self, principal: Principal, questions: Sequence[Question]) -> list[bool]:
        """Answer each question.

        :param principal: who asks: a service in its own name about anyone, anyone else about itself only.
        :raises InvalidInputError: too many questions. :raises PermissionDeniedError: about someone else.
        """
        if len(questions) > MAX_QUESTIONS:
            raise InvalidInputError(violations=[Violation("/checks", f"at most {MAX_QUESTIONS} at once")])
        if not principal.is_service and any(question.subject != principal.id for question in questions):
            raise PermissionDeniedError("You may ask about your own permissions only.")
        if not principal.is_service:
            questions = [Question(question.subject, question.permission, principal.tenant) for question in questions]
        held = await self._held({(question.tenant, question.subject) for question in questions})
        return [
            (principal.is_service or principal.lends(question.permission))
            and held[question.tenant, question.subject].permit(question.permission)
            for question in questions
        ]

    async def explain(self, principal: Principal, subject: str, permission: str) -> Explanation:
        """Return whether a subject may do something, and why.

        :param subject: an account's id; empty: the principal's own. Others take ``access:read``.
        :raises PermissionDeniedError: about someone else. :raises InvalidInputError: nothing asks for the permission.
        """
        subject = subject or principal.id
        if subject != principal.id:
            await self.require(principal, EXPLAIN)
        if permission not in self.permissions:
            raise InvalidInputError(violations=[Violation("/permission", "is known to no module, nor to the platform")])
        held = (await self._held({(principal.tenant, subject)}))[principal.tenant, subject]
        reasons = held.book.reasons(held.roles, permission)
        if reasons:
            return Explanation(subject != principal.id or principal.lends(permission), reasons)
        may_know = await self.holds(principal, EXPLAIN)
        return Explanation(False, (), held.book.that_permit(permission) if may_know else ())

    async def require(self, principal: Principal, permission: str) -> None:
        """Return when the principal may; a service in its own name may always.

        :raises PermissionDeniedError: with ``metadata["permission"]``.
        """
        if not await self.holds(principal, permission):
            raise PermissionDeniedError(f"The permission {permission} is missing.", metadata={"permission": permission})

    async def require_of_person(self, principal: Principal, permission: str) -> None:
        """Do as :meth:`require`, for what no key may do. Raises ApiKeyNotEnoughError too."""
        refuse_key(principal)
        await self.require(principal, permission)

    async def require_roles(self, principal: Principal, roles: Iterable[str]) -> None:
        """Return when the principal may hand the roles to someone: it must hold all that they permit itself.

        Else whoever may create accounts could create an administrator.

        :raises PermissionDeniedError: naming the first permission that it lacks.
        """
        book = await self.book(principal.tenant)
        await self.require_all(principal, {permission for role in roles for permission in book.permissions(role)})

    async def require_all(self, principal: Principal, permissions: Iterable[str]) -> None:
        """Return when the principal holds all of these. Raises PermissionDeniedError, naming the first that it lacks."""
        for permission in sorted(permissions):
            await self.require(principal, permission)

    async def unknown_roles(self, tenant: str, roles: Iterable[str]) -> list[str]:
        """Return those that there are not, sorted."""
        book = await self.book(tenant)
        return sorted({role for role in roles if role not in book})

    async def holds(self, principal: Principal, permission: str) -> bool:
        """Return whether the principal may; a service in its own name may always."""
        if principal.is_service and not principal.act_for:
            return True
        if not principal.lends(permission):
            return False
        subject = (principal.tenant, principal.subject)
        return (await self._held({subject}))[subject].permit(permission)

    async def _held(self, subjects: Collection[tuple[str, str]]) -> dict[tuple[str, str], "_Held"]:
        """Return what each subject holds, with what roles mean."""
        version, roles = await self._store.roles(list(subjects), self._clock())
        if version != self._books_of:
            self._books_from(await self._store.defined_roles(), "")
        return {subject: _Held(roles.get(subject, ()), self._book(subject[0])) for subject in subjects}

    def _books_from(self, page: tuple[int, list[DefinedRole]], tenant: str) -> RoleBook:
        self._books_of, defined = page
        self._books = {
            of: self.book_of(role for role in defined if role.tenant == of) for of in {role.tenant for role in defined}
        }
        return self._book(tenant)

    def _book(self, tenant: str) -> RoleBook:
        return self._books.get(tenant, self._plain)


@dataclass(frozen=True, slots=True)
class _Held:
    """Roles that a subject holds, and what they mean."""

    roles: tuple[str, ...]
    book: RoleBook

    def permit(self, permission: str) -> bool:
        return self.book.permits(self.roles, permission)
