"""Roles, what they permit, and who may do what."""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime

from stylobate.errors import InvalidInputError, PermissionDeniedError, Violation
from stylobate.identity import Principal, grants

from stylobate_auth.model import Question
from stylobate_auth.store.port import AuthStore

ADMIN = "admin"
"""The builtin role that may do everything."""
USER = "user"
"""The builtin role that every account holds; what it permits is up to the modules."""
MAX_QUESTIONS = 1000

_BUILTIN: Mapping[str, frozenset[str]] = {ADMIN: frozenset({"*"}), USER: frozenset()}


class AccessManager:
    """Decides permissions: from the roles that an account holds (database) and what roles permit (declarations).

    Nothing is remembered between questions; who asks remembers, and the access version tells when that ends.

    :param declared: permissions by role, of all modules together; added to the builtin roles.
    :param clock: the time in UTC, for roles that end.
    """

    def __init__(self, store: AuthStore, declared: Mapping[str, Collection[str]], *, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._roles = {
            name: _BUILTIN.get(name, frozenset()) | frozenset(declared.get(name, ())) for name in {*_BUILTIN, *declared}
        }

    @property
    def roles(self) -> Mapping[str, frozenset[str]]:
        """Permissions by role."""
        return self._roles

    @property
    def digest(self) -> str:
        """Stands for what all roles permit: the same in every process with the same declarations."""
        text = json.dumps({name: sorted(permissions) for name, permissions in self._roles.items()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

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
        held = await self._store.roles(list({(question.tenant, question.subject) for question in questions}), self._clock())
        return [
            (principal.is_service or principal.lends(question.permission))
            and self._permits(held.get((question.tenant, question.subject), ()), question.permission)
            for question in questions
        ]

    async def require(self, principal: Principal, permission: str) -> None:
        """Return when the principal may; a service in its own name may always.

        :raises PermissionDeniedError: with ``metadata["permission"]``.
        """
        if not await self._holds(principal, permission):
            raise PermissionDeniedError(f"The permission {permission} is missing.", metadata={"permission": permission})

    async def require_roles(self, principal: Principal, roles: Iterable[str]) -> None:
        """Return when the principal may hand the roles to someone: it must hold all that they permit itself.

        Else whoever may create accounts could create an administrator.

        :raises PermissionDeniedError: naming the first permission that it lacks.
        """
        for permission in sorted({permission for role in roles for permission in self._roles.get(role, ())}):
            await self.require(principal, permission)

    async def _holds(self, principal: Principal, permission: str) -> bool:
        if principal.is_service and not principal.act_for:
            return True
        if not principal.lends(permission):
            return False
        subject = (principal.tenant, principal.subject)
        return self._permits((await self._store.roles([subject], self._clock())).get(subject, ()), permission)

    def _permits(self, roles: Iterable[str], permission: str) -> bool:
        return any(grants(self._roles.get(role, ()), permission) for role in roles)
