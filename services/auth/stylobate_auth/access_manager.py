"""Roles, what they permit, and who may do what."""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from stylobate.errors import InvalidInputError, PermissionDeniedError, Violation
from stylobate.identity import Principal
from stylobate.identity.api_key import refuse_key
from stylobate.identity.platform_permissions import PLATFORM_PERMISSIONS
from stylobate.identity.resources import resource_fault

from stylobate_auth.access_grants import AccessGrants
from stylobate_auth.access_until import AccessUntil
from stylobate_auth.grant import ROLE, Grant
from stylobate_auth.model import Decision, Question
from stylobate_auth.role_book import BUILTIN, GRANT, DefinedRole, Reason, RoleBook
from stylobate_auth.store.port import AuthStore, AuthTransaction

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
    """Decides permissions: from the roles that an account holds, what roles permit (declarations and database), and grants.

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
        self._grants = AccessGrants(store, clock=clock)
        self.until = AccessUntil(store, self.book, self._grants, clock=clock)
        """When rights end that somebody has."""

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

    async def check(self, principal: Principal, questions: Sequence[Question]) -> list[Decision]:
        """Answer each question.

        :param principal: who asks: a service in its own name about anyone, anyone else about itself only.
        :raises InvalidInputError: too many questions. :raises PermissionDeniedError: about someone else.
        """
        if len(questions) > MAX_QUESTIONS:
            raise InvalidInputError(violations=[Violation("/checks", f"at most {MAX_QUESTIONS} at once")])
        questions = [self._asked(principal, question) for question in questions]
        held = await self._held({(question.tenant, question.subject) for question in questions})
        decisions, open_ = [], []
        for number, question in enumerate(questions):
            holds, is_lent = held[question.tenant, question.subject], _lends(principal, question)
            decisions.append(Decision(is_lent and holds.permit(question.permission)))
            if is_lent and not decisions[-1].is_allowed:
                open_.append((number, (question, holds.all_roles())))
        for (number, _), decision in zip(open_, await self._grants.decide([asked for _, asked in open_]), strict=True):
            decisions[number] = decision
        return decisions

    async def granted(self, principal: Principal, question: Question, under: str, size: int, token: str) -> tuple[list[str], str]:
        """Return a page of the resources that a permission is granted on, and the token of the next. Raises as :meth:`check`."""
        question = self._asked(principal, question)
        if not _lends(principal, question):
            return [], ""
        subject = question.tenant, question.subject
        roles = (await self._held({subject}))[subject].all_roles()
        return await self._grants.page(question, roles, under, size, token)

    async def explain(self, principal: Principal, subject: str, permission: str, resource: str = "") -> Explanation:
        """Return whether a subject may do something, and why.

        :param subject: an account's id; empty: the principal's own. Others take ``access:read``.
        :param resource: to what; empty: to anything.
        :raises PermissionDeniedError: about someone else.
        :raises InvalidInputError: nothing asks for the permission, or there can be no such resource.
        """
        subject = subject or principal.id
        if subject != principal.id:
            await self.require(principal, EXPLAIN)
        if permission not in self.permissions:
            raise InvalidInputError(violations=[Violation("/permission", "is known to no module, nor to the platform")])
        if resource and (fault := resource_fault(resource)):
            raise InvalidInputError(violations=[Violation("/resource", fault)])
        held = (await self._held({(principal.tenant, subject)}))[principal.tenant, subject]
        question = Question(subject, permission, principal.tenant, resource)
        grants = await self._grants.reasons(question, held.all_roles())
        reasons = [*held.book.reasons(held.roles, permission), *(reason for grant in grants for reason in held.reasons(grant))]
        if reasons:
            return Explanation(subject != principal.id or principal.lends(permission), reasons)
        may_know = await self.holds(principal, EXPLAIN)
        return Explanation(False, (), held.book.that_permit(permission) if may_know else ())

    async def require(self, principal: Principal, permission: str, resource: str = "") -> None:
        """Return when the principal may; a service in its own name may always.

        :param resource: to what; empty: to anything.
        :raises PermissionDeniedError: with ``metadata["permission"]``, and ``["resource"]`` where it is about one.
        """
        if not await self.holds(principal, permission, resource):
            on, more = (f" on {resource}", {"resource": resource}) if resource else ("", {})
            detail = f"The permission {permission} is missing{on}."
            raise PermissionDeniedError(detail, metadata={"permission": permission, **more})

    async def require_of_person(self, principal: Principal, permission: str) -> None:
        """Do as :meth:`require`, for what no key may do. Raises ApiKeyNotEnoughError too."""
        refuse_key(principal)
        await self.require(principal, permission)

    async def require_roles(self, principal: Principal, roles: Iterable[str]) -> None:
        """Return when the principal may hand the roles to someone: it must hold all that they permit, and are granted, itself.

        Else whoever may create accounts could create an administrator.

        :raises PermissionDeniedError: naming the first permission that it lacks.
        """
        book, roles = await self.book(principal.tenant), [*roles]
        await self.require_all(principal, {permission for role in roles for permission in book.permissions(role)})
        for name in sorted({way[-1] for role in roles for way in book.paths(role)}):
            await self.require_grants(principal, f"{ROLE}{name}")

    async def require_grants(self, principal: Principal, subject: str) -> None:
        """Return when the principal may all that is granted to a subject. Raises PermissionDeniedError, naming what it lacks."""
        if await self.holds(principal, "*"):
            return
        for permission, resource in await self._grants.of_subject(principal.tenant, subject):
            await self.require(principal, permission, resource)

    async def require_all(self, principal: Principal, permissions: Iterable[str]) -> None:
        """Return when the principal holds all of these. Raises PermissionDeniedError, naming the first that it lacks."""
        for permission in sorted(permissions):
            await self.require(principal, permission)

    async def unknown_roles(self, tenant: str, roles: Iterable[str]) -> list[str]:
        """Return those that there are not, sorted."""
        book = await self.book(tenant)
        return sorted({role for role in roles if role not in book})

    async def gone_roles(self, transaction: AuthTransaction, tenant: str, roles: Iterable[str]) -> list[str]:
        """Return those that there are not, sorted; nobody deletes the others until the transaction ends."""
        defined = {role for role in roles if not self.is_declared(role)}
        return sorted(defined - await transaction.hold_roles(tenant, sorted(defined))) if defined else []

    def _asked(self, principal: Principal, question: Question) -> Question:
        """Return the question as the principal may ask it. Raises PermissionDeniedError: about someone else."""
        if principal.is_service:
            return question
        if question.subject != principal.id:
            raise PermissionDeniedError("You may ask about your own permissions only.")
        return replace(question, tenant=principal.tenant)

    async def holds(self, principal: Principal, permission: str, resource: str = "") -> bool:
        """Return whether the principal may; a service in its own name may always."""
        if principal.is_service and not principal.act_for:
            return True
        if not principal.lends(permission):
            return False
        subject = (principal.tenant, principal.subject)
        held = (await self._held({subject}))[subject]
        if held.permit(permission):
            return True
        question = Question(principal.subject, permission, principal.tenant, resource)
        return bool(await self._grants.reasons(question, held.all_roles()))

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

    def all_roles(self) -> list[str]:
        """Return the roles and those that they inherit from."""
        return list(dict.fromkeys(way[-1] for role in self.roles for way in self.book.paths(role)))

    def reasons(self, grant: Grant) -> list[Reason]:
        """Return how a grant comes to the subject."""
        if not grant.role:
            return [Reason("", (), grant.permission, GRANT, grant.resource)]
        return [
            Reason(role, way[1:], grant.permission, GRANT, grant.resource)
            for role in self.roles
            for way in self.book.paths(role)
            if way[-1] == grant.role
        ]


def _lends(principal: Principal, question: Question) -> bool:
    return principal.is_service or principal.lends(question.permission)
