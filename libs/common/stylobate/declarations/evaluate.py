"""Deciding `access:`: the one place that says whom the terms of a rule let through."""

from collections.abc import Callable, Collection
from typing import Protocol

from stylobate.declarations.model import AccessRule
from stylobate.declarations.rules import ACTIONS, AUTHENTICATED, OWNER, PUBLIC, handlers_of, module_of
from stylobate.errors import PermissionDeniedError, UnauthenticatedError
from stylobate.identity import Principal

_OF_CALLERS = (AUTHENTICATED, OWNER)


class Permissions(Protocol):
    """Decides single permissions; :class:`stylobate.identity.Access` does, and says by ``known`` what it need not ask for."""

    async def allowed(self, principal: Principal, permission: str) -> bool:
        """Return whether the principal's subject holds the permission. Raises UnavailableError when it cannot be told."""


class AccessEvaluator:
    """Decides access rules. Any term is enough; terms that cost a question to auth come last."""

    def __init__(self, permissions: Permissions) -> None:
        self._permissions = permissions
        self._known: Callable[[Principal, str], bool | None] = getattr(permissions, "known", _nothing)

    async def allows(self, rule: AccessRule, principal: Principal, owner: str | None = None) -> bool:
        """Return whether the rule lets the principal through.

        :param owner: of the object in question; None: it has none, or everybody's objects are in question.
        """
        decided = self.decided(rule, principal, owner)
        if decided is not None:
            return decided
        for term in rule.terms:
            if ":" in term and await self._permissions.allowed(principal, term):
                return True
        return False

    def decided(self, rule: AccessRule, principal: Principal, owner: str | None = None) -> bool | None:
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
                known = self._known(principal, term)
                if known:
                    return True
                is_open = is_open or known is None
        return None if is_open else False

    async def require(self, rule: AccessRule, principal: Principal, what: str, owner: str | None = None) -> None:
        """Return when the rule lets the principal through, else raise :func:`refusal`."""
        if not await self.allows(rule, principal, owner):
            raise refusal(rule, principal, what)

    async def require_possible(self, rule: AccessRule, principal: Principal, what: str) -> None:
        """Return when the rule could let the principal at some object: for answers about what does not exist.

        Who could never be let in learns nothing about which keys exist; who could own an object may be told that it does not.
        """
        await self.require(rule, principal, what, principal.subject)


def may_own(principal: Principal) -> bool:
    """Return whether the term ``owner`` can let the principal in: anybody known whose token or key may be used for it."""
    return not principal.is_anonymous and principal.lends(OWNER)


def _nothing(_principal: Principal, _permission: str) -> bool | None:
    return None


def _lets_handlers_in(terms: Collection[str], module: str) -> bool:
    """Return whether one of the terms lets handlers of the module in.

    An actions service of the release before names no module: for as long as it takes to replace it, its word is enough.
    """
    if not module:
        return any(term == ACTIONS or module_of(term) for term in terms)
    return handlers_of(module) in terms


def refusal(rule: AccessRule, principal: Principal, what: str) -> UnauthenticatedError | PermissionDeniedError:
    """Return the error for a caller that the rule does not let through.

    ``metadata["permission"]`` names the first permission that would do, if one would.

    :param what: completes "You may not …".
    """
    if principal.is_anonymous:
        return UnauthenticatedError(f"You may not {what} without logging in.")
    needed = f" It takes: {rule}." if rule.terms else " Nobody may."
    metadata = {"permission": rule.permissions[0]} if rule.permissions else {}
    if not metadata and (missing := [term for term in rule.terms if term in _OF_CALLERS and not principal.lends(term)]):
        metadata = {"permission": missing[0]}  # of a key: the scope that would do
    return PermissionDeniedError(f"You may not {what}.{needed}", metadata=metadata)
