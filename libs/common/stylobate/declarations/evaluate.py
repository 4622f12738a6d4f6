"""Deciding `access:`: the one place that says whom the terms of a rule let through."""

from collections.abc import Callable, Collection
from typing import Protocol

from stylobate.declarations.model import AccessRule
from stylobate.declarations.rules import ACTIONS, AUTHENTICATED, OWNER, PUBLIC, handlers_of, module_of
from stylobate.errors import PermissionDeniedError, UnauthenticatedError
from stylobate.identity import Principal
from stylobate.identity.resources import NOTHING, Granted

_OF_CALLERS = (AUTHENTICATED, OWNER)


class Permissions(Protocol):
    """Decides single permissions; :class:`stylobate.identity.Access` does, and says by ``known`` what it need not ask for."""

    async def allowed(self, principal: Principal, permission: str, resource: str = "") -> bool:
        """Return whether the principal's subject holds the permission, everywhere or by a grant on the resource.

        Raises UnavailableError when it cannot be told.
        """

    async def granted(self, principal: Principal, permission: str, under: str = "") -> Granted:
        """Return on what the principal is granted the permission; of what lies beyond the prefix ``under`` perhaps not all.

        Raises GrantedTooManyError, UnavailableError.
        """


class AccessEvaluator:
    """Decides access rules. Any term is enough; terms that cost a question to auth come last.

    A permission in a rule is also satisfied by a grant of it on the resource in question.
    """

    def __init__(self, permissions: Permissions) -> None:
        self._permissions = permissions
        self._known: Callable[[Principal, str, str], bool | None] = getattr(permissions, "known", _nothing)

    async def allows(self, rule: AccessRule, principal: Principal, owner: str | None = None, resource: str = "") -> bool:
        """Return whether the rule lets the principal through.

        :param owner: of the object in question; None: it has none, or everybody's objects are in question.
        :param resource: what is in question, :mod:`stylobate.identity.resources`; a prefix for all that lies in it.
        """
        decided = self.decided(rule, principal, owner, resource)
        if decided is not None:
            return decided
        for term in rule.terms:
            if ":" in term and await self._permissions.allowed(principal, term, resource):
                return True
        return False

    def decided(self, rule: AccessRule, principal: Principal, owner: str | None = None, resource: str = "") -> bool | None:
        """Return the same where nobody need be asked; None: somebody must."""
        terms = rule.terms
        if PUBLIC in terms or (AUTHENTICATED in terms and not principal.is_anonymous and principal.lends(AUTHENTICATED)):
            return True
        if principal.via == ACTIONS and _lets_handlers_in(terms, principal.module):
            return True
        if owner and OWNER in terms and may_own(principal) and principal.subject == owner:
            return True
        is_open = False
        for term in terms:
            if ":" in term:
                known = self._known(principal, term, resource)
                if known:
                    return True
                is_open = is_open or known is None
        return None if is_open else False

    async def granted(self, rule: AccessRule, principal: Principal, under: str) -> Granted:
        """Return for which resources in a prefix grants let the principal through. Raises as :class:`Permissions`."""
        found = [await self._permissions.granted(principal, term, under) for term in rule.terms if ":" in term]
        found = [one for one in found if one]
        if len(found) < 2:  # noqa: PLR2004  one is whole as it is
            return found[0] if found else NOTHING
        return Granted(frozenset(name for one in found for name in one.names))

    async def require(
        self, rule: AccessRule, principal: Principal, what: str, owner: str | None = None, resource: str = ""
    ) -> None:
        """Return when the rule lets the principal through, else raise :func:`refusal`."""
        if not await self.allows(rule, principal, owner, resource):
            raise refusal(rule, principal, what, resource)

    async def require_possible(self, rule: AccessRule, principal: Principal, what: str, resource: str = "") -> None:
        """Return when the rule could let the principal at some object: for answers about what does not exist.

        Who could never be let in learns nothing about which keys exist; who could own an object, or is granted this one, may be
        told that it does not.
        """
        await self.require(rule, principal, what, principal.subject, resource)


def may_own(principal: Principal) -> bool:
    """Return whether the term ``owner`` can let the principal in: anybody known whose token or key may be used for it."""
    return not principal.is_anonymous and principal.lends(OWNER)


def _nothing(_principal: Principal, _permission: str, _resource: str) -> bool | None:
    return None


def _lets_handlers_in(terms: Collection[str], module: str) -> bool:
    """Return whether one of the terms lets handlers of the module in.

    An actions service of the release before names no module: for as long as it takes to replace it, its word is enough.
    """
    if not module:
        return any(term == ACTIONS or module_of(term) for term in terms)
    return handlers_of(module) in terms


def refusal(
    rule: AccessRule, principal: Principal, what: str, resource: str = ""
) -> UnauthenticatedError | PermissionDeniedError:
    """Return the error for a caller that the rule does not let through.

    ``metadata["permission"]`` names the first permission that would do, if one would, and ``metadata["resource"]`` where.

    :param what: completes "You may not …".
    """
    if principal.is_anonymous:
        return UnauthenticatedError(f"You may not {what} without logging in.")
    needed = f" It takes: {rule}." if rule.terms else " Nobody may."
    metadata = {"permission": rule.permissions[0]} if rule.permissions else {}
    if metadata and resource:
        metadata["resource"] = resource
    if not metadata and (missing := [term for term in rule.terms if term in _OF_CALLERS and not principal.lends(term)]):
        metadata = {"permission": missing[0]}  # of a key: the scope that would do
    return PermissionDeniedError(f"You may not {what}.{needed}", metadata=metadata)
